//! The engine among peers: real stores, real servers on loopback, real connections. What is not real is the membership,
//! which each test sets, and the faults of the peers.

mod ahead;
mod count;
mod door;
mod net;
mod peer;
mod stub;

mod explain;
mod faults;
mod flights;
mod full;
mod memory;
mod origins;
mod puts;
mod reads;
mod removal;
mod views;
