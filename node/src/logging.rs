use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::error::Failure;

/// How an event is written to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. `RUST_LOG` decides what is logged; where it says nothing, `level` and above.
pub fn start(format: LogFormat, level: &str) -> Result<(), Failure> {
    // An event that cannot be written, on a full disk say, is lost: to complain of it on stderr would end the node.
    let events = tracing_subscriber::fmt().log_internal_errors(false).with_writer(stderr).with_env_filter(filter(level)?);
    match format {
        LogFormat::Text => events.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Failure::failed(format_args!("cannot start logging: {error}")))
}

fn filter(level: &str) -> Result<EnvFilter, Failure> {
    let chosen = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let directives = if chosen.trim().is_empty() { level } else { &chosen };
    EnvFilter::try_new(directives).map_err(|error| {
        Failure::usage(format_args!(
            "RUST_LOG={directives:?} is no filter ({error}); try RUST_LOG=debug or RUST_LOG=herring_swarm=trace"
        ))
    })
}
