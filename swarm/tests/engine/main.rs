//! The engine among peers: real stores, real servers on loopback, real connections. What is not real is the membership,
//! which each test sets, and the faults of the peers.

mod ahead;
mod bucket;
mod count;
mod door;
mod net;
mod peer;
mod site;
mod stub;

mod custody;
mod explain;
mod fanout;
mod faults;
mod flights;
mod full;
mod holders;
mod jobs;
mod memory;
mod metadata;
mod names;
mod origins;
mod overload;
mod pins;
mod profiles;
mod proofs;
mod puts;
mod reads;
mod removal;
mod repository;
mod tail;
mod trees;
mod views;
