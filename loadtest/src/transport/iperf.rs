use std::process::{Command, Stdio};

use serde::Deserialize;

use super::TransportError;
use super::tool::{Tool, exists, failed, free_address};

/// TCP and nothing else: what the kernel can do between two processes.
pub struct Iperf(Tool);

#[derive(Deserialize)]
struct Said {
    end: End,
}

#[derive(Deserialize)]
struct End {
    sum_received: Sum,
}

#[derive(Deserialize)]
struct Sum {
    bytes: u64,
}

impl Iperf {
    pub fn start() -> Result<Option<Self>, TransportError> {
        if !exists("iperf3") {
            return Ok(None);
        }
        let address = free_address()?;
        let mut command = Command::new("iperf3");
        command.args(["--server", "--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.stderr(Stdio::null());
        Ok(Some(Self(Tool::start(command, address)?)))
    }

    pub fn processes(&self) -> Vec<u32> {
        self.0.processes()
    }

    /// Sends for a second through `streams` connections in writes of 1 MiB.
    pub fn send(&self, streams: usize) -> Result<u64, TransportError> {
        let (ip, port) = (self.0.address.ip().to_string(), self.0.address.port().to_string());
        let mut command = Command::new("iperf3");
        command.args(["--client", &ip, "--port", &port, "--parallel", &streams.to_string()]);
        let output = command.args(["--time", "1", "--length", "1M", "--json"]).output().map_err(failed("iperf3"))?;
        let said: Result<Said, _> = serde_json::from_slice(&output.stdout);
        let wrong = |error| TransportError::Answer { what: "iperf3".to_owned(), detail: format!("{error}; it said {output:?}") };
        Ok(said.map_err(wrong)?.end.sum_received.bytes)
    }
}
