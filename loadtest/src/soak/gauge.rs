use std::path::PathBuf;

use serde::Serialize;

use crate::error::FuseError;
use crate::node::Node;

/// What a node's process has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gauge {
    /// Resident memory, in bytes.
    pub rss: u64,
    /// Open files.
    pub files: u64,
    pub threads: u64,
}

impl Gauge {
    /// Fails where the node has ended.
    pub fn of(node: &Node) -> Result<Self, FuseError> {
        let process = node.pid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let path = PathBuf::from(format!("/proc/{process}"));
        let status = std::fs::read_to_string(path.join("status")).map_err(FuseError::at(&path))?;
        let files = std::fs::read_dir(path.join("fd")).map_err(FuseError::at(&path))?.count() as u64;
        Ok(Self { rss: field(&status, "VmRSS:") << 10, files, threads: field(&status, "Threads:") })
    }
}

/// A number of `/proc/PID/status`; of what is not there, 0, as of a process that has ended and was not waited for.
fn field(status: &str, name: &str) -> u64 {
    let rest = status.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let status = "Name:\therring\nVmRSS:\t   47120 kB\nThreads:\t9\n";
        assert_eq!([field(status, "VmRSS:"), field(status, "Threads:"), field(status, "VmSwap:")], [47_120, 9, 0]);
    }
}
