use std::time::{Duration, UNIX_EPOCH};

use herring_http_api::client::ApiClient;
use herring_http_api::types::{NameInfo, NameList};

use crate::error::Failure;
use crate::output::{Output, Table};

/// What a node gives at a time.
const PAGE: usize = 1000;

pub async fn run(client: &ApiClient, output: Output, prefix: &str) -> Result<(), Failure> {
    // As the mount has them.
    let prefix = prefix.strip_prefix("names/").unwrap_or(prefix);
    let mut list = NameList::default();
    loop {
        let page = client.names(prefix, list.next.as_deref(), PAGE).await?;
        list.names.extend(page.names);
        list.next = page.next;
        if list.next.is_none() {
            return output.show(&list, || table(&list.names));
        }
    }
}

fn table(names: &[NameInfo]) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "ID", "CHANGED"], &[1]);
    for info in names {
        table.row([info.name.clone(), info.version.to_string(), info.target.to_string(), time(info.modified_ms)]);
    }
    table.render()
}

/// `2026-11-30T12:34:56Z`, of milliseconds since 1970.
pub fn time(ms: u64) -> String {
    // The last second of the year 9999: past it there is no such text.
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs((ms / 1000).min(LAST))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_whatever_they_are() {
        assert_eq!(time(1_796_042_096_999), "2026-11-30T12:34:56Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
