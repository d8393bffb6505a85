//! Both clients against small servers on loopback, well-behaved and not.

mod api;
mod chunk;
mod peer;
mod raw;
mod server;
