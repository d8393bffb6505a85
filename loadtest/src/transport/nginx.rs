use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::TransportError;
use super::seal::Seal;
use super::tool::{Tool, exists, failed, free_address};

/// An nginx that shows the blobs of a node's store as that node's public API does, out of the same files.
pub struct Nginx {
    tool: Tool,
    pub addresses: Addresses,
    /// Its configuration and its temporary files; removed when it has ended.
    _dir: TempDir,
}

/// Where it speaks what.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub http1: SocketAddr,
    pub h2: SocketAddr,
    pub tls: Option<SocketAddr>,
}

impl Nginx {
    /// `node`: that node's data directory. `None` where there is no nginx.
    pub fn start(node: &Path, seal: Option<&Seal>) -> Result<Option<Self>, TransportError> {
        if !exists("nginx") {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("loadtest-nginx-").tempdir().map_err(failed("nginx's directory"))?;
        let file = dir.path().join("nginx.conf");
        let tls = seal.map(|_| free_address()).transpose()?;
        let addresses = Addresses { http1: free_address()?, h2: free_address()?, tls };
        let sealed = addresses.tls.zip(seal).map(|(at, seal)| sealed(at, seal)).unwrap_or_default();
        std::fs::write(&file, config(dir.path(), node, addresses, &sealed)).map_err(failed("nginx's configuration"))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-e").arg(dir.path().join("errors")).arg("-c").arg(&file);
        Ok(Some(Self { tool: Tool::start(command, addresses.http1)?, addresses, _dir: dir }))
    }

    pub fn processes(&self) -> Vec<u32> {
        self.tool.processes()
    }
}

/// As its users tune it for large files; over HTTP/1.1 in clear it sends them by sendfile.
fn config(here: &Path, node: &Path, Addresses { http1, h2, .. }: Addresses, sealed: &str) -> String {
    let (here, blobs) = (here.display(), node.join("blobs"));
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; worker_processes auto; pid {here}/pid; error_log {here}/errors; events {{ worker_connections 64; }} {user}
         http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000; default_type application/octet-stream;
         http2_chunk_size 1m; output_buffers 2 1m;
         client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
         server {{ listen {http1}; listen {h2} http2; {sealed} location ~ \"^/v1/blobs/((..).*)$\" {{ alias {blobs}/$2/$1; }} }} }}",
        blobs = blobs.display(),
    )
}

fn sealed(at: SocketAddr, Seal { cert, key, .. }: &Seal) -> String {
    format!(
        "listen {at} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; \
         ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
        cert = cert.display(),
        key = key.display(),
    )
}
