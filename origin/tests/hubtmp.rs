#[path = "conformance/hub.rs"]
mod hub;
#[path = "conformance/stand_in.rs"]
mod stand_in;
