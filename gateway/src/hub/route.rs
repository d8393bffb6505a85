//! Which question a path is.

use std::fmt;

use http::{Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::refusal::Refusal;
use crate::Asked;

/// What may stand in a segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The parameters that change an answer; all others are left out, so that one question has one name in the swarm.
const INFO: &[&str] = &["blobs", "expand", "securityStatus"];
const TREE: &[&str] = &["expand", "recursive"];
const REFS: &[&str] = &["include_prs"];
const COMMITS: &[&str] = &["expand"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Models,
    Datasets,
}

/// A repository's kind and its name, `ORG/NAME` or, as old ones have it, `NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    kind: Kind,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Info {
        repository: Repository,
        revision: Option<String>,
        query: String,
    },
    Tree {
        repository: Repository,
        revision: String,
        path: String,
        query: String,
    },
    /// Its branches and tags.
    Refs {
        repository: Repository,
        query: String,
    },
    /// What led to a revision.
    Commits {
        repository: Repository,
        revision: String,
        query: String,
    },
    /// What is at some paths, which are in the body.
    Paths {
        repository: Repository,
        revision: String,
    },
    File {
        repository: Repository,
        revision: String,
        path: String,
    },
}

impl Repository {
    /// Where the hub's API describes it.
    pub fn api(&self) -> String {
        format!("{}/{}", if self.kind == Kind::Models { "models" } else { "datasets" }, self.name)
    }

    /// What is before the `@` in the keys of its files.
    fn place(&self) -> String {
        let above = if self.kind == Kind::Models { "" } else { "datasets/" };
        format!("{above}{}", self.name)
    }

    /// The key that a file of it has in an origin that is a whole hub.
    pub fn key(&self, commit: &str, path: &str) -> String {
        format!("{}@{commit}/{path}", self.place())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.api())
    }
}

impl Route {
    pub fn of(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let route = Self::parse(uri.path(), uri.query().unwrap_or_default());
        let asks_by_post = matches!(route, Some(Self::Paths { .. }));
        match *method {
            Method::GET | Method::HEAD if !asks_by_post => {}
            Method::POST if asks_by_post => {}
            _ => return Err(Refusal::method(method)),
        }
        route.ok_or_else(|| Refusal::no_route(uri.path()))
    }

    /// The part of the origin that it is about, as keys spell it: a revision stays what the request says, with its slashes as `%2F`.
    pub fn asked(&self, origin: &str) -> Asked {
        let origin = origin.to_owned();
        let at = |repository: &Repository, revision: &str| {
            format!("{}@{}/", repository.place(), revision.replace('%', "%25").replace('/', "%2F"))
        };
        match self {
            Self::File { repository, revision, path } => {
                Asked::Object { origin, key: format!("{}{path}", at(repository, revision)) }
            }
            Self::Info { repository, revision: None, .. } | Self::Refs { repository, .. } => {
                Asked::Below { origin, prefix: format!("{}@", repository.place()) }
            }
            // What paths are asked for is in the body.
            Self::Info { repository, revision: Some(revision), .. }
            | Self::Paths { repository, revision }
            | Self::Commits { repository, revision, .. } => Asked::Below { origin, prefix: at(repository, revision) },
            Self::Tree { repository, revision, path, .. } => {
                let slash = if path.is_empty() || path.ends_with('/') { "" } else { "/" };
                Asked::Below { origin, prefix: format!("{}{path}{slash}", at(repository, revision)) }
            }
        }
    }

    fn parse(path: &str, query: &str) -> Option<Self> {
        let segments = path.strip_prefix('/')?.split('/').map(decode).collect::<Option<Vec<_>>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments[..] {
            ["api", "models", ref rest @ ..] => Self::api(Kind::Models, rest, query),
            ["api", "datasets", ref rest @ ..] => Self::api(Kind::Datasets, rest, query),
            ["datasets", ref rest @ ..] => Self::resolve(Kind::Datasets, rest),
            ref rest => Self::resolve(Kind::Models, rest),
        }
    }

    fn api(kind: Kind, segments: &[&str], query: &str) -> Option<Self> {
        let (name, rest) = match segments {
            [org, name, verb @ ("revision" | "tree" | "paths-info" | "commits" | "refs"), rest @ ..] => {
                (&[*org, *name][..], Some((*verb, rest)))
            }
            [name, verb @ ("revision" | "tree" | "paths-info" | "commits"), rest @ ..] => (&[*name][..], Some((*verb, rest))),
            [_] | [_, _] => (segments, None),
            _ => return None,
        };
        let repository = repository(kind, name)?;
        match rest {
            None => Some(Self::Info { repository, revision: None, query: only(query, INFO) }),
            Some(("revision", [revision])) => {
                Some(Self::Info { repository, revision: Some((*revision).to_owned()), query: only(query, INFO) })
            }
            Some(("refs", [])) => Some(Self::Refs { repository, query: only(query, REFS) }),
            Some(("commits", [revision])) => {
                Some(Self::Commits { repository, revision: (*revision).to_owned(), query: only(query, COMMITS) })
            }
            Some(("paths-info", [revision])) => Some(Self::Paths { repository, revision: (*revision).to_owned() }),
            Some(("tree", [revision, path @ ..])) => {
                let (revision, path) = ((*revision).to_owned(), path.join("/"));
                Some(Self::Tree { repository, revision, path, query: only(query, TREE) })
            }
            Some(_) => None,
        }
    }

    fn resolve(kind: Kind, segments: &[&str]) -> Option<Self> {
        let (name, revision, path) = match segments {
            [org, name, "resolve", revision, path @ ..] => (&[*org, *name][..], revision, path),
            [name, "resolve", revision, path @ ..] => (&[*name][..], revision, path),
            _ => return None,
        };
        let repository = repository(kind, name)?;
        (!path.is_empty()).then(|| Self::File { repository, revision: (*revision).to_owned(), path: path.join("/") })
    }
}

/// Names are plain: what they may hold is what a hub lets them.
fn repository(kind: Kind, name: &[&str]) -> Option<Repository> {
    let plain = |part: &&str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.len() <= 96 && part.bytes().all(legal)
    };
    name.iter().all(plain).then(|| Repository { kind, name: name.join("/") })
}

fn decode(segment: &str) -> Option<String> {
    let plain = |text: &String| !has_dots(text) && !text.contains(char::is_control);
    percent_decode_str(segment).decode_utf8().ok().map(Into::into).filter(plain)
}

/// Whether a path has segments that lead elsewhere: the hub is asked with this node's token, and for nothing but what a route says.
pub(super) fn has_dots(path: &str) -> bool {
    path.split('/').any(|segment| [".", ".."].contains(&segment))
}

pub(super) fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// The parameters of a query that are known, sorted; with the `?`, or empty.
fn only(query: &str, known: &[&str]) -> String {
    let name = |part: &str| part.split('=').next().unwrap_or_default().trim_end_matches("[]").to_owned();
    let mut parts: Vec<&str> = query.split('&').filter(|part| known.contains(&name(part).as_str())).collect();
    parts.sort_unstable();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(kind: Kind, name: &str) -> Repository {
        Repository { kind, name: name.to_owned() }
    }

    #[test]
    fn the_paths_that_clients_ask_for() {
        let tiny = || repository(Kind::Models, "org/tiny");
        let file = |repository, revision: &str, path: &str| {
            Some(Route::File { repository, revision: revision.into(), path: path.into() })
        };
        for (path, query, route) in [
            ("/api/models/org/tiny", "", Some(Route::Info { repository: tiny(), revision: None, query: String::new() })),
            (
                "/api/models/org/tiny/revision/refs%2Fpr%2F1",
                "blobs=true&cursor=x",
                Some(Route::Info { repository: tiny(), revision: Some("refs/pr/1".into()), query: "?blobs=true".into() }),
            ),
            (
                "/api/models/org/tiny/tree/main/a/b%20c",
                "recursive=true&limit=3&expand=false",
                Some(Route::Tree {
                    repository: tiny(),
                    revision: "main".into(),
                    path: "a/b c".into(),
                    query: "?expand=false&recursive=true".into(),
                }),
            ),
            (
                "/api/datasets/ds/paths-info/main",
                "",
                Some(Route::Paths { repository: repository(Kind::Datasets, "ds"), revision: "main".into() }),
            ),
            (
                "/api/models/org/tiny/refs",
                "include_prs=1&x=y",
                Some(Route::Refs { repository: tiny(), query: "?include_prs=1".into() }),
            ),
            (
                "/api/models/org/tiny/commits/v1%2E0",
                "limit=5",
                Some(Route::Commits { repository: tiny(), revision: "v1.0".into(), query: String::new() }),
            ),
            ("/api/models/org/tiny/refs/main", "", None),
            ("/org/tiny/resolve/main/a%23b/c", "", file(tiny(), "main", "a#b/c")),
            ("/datasets/org/ds/resolve/v1.0/x", "", file(repository(Kind::Datasets, "org/ds"), "v1.0", "x")),
            ("/gpt2/resolve/main/resolve/x", "", file(repository(Kind::Models, "gpt2"), "main", "resolve/x")),
            ("/org/tree/resolve/main/x", "", file(repository(Kind::Models, "org/tree"), "main", "x")),
            ("/org/tiny/resolve/main", "", None),
            ("/..%2F/tiny/resolve/main/x", "", None),
            ("/api/models/org/tiny/tree/main/../../../../whoami-v2", "", None),
            ("/api/models/org/tiny/tree/main/%2E%2e/x", "", None),
            ("/api/models/org/tiny/tree/main/a%2F..%2Fx", "", None),
            ("/api/models/org/tiny/tree/..%2F..%2Fx/a", "", None),
            ("/api/models/org/tiny/revision/%2e%2e", "", None),
            ("/org/tiny/resolve/main/./x", "", None),
            ("/org/tiny/resolve/main/...", "", file(tiny(), "main", "...")),
            ("/a@b/tiny/resolve/main/x", "", None),
            ("/api/spaces/org/tiny", "", None),
            ("/api/models/org/tiny/revision/a/b", "", None),
            ("/", "", None),
        ] {
            assert_eq!(Route::parse(path, query), route, "{path}");
        }
    }

    #[test]
    fn what_is_asked_is_a_place_of_the_origin() {
        let asked = |path: &str| Route::parse(path, "").unwrap().asked("hub");
        let below = |prefix: &str| Asked::Below { origin: "hub".into(), prefix: prefix.into() };
        for (path, key) in [
            ("/org/tiny/resolve/main/a/b", "org/tiny@main/a/b"),
            ("/org/tiny/resolve/refs%2Fpr%2F1/a", "org/tiny@refs%2Fpr%2F1/a"),
            ("/org/tiny/resolve/main%2Fa/b", "org/tiny@main%2Fa/b"),
            ("/org/tiny/resolve/main%252Fa/b", "org/tiny@main%252Fa/b"),
            ("/datasets/org/ds/resolve/main/a%2Fb", "datasets/org/ds@main/a/b"),
        ] {
            assert_eq!(asked(path), Asked::Object { origin: "hub".into(), key: key.into() }, "{path}");
        }
        for (path, prefix) in [
            ("/api/models/org/tiny", "org/tiny@"),
            ("/api/models/org/tiny/refs", "org/tiny@"),
            ("/api/models/org/tiny/revision/main", "org/tiny@main/"),
            ("/api/models/org/tiny/commits/main", "org/tiny@main/"),
            ("/api/datasets/org/ds/paths-info/main", "datasets/org/ds@main/"),
            ("/api/models/org/tiny/tree/main", "org/tiny@main/"),
            ("/api/models/org/tiny/tree/main/a", "org/tiny@main/a/"),
            ("/api/models/org/tiny/tree/main/a/", "org/tiny@main/a/"),
        ] {
            assert_eq!(asked(path), below(prefix), "{path}");
        }
    }

    #[test]
    fn a_repository_is_a_directory_of_the_hub() {
        assert_eq!(repository(Kind::Models, "org/tiny").key("c0", "a/b"), "org/tiny@c0/a/b");
        assert_eq!(repository(Kind::Datasets, "ds").key("c0", "a"), "datasets/ds@c0/a");
    }

    /// Whatever is asked for, what the hub's origin hears names one repository and what lies below it.
    #[test]
    fn fuzz_routes() {
        const PARTS: [&str; 26] = [
            "refs",
            "commits",
            "/",
            "api",
            "models",
            "datasets",
            "org",
            "tiny",
            "resolve",
            "tree",
            "revision",
            "paths-info",
            "main",
            "..",
            ".",
            "%2e",
            "%2F",
            "%5c",
            "%00",
            "%ff",
            "@",
            "#",
            "//",
            "\\",
            "a%20b",
            "%25",
        ];
        bolero::check!().with_type::<(bool, Vec<u8>)>().with_iterations(6000).for_each(|(slashes, picks)| {
            let parts: Vec<_> = picks.iter().take(14).map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
            let path = format!("/{}", parts.join(if *slashes { "/" } else { "" }));
            let plain =
                |text: &str| text.split('/').all(|part| ![".", ".."].contains(&part) && !part.chars().any(char::is_control));
            match Route::parse(&path, "expand=true&recursive=1&x=y") {
                Some(Route::File { repository, revision, path: file }) => {
                    assert!(plain(&file) && plain(&revision) && plain(&repository.api()), "{path}");
                    assert!(plain(&repository.key("c0", &file)), "{path}");
                }
                Some(Route::Tree { repository, revision, path: below, .. }) => {
                    assert!((below.is_empty() || plain(&below)) && plain(&revision) && plain(&repository.api()), "{path}");
                }
                Some(Route::Info { repository, revision, .. }) => {
                    assert!(revision.is_none_or(|revision| plain(&revision)) && plain(&repository.api()), "{path}");
                }
                Some(Route::Refs { repository, .. }) => assert!(plain(&repository.api()), "{path}"),
                Some(Route::Paths { repository, revision } | Route::Commits { repository, revision, .. }) => {
                    assert!(plain(&revision) && plain(&repository.api()), "{path}")
                }
                None => {}
            }
        });
    }
}
