//! How a socket sends: by which congestion control, and how far ahead of the wire.
//!
//! The sender's congestion control counts: over loopback BBR moves half of what reno does, at twice the CPU.

use std::os::fd::AsFd;
use std::sync::Once;

use rustix::net::sockopt;
use socket2::SockRef;

/// Bytes that wait in the kernel before they are sent. By itself it takes 4 MiB for each connection, and an answer to a ping waits behind them: with seven
/// peers at 100 Mbit/s that was over two seconds, and they took each other for dead.
const UNSENT: u32 = 256 << 10;

/// Lets the kernel take no more than it is about to send. What it refuses would only make the connection worse if it could not be set.
pub(crate) fn keep_short(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT);
}

/// Sets it where one is named. A name that the kernel does not have, or does not give to this user, is told once, and changes nothing.
pub(crate) fn choose(socket: &impl AsFd, name: Option<&str>) {
    static TELL: Once = Once::new();
    let Some(name) = name else { return };
    if let Err(error) = sockopt::set_tcp_congestion(socket, name) {
        TELL.call_once(|| {
            tracing::warn!(
                %error,
                "the kernel refuses congestion control {name:?}: going on with its default; /proc/sys/net/ipv4/tcp_allowed_congestion_control lists what it gives"
            );
        });
    }
}
