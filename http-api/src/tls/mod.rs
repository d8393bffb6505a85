//! TLS 1.3 at both ends of the wire: [`ServerTls`] and [`ClientTls`], made from PEM files.
//!
//! A certificate of the swarm's authority makes its holder a node, the one whose id is among its names; [`Identity`] is all of a node's own.
//! What is loaded can be replaced: new handshakes go by the new. Open connections stay: a server looks again at who showed what there, and a client
//! asks nothing more on its own.

#[cfg(feature = "server")]
mod card;
mod client;
mod error;
#[cfg(feature = "server")]
mod identity;
mod pem;
#[cfg(feature = "server")]
mod server;

use std::sync::Arc;

use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs::cipher_suite as suites};
use tokio_rustls::rustls::version::TLS13;

#[cfg(feature = "server")]
pub use card::{Card, can_be_named};
pub use client::ClientTls;
pub(crate) use client::Connected;
pub use error::TlsError;
pub(crate) use error::told;
#[cfg(feature = "server")]
pub use identity::Identity;
#[cfg(feature = "server")]
pub use server::ServerTls;
#[cfg(feature = "server")]
pub(crate) use server::{Accepted, Member, Shown, is_resumed};

/// Nothing older: both ends are ours, and 1.3 has one exchange less.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// Bytes that are encrypted before they are written, as long as the socket takes them: at rustls' own 64 KiB, frames of 1 MiB are sent in 16
/// system calls. docs/adr/0018-tls.md has the figures of this and the next.
const WRITE_BUFFER: usize = 1 << 20;

/// Bytes that a client reads in one system call, where rustls itself takes 4 KiB. A server does without: it may have thousands of
/// connections, and uploads cost it the same.
const READ_BUFFER: usize = 1 << 20;

/// aws-lc-rs, AES-128 first: 5.5 GB/s a core to encrypt, where AES-256 does 5.2 and ChaCha20 1.7; 15 % above ring.
fn provider() -> Arc<CryptoProvider> {
    let cipher_suites =
        vec![suites::TLS13_AES_128_GCM_SHA256, suites::TLS13_AES_256_GCM_SHA384, suites::TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}
