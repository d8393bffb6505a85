use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::TransportError;
use super::tool::{Tool, exists, failed, free_address};

/// An nginx that shows the blobs of a node's store as that node's public API does, out of the same files.
pub struct Nginx {
    tool: Tool,
    /// Its configuration and its temporary files; removed when it has ended.
    _dir: TempDir,
}

impl Nginx {
    /// `node`: that node's data directory. `None` where there is no nginx.
    pub fn start(node: &Path) -> Result<Option<Self>, TransportError> {
        if !exists("nginx") {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("loadtest-nginx-").tempdir().map_err(failed("nginx's directory"))?;
        let (file, address, here) = (dir.path().join("nginx.conf"), free_address()?, dir.path().display());
        let blobs = node.join("blobs");
        // As its users tune it for large files. What it has nothing to send from memory for is sent by sendfile.
        let config = format!(
            "daemon off; worker_processes auto; pid {here}/pid; error_log {here}/errors; events {{ worker_connections 64; }}
             {user}
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000; default_type application/octet-stream;
             client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
             server {{ listen {address}; location ~ \"^/v1/blobs/((..).*)$\" {{ alias {blobs}/$2/$1; }} }} }}",
            blobs = blobs.display(),
            user = if rustix::process::geteuid().is_root() { "user root;" } else { "" },
        );
        std::fs::write(&file, config).map_err(failed("nginx's configuration"))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-e").arg(dir.path().join("errors")).arg("-c").arg(&file);
        Ok(Some(Self { tool: Tool::start(command, address)?, _dir: dir }))
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.tool.address
    }

    pub fn processes(&self) -> Vec<u32> {
        self.tool.processes()
    }
}
