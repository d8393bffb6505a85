//! Nodes of their own, measured: that the figures are of what they say, and that nothing is left behind.

mod drills;
mod lab;
