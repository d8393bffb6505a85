use crate::error::FuseError;
use crate::lab::LabError;

/// Why a measurement of starts ended early.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Swarm(#[from] FuseError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{what} failed ({status}): {detail}")]
    Command { what: String, status: String, detail: String },
    #[error("{what} was not done after {seconds} s{detail}")]
    TimedOut { what: String, seconds: u64, detail: String },
    #[error("python3 does not find numpy ({0}): install it, set PYTHONPATH, or give --dir DIR and --command")]
    NoNumpy(String),
}
