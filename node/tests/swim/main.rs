//! The whole program as its users run it: real processes, real sockets, real mounts, `kill -9`.

mod bad_input;
mod hosts;
mod loaders;
mod reading;
mod restart;
mod swarm;
mod up;
