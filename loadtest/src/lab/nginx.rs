use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::LabError;
use super::hosts::inside;
use crate::node::inside as command_inside;

const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// A line of the access log is written when the answer has ended on the server's side.
const LINE: &str = "$request_method $status $body_bytes_sent";

/// The best plain web server that there is, on a host of its own: sendfile, no TLS, and every answer's bytes counted.
pub struct Nginx {
    program: Child,
    host: String,
    address: SocketAddr,
    log: PathBuf,
}

impl Nginx {
    /// Serves the files below `root`; its own are in `dir`.
    pub fn start(host: &str, address: SocketAddr, dir: &Path, root: &Path) -> Result<Self, LabError> {
        let (log, errors, config) = (dir.join("access"), dir.join("errors"), dir.join("nginx.conf"));
        fs::create_dir_all(dir).map_err(LabError::io(dir.display().to_string()))?;
        fs::write(&config, configuration(address, dir, root)).map_err(LabError::io(config.display().to_string()))?;
        let mut command = command_inside(Some(host), Path::new("nginx"));
        command.arg("-p").arg(dir).arg("-e").arg(&errors).arg("-c").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            return Err(LabError::NoNginx);
        }
        let program = command.spawn().map_err(LabError::io("nginx"))?;
        let mut nginx = Self { program, host: host.to_owned(), address, log };
        nginx.ready(&errors).map(|()| nginx)
    }

    fn ready(&mut self, errors: &Path) -> Result<(), LabError> {
        let deadline = Instant::now() + READY_DEADLINE;
        while inside(&self.host, || TcpStream::connect(self.address))?.is_err() {
            if Instant::now() > deadline || self.program.try_wait().is_ok_and(|ended| ended.is_some()) {
                let detail = fs::read_to_string(errors).unwrap_or_default();
                return Err(LabError::Wires { what: "nginx did not start".into(), detail });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Bytes of bodies that were sent from the beginning, without what is being sent. An answer is noted behind its last byte, and one after the
    /// other: once this question is answered, all before it are noted.
    pub fn sent(&self) -> Result<u64, LabError> {
        let ask = || {
            let mut socket = TcpStream::connect(self.address)?;
            socket.set_read_timeout(Some(READY_DEADLINE))?;
            socket.write_all(b"HEAD /noted HTTP/1.0\r\n\r\n")?;
            socket.read_to_end(&mut Vec::new())
        };
        inside(&self.host, ask)?.map_err(LabError::io("nginx"))?;
        let log = fs::read_to_string(&self.log).map_err(LabError::io(self.log.display().to_string()))?;
        Ok(log.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn configuration(address: SocketAddr, dir: &Path, root: &Path) -> String {
    let (here, root) = (dir.display(), root.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {here}/{kind};"));
    format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/errors; events {{ worker_connections 4096; }}
         http {{ log_format bytes '{LINE}'; access_log {here}/access bytes; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
         {} server {{ listen {address} backlog=4096; root {root}; }} }}",
        temporary.join(" ")
    )
}
