//! The whole program as its users run it: real processes, real sockets, real mounts, `kill -9`.

mod access;
#[expect(dead_code, reason = "wrong certificates are tried there")]
#[path = "../../../http-api/tests/server/authority.rs"]
mod authority;
mod bad_input;
mod buckets;
mod client;
mod doors;
mod drains;
mod drills;
mod hosts;
mod jobs;
mod loaders;
mod names;
mod origins;
mod reading;
mod restart;
mod servers;
#[path = "../../../origin/tests/conformance/stand_in.rs"]
mod stand_in;
mod swarm;
mod tls;
mod trees;
mod up;
