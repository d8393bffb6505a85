//! Programs of others, started for a comparison.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::TransportError;

const READY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A server of somebody else's; ends with the value.
pub struct Tool {
    child: Child,
    pub address: SocketAddr,
}

pub fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> TransportError {
    move |source| TransportError::Tool { what: what.into(), source }
}

/// Whether there is such a program; said once where there is none.
pub fn exists(program: &str) -> bool {
    let found = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("loadtest: there is no {program} here, so nothing is compared with it");
    }
    found
}

pub fn free_address() -> Result<SocketAddr, TransportError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(any).and_then(|listener| listener.local_addr()).map_err(failed("a free port"))
}

impl Tool {
    /// Waits until it takes connections at `address`.
    pub fn start(mut command: Command, address: SocketAddr) -> Result<Self, TransportError> {
        let what = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let mut tool = Self { child: command.spawn().map_err(failed(&what))?, address };
        let deadline = Instant::now() + READY;
        while TcpStream::connect(address).is_err() {
            let ended = tool.child.try_wait().map_err(failed(&what))?;
            if ended.is_some() || Instant::now() > deadline {
                let detail = format!("it does not listen on {address} (ended: {ended:?})");
                return Err(TransportError::Answer { what, detail });
            }
            std::thread::sleep(POLL);
        }
        Ok(tool)
    }

    /// Its process, and those that it started.
    pub fn processes(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        std::iter::once(id).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Its id is ours until we have waited for it.
        let _ = Pid::from_raw(self.child.id().cast_signed()).map(|id| kill_process(id, Signal::TERM));
        let _ = self.child.wait();
    }
}
