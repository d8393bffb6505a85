use std::collections::HashSet;
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
    table.render() + &hidden(names)
}

/// A line for each of these that another one hides.
fn hidden(names: &[NameInfo]) -> String {
    let listed: HashSet<&str> = names.iter().map(|info| &*info.name).collect();
    let line = |info: &NameInfo| {
        let by = above(&info.name).find(|above| listed.contains(above))?;
        Some(format!("{} is hidden in mounts: {by} is a name too\n", info.name))
    };
    names.iter().filter_map(line).collect()
}

/// The name that mounts show in the place of this one: they cannot show both.
pub async fn hidden_by(client: &ApiClient, name: &str) -> Option<String> {
    for above in above(name) {
        if client.name(above).await.is_ok() {
            return Some(above.to_owned());
        }
    }
    None
}

/// What mounts do not show any more since there is this name: `models/x`, `models/x and 2 more`.
pub async fn hides(client: &ApiClient, name: &str) -> Option<String> {
    let below = client.names(&format!("{name}/"), None, PAGE).await.ok()?;
    let (first, more) = below.names.split_first()?;
    let least = if below.next.is_some() { "at least " } else { "" };
    Some(match more.len() {
        0 => first.name.clone(),
        n => format!("{} and {least}{n} more", first.name),
    })
}

/// `a` and `a/b` of `a/b/c`.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

/// `2026-11-30T12:34:56Z`, of milliseconds since 1970.
pub fn time(ms: u64) -> String {
    // The last second of the year 9999: past it there is no such text.
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs((ms / 1000).min(LAST))).to_string()
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;

    #[test]
    fn what_mounts_do_not_show_is_told() {
        let names = ["a", "a-b", "a/b", "a/b/c", "c/d"].map(|name| name.to_owned());
        let names = names.map(|name| NameInfo { name, target: BlobId::of(b""), version: 1, modified_ms: 0 });
        let told = hidden(&names);
        assert_eq!(told, "a/b is hidden in mounts: a is a name too\na/b/c is hidden in mounts: a is a name too\n");
    }

    #[test]
    fn times_are_told_whatever_they_are() {
        assert_eq!(time(1_796_042_096_999), "2026-11-30T12:34:56Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
