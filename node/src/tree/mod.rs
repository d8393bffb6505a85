//! Directories on this machine, to trees and back. [`Walk`] looks at all of one before anything is sent, [`send`] sends its files (small
//! ones together) and then the tree; [`bring`] writes a tree's files as its blobs arrive.

mod bring;
mod found;
mod pack;
mod send;
mod staging;
mod walk;
mod write;

pub use bring::bring;
pub use found::{find, load};
pub use send::{Sent, check, send};
pub use walk::Walk;
pub use write::finish;

#[cfg(test)]
mod tests;
