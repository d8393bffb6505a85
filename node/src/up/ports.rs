use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::layout::{Layout, STRIDE};
use crate::error::Failure;

/// How many bases are tried before there seems to be another reason.
const TRIES: u16 = 100;

/// Whether every port of the layout can be bound; else which not, and what to do.
pub fn check(layout: &Layout) -> Result<(), Failure> {
    for place in layout.places()? {
        let bound = [("API", "TCP", place.http, tcp(place.http)), ("gossip", "UDP", place.gossip, udp(place.gossip))];
        for (what, protocol, address, result) in bound {
            result.map_err(|error| {
                explain(&format!("{protocol} port {} for the {what} of {}", address.port(), place.id), &error)
            })?;
        }
    }
    Ok(())
}

/// The first free base port above the layout's own.
pub fn free_base(layout: &Layout) -> Result<u16, Failure> {
    let step = STRIDE.saturating_mul(layout.nodes);
    let bases = (1..=TRIES).map_while(|n| layout.port.checked_add(step.checked_mul(n)?));
    let mut free = bases.filter(|&port| check(&Layout { port, ..layout.clone() }).is_ok());
    free.next().ok_or_else(|| Failure::failed("no free ports were found: give some with --port"))
}

fn tcp(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn udp(address: SocketAddr) -> std::io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

fn explain(port: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AddrInUse => {
            Failure::failed(format_args!("{port} is in use: end what listens there, or choose another with --port"))
        }
        _ => Failure::failed(format_args!("{port} cannot be used ({error}): choose another with --port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(port: u16) -> Layout {
        Layout {
            dir: "/nowhere".into(),
            port,
            nodes: 1,
            replicas: 1,
            mounts: false,
            origins: vec![],
            flags: vec![],
            secrets: None,
        }
    }

    #[test]
    fn a_port_in_use_is_named_and_another_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let sentence = check(&layout(port)).unwrap_err().to_string();
        assert!(sentence.contains(&format!("TCP port {port} for the API of n1 is in use")), "{sentence}");
        assert!(sentence.contains("--port"));
        // Near the end of the range there may be nothing above.
        if port < 60_000 {
            assert!(free_base(&layout(port)).unwrap() > port);
        }
    }

    #[test]
    fn a_gossip_port_in_use_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let sentence = check(&layout(port - 1)).unwrap_err().to_string();
        assert!(sentence.contains("is in use"), "{sentence}");
    }
}
