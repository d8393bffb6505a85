use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use crate::key::is_name;

/// What an HTTP server tells of one of its directories.
#[derive(Debug)]
pub(crate) struct Index {
    /// Sorted by name, each name once.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: Box<str>,
    /// `None`: a directory. Size and modification time, where the index tells them exactly.
    pub object: Option<Option<(u64, SystemTime)>>,
}

impl Index {
    /// `None` where the answer is something else than an index: what it does not say is not made up.
    pub(crate) fn parse(directory: &Url, content_type: &str, body: &[u8]) -> Option<Self> {
        let mut entries =
            if content_type.starts_with("application/json") { from_json(body) } else { from_html(directory, body) }?;
        entries.retain(|entry| is_name(&entry.name));
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Some(Self { entries })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| size_of::<Entry>() + entry.name.len()).sum()
    }

    pub(crate) fn has_directory(&self, name: &str) -> bool {
        let at = self.entries.binary_search_by(|entry| (*entry.name).cmp(name));
        at.is_ok_and(|at| self.entries[at].object.is_none())
    }

    /// At most `most` entries behind the name `last`, and the last of them where there are more.
    pub(crate) fn page(&self, last: Option<&str>, most: usize) -> (&[Entry], Option<String>) {
        let from = last.map_or(0, |last| self.entries.partition_point(|entry| *entry.name <= *last));
        let rest = &self.entries[from..];
        let page = &rest[..most.min(rest.len())];
        let next = (rest.len() > most).then(|| page[most - 1].name.to_string());
        (page, next)
    }
}

/// A row of a JSON index.
#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    /// nginx's `autoindex_format json`.
    Nginx {
        name: Box<str>,
        #[serde(rename = "type")]
        kind: Box<str>,
        mtime: String,
        #[serde(default)]
        size: u64,
    },
    /// Caddy's `file_server browse`: a directory's name has its slash, and of a symlink it may tell its own size.
    Caddy { name: Box<str>, size: u64, mod_time: String, is_dir: bool, is_symlink: bool },
}

/// Entries that Caddy tells where it was not told otherwise, without a word about the rest.
const CADDYS_MOST: usize = 10_000;

fn from_json(body: &[u8]) -> Option<Vec<Entry>> {
    let rows: Vec<Row> = serde_json::from_slice(body).ok()?;
    let is_cut = rows.len() == CADDYS_MOST && matches!(rows[0], Row::Caddy { .. });
    (!is_cut).then(|| rows.into_iter().filter_map(from_row).collect())
}

/// `None` for pipes and devices.
fn from_row(row: Row) -> Option<Entry> {
    let (name, object) = match row {
        Row::Nginx { name, kind, mtime, size } => match &*kind {
            "directory" => (name, None),
            "file" => (name, Some(httpdate::parse_http_date(&mtime).ok().map(|modified| (size, modified)))),
            _ => return None,
        },
        Row::Caddy { name, is_dir: true, .. } => (name.trim_end_matches('/').into(), None),
        Row::Caddy { name, is_symlink: true, .. } => (name, Some(None)),
        Row::Caddy { name, size, mod_time, .. } => (name, Some(whole_second(&mod_time).map(|modified| (size, modified)))),
    };
    Some(Entry { name, object })
}

/// As the headers of the file itself say it.
fn whole_second(rfc3339: &str) -> Option<SystemTime> {
    let since = humantime::parse_rfc3339(rfc3339).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

/// The links of an index page to what is directly below it. A page that is none is not taken for one: of what it happens not to
/// link, one would think that it is not there.
fn from_html(directory: &Url, body: &[u8]) -> Option<Vec<Entry>> {
    let page = std::str::from_utf8(body).ok()?;
    let title = between(page, "<title>", "</title>")?.trim().to_ascii_lowercase();
    if !["index of", "directory listing"].iter().any(|known| title.starts_with(known)) {
        return None;
    }
    Some(links(page).filter_map(|link| from_link(directory, &link)).collect())
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(behind)?.0)
}

/// What the page links to, its `&amp;` and the like undone.
fn links(page: &str) -> impl Iterator<Item = String> {
    page.split("<a ").skip(1).filter_map(|tag| {
        let tag = tag.split_once('>')?.0;
        let value = tag.split_once("href=")?.1;
        let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
        let link = value[1..].split_once(quote)?.0;
        let link = ["&quot;=\"", "&#34;=\"", "&#39;='", "&#x27;='", "&lt;=<", "&gt;=>", "&amp;=&"].iter().fold(
            link.to_owned(),
            |link, pair| {
                let (escaped, plain) = pair.split_once('=').expect("each has one");
                link.replace(escaped, plain)
            },
        );
        Some(link)
    })
}

/// `None` for a link that leads elsewhere: up, to another order of the same page, to another server.
fn from_link(directory: &Url, link: &str) -> Option<Entry> {
    let url = directory.join(link).ok()?;
    if url.origin() != directory.origin() || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let below = url.path().strip_prefix(directory.path())?;
    let segment = below.strip_suffix('/').unwrap_or(below);
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    let object = (segment.len() == below.len()).then_some(None);
    Some(Entry { name: name.into(), object })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &str, body: &str) -> Option<Vec<(String, bool)>> {
        let directory = Url::parse("http://h/a%20b/").unwrap();
        let index = Index::parse(&directory, kind, body.as_bytes())?;
        Some(index.entries.iter().map(|entry| (entry.name.to_string(), entry.object.is_none())).collect())
    }

    #[test]
    fn a_json_index_is_read_exactly() {
        let json = r#"[{"name":"d","type":"directory","mtime":"Thu, 01 Jan 1970 00:00:09 GMT"},
            {"name":"p","type":"other","mtime":"x"},{"name":"f\"","type":"file","mtime":"Thu, 01 Jan 1970 00:00:09 GMT","size":7}]"#;
        let index = Index::parse(&Url::parse("http://h/").unwrap(), "application/json", json.as_bytes()).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let entry = |name: &str, object| Entry { name: name.into(), object };
        assert_eq!(index.entries, [entry("d", None), entry("f\"", Some(Some((7, modified))))]);
        assert_eq!(parse("application/json", r#"{"some":"other json"}"#), None);
        assert_eq!(parse("application/json", "[1]"), None);
    }

    #[test]
    fn caddys_json_is_read_too() {
        let row = |name: &str, is_dir: bool, is_symlink: bool| {
            format!(
                r#"{{"name":"{name}","size":7,"url":"./{name}","mod_time":"1970-01-01T00:00:09.75Z","mode":420,"is_dir":{is_dir},"is_symlink":{is_symlink}}}"#
            )
        };
        let json = format!("[{},{},{}]", row("d/", true, false), row("f", false, false), row("link", false, true));
        let index = Index::parse(&Url::parse("http://h/").unwrap(), "application/json", json.as_bytes()).unwrap();
        let entry = |name: &str, object| Entry { name: name.into(), object };
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let expected = [entry("d", None), entry("f", Some(Some((7, modified)))), entry("link", Some(None))];
        assert_eq!(index.entries, expected);
        let rows =
            |most: usize| format!("[{}]", (0..most).map(|n| row(&n.to_string(), false, false)).collect::<Vec<_>>().join(","));
        assert_eq!(parse("application/json", &rows(9_999)).map(|entries| entries.len()), Some(9_999));
        assert_eq!(parse("application/json", &rows(10_000)), None, "there may be more");
    }

    #[test]
    fn an_html_index_gives_the_names_below_it_only() {
        let page = r##"<html><head><title>Index of /a b/</title></head><body><a href="../">../</a>
            <a href="?C=N;O=D">Name</a> <a href='/a%20b/absolute'>x</a> <a href="/elsewhere">x</a> <a href="http://other/a%20b/x">x</a>
            <a class="y" href="sub/">sub/</a> <a href="a&amp;b%25%23.bin">x</a> <a href="deep/er">x</a> <a href="twice">x</a><a href="twice">x</a>
            <a href="%C3%BC">x</a> <a href="#top">x</a> <a name="no">x</a> <a href="b%2Fc">x</a>"##;
        let expected = [("a&b%#.bin", false), ("absolute", false), ("sub", true), ("twice", false), ("ü", false)];
        assert_eq!(parse("text/html", page), Some(expected.map(|(name, directory)| (name.to_owned(), directory)).to_vec()));
        let home = r#"<title>Welcome</title><a href="about.html">About</a>"#;
        assert_eq!(parse("text/html", home), None);
    }

    #[test]
    fn pages_follow_each_other() {
        let json: Vec<_> = (0..5).map(|n| format!(r#"{{"name":"{n}","type":"directory","mtime":""}}"#)).collect();
        let json = format!("[{}]", json.join(","));
        let index = Index::parse(&Url::parse("http://h/").unwrap(), "application/json", json.as_bytes()).unwrap();
        let page = |last| {
            let (entries, next) = index.page(last, 2);
            (entries.iter().map(|entry| entry.name.to_string()).collect::<String>(), next)
        };
        assert_eq!(page(None), ("01".to_owned(), Some("1".to_owned())));
        assert_eq!(page(Some("1")), ("23".to_owned(), Some("3".to_owned())));
        assert_eq!(page(Some("31")), ("4".to_owned(), None));
        assert_eq!(page(Some("9")), (String::new(), None));
    }
}
