//! Hosts on a switch, with links of a limited rate: what is measured there is limited by the network, and not by the cores of one machine.

mod counters;
mod error;
mod hosts;
mod http;
mod members;
mod nginx;
mod rate;
mod relay;
mod server;
mod wires;

pub use counters::{Busy, Carried};
pub use error::LabError;
pub use hosts::{Stop, each, inside};
pub use http::Http;
pub use members::{Member, Members, Settings, ask, runtime};
pub use rate::Rate;
pub use relay::Relays;
pub use server::Server;
pub use wires::{Plan, Wires, address};
