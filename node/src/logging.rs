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

/// The target of audits, who did what.
const AUDIT: &str = "audit";

/// What calls all that a client asks wrongly an error: it is heard only where it is named.
const S3_DOOR: &str = "s3s";

/// Starts logging to stderr. `RUST_LOG` decides what is logged; where it says nothing, `level` and above. With `audits` those are logged too, unless it
/// names them: `audit=off`. Whoever wants to see more of something else, or less, does not mean to switch them off.
pub fn start(format: LogFormat, level: &str, audits: bool) -> Result<(), Failure> {
    // An event that cannot be written, on a full disk say, is lost: to complain of it on stderr would end the node.
    let events = tracing_subscriber::fmt().log_internal_errors(false).with_writer(stderr).with_env_filter(filter(
        &std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default(),
        level,
        audits,
    )?);
    match format {
        LogFormat::Text => events.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Failure::failed(format_args!("cannot start logging: {error}")))
}

fn filter(chosen: &str, level: &str, audits: bool) -> Result<EnvFilter, Failure> {
    let chosen = if chosen.trim().is_empty() { level } else { chosen };
    let more = if audits && !names(chosen, AUDIT) { format!(",{AUDIT}=info") } else { String::new() };
    let less = if names(chosen, S3_DOOR) { String::new() } else { format!(",{S3_DOOR}=off") };
    EnvFilter::try_new(format!("{chosen}{more}{less}")).map_err(|error| {
        Failure::usage(format_args!(
            "RUST_LOG={chosen:?} is no filter ({error}); try RUST_LOG=debug or RUST_LOG=info,herring_swarm=trace"
        ))
    })
}

fn names(directives: &str, what: &str) -> bool {
    directives.split(',').any(|one| one.split(['=', '[']).next().is_some_and(|target| target.trim() == what))
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn audits_are_logged_unless_they_are_named() {
        for (chosen, audits, logged) in [
            ("", true, true),
            ("debug", true, true),
            ("herring_swarm=trace", true, true),
            ("info,herring_swarm=trace", true, true),
            ("off", true, true),
            ("error,audit=off", true, false),
            ("info, audit = off", true, false),
            ("audit=warn", true, false),
            ("audit", true, true),
            ("audits=off", true, true),
            // A command's, not a node's.
            ("herring_swarm=trace", false, false),
        ] {
            let Ok(filter) = filter(chosen, "info", audits) else {
                assert_eq!(chosen, "info, audit = off");
                continue;
            };
            let events = tracing_subscriber::fmt().with_writer(std::io::sink).with_env_filter(filter).finish();
            let found = with_default(events, || tracing::enabled!(target: "audit", Level::INFO));
            assert_eq!(found, logged, "{chosen:?}");
        }
        for (chosen, logged) in [("", false), ("debug", false), ("info,s3s=warn", true), ("s3s", true)] {
            let events =
                tracing_subscriber::fmt().with_writer(std::io::sink).with_env_filter(filter(chosen, "info", true).unwrap());
            let found = with_default(events.finish(), || tracing::enabled!(target: "s3s::ops", Level::ERROR));
            assert_eq!(found, logged, "{chosen:?}");
        }
        let why = filter("a=b=c", "info", true).unwrap_err().to_string();
        assert!(why.contains("\"a=b=c\" is no filter"), "{why}");
    }
}
