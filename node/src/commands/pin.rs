use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use herring_http_api::client::ApiClient;
use herring_http_api::ttl::Ttl;
use herring_http_api::types::{PinInfo, PinList};
use serde_json::json;

use crate::commands::Target;
use crate::error::Failure;
use crate::output::{Output, Table, size};

#[derive(Debug, Args)]
pub struct PinArgs {
    /// An id or a name; a tree with all that is in it. A name is pinned as it is now, wherever it points later
    #[arg(value_name = "ID|NAME")]
    target: Target,

    /// For how long from now: 7d, 36h, 90m, 30s, 2w
    #[arg(long, value_name = "TIME", default_value = "7d")]
    ttl: Ttl,
}

pub async fn pin(client: &ApiClient, output: Output, args: PinArgs) -> Result<(), Failure> {
    let pin = client.pin(&args.target.to_string(), args.ttl.0).await?;
    output.show(&pin, || table(std::slice::from_ref(&pin), now()))
}

pub async fn unpin(client: &ApiClient, output: Output, target: &Target) -> Result<(), Failure> {
    client.unpin(&target.to_string()).await?;
    output.show(&json!({ "target": target.to_string(), "pinned": false }), || format!("unpinned {target}\n"))
}

pub async fn list(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let list = PinList { pins: client.pins().await? };
    output.show(&list, || table(&list.pins, now()))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn table(pins: &[PinInfo], now: Duration) -> String {
    let mut table = Table::new(&["TARGET", "ID", "HERE", "ENDS IN"], &[2, 3]);
    for pin in pins {
        let left = Duration::from_millis(pin.until_ms).saturating_sub(now);
        table.row([pin.target.clone(), pin.id.to_string(), here(pin), roughly(left)]);
    }
    table.render()
}

/// `all of 4.0 GiB`, `1.5 GiB of 4.0 GiB`.
fn here(pin: &PinInfo) -> String {
    let part = if pin.bytes_here < pin.bytes { size(pin.bytes_here) } else { "all".to_owned() };
    format!("{part} of {}", size(pin.bytes))
}

/// `6d 23h`, `59m 3s`: the two largest units.
fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let told: Vec<_> = units.iter().skip_while(|(count, _)| *count == 0).take(2).map(|(n, unit)| format!("{n}{unit}")).collect();
    if told.is_empty() { "0s".to_owned() } else { told.join(" ") }
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;

    #[test]
    fn times_are_told_roughly() {
        for (seconds, told) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7200, "2h 0m"), (604_799, "6d 23h")] {
            assert_eq!(roughly(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn a_pin_that_ended_meanwhile_ends_in_nothing() {
        let pin = PinInfo { target: "models/a".into(), id: BlobId::of(b""), until_ms: 5000, bytes: 3 << 20, bytes_here: 3 << 19 };
        assert_eq!(here(&pin), "1.5 MiB of 3.0 MiB");
        assert_eq!(here(&PinInfo { bytes_here: pin.bytes, ..pin.clone() }), "all of 3.0 MiB");
        let row = table(&[pin], Duration::from_secs(6));
        assert!(row.lines().nth(1).unwrap().ends_with("  0s"), "{row}");
    }
}
