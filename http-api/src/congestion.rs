//! Which congestion control a socket uses. The sender's counts: over loopback BBR moves half of what reno or cubic do.

use std::os::fd::AsFd;
use std::sync::Once;

use rustix::net::sockopt;

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
