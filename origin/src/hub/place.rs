use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::key::check_prefix;

/// What may stand in a segment of a URL's path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Longer than any name that a hub allows.
const MAX_NAME: usize = 96;

const DATASETS: &str = "datasets";

/// A file or directory of a repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    dataset: bool,
    /// `ORG/NAME` or, as old ones have it, `NAME`.
    name: String,
    /// A branch, a tag, or a commit.
    pub revision: String,
    /// Empty: the repository's root.
    path: String,
}

impl Place {
    /// `ORG/NAME@REVISION/PATH`, below `datasets/` for a dataset; without a revision it is `main`, and a slash in one is written `%2F`.
    /// Only those of `refs/pr/N` and `refs/convert/NAME` may be written as they are, as `huggingface_hub`'s own filesystem reads them.
    /// `None` for what cannot be one, and within it for what is above all files of a repository.
    pub fn of_key(key: &str) -> Option<Option<Self>> {
        let (dataset, key) = match key.split_once('/') {
            Some((DATASETS, below)) => (true, below),
            None if key == DATASETS => return Some(None),
            _ => (false, key),
        };
        let segments: Vec<&str> = key.split('/').collect();
        let named = match segments[..] {
            [name, ..] if name.contains('@') => 1,
            [_] => return Some(None).filter(|_| key.is_empty() || is_name(key)),
            _ => 2,
        };
        let is_ref = segments[named - 1].ends_with("@refs");
        let (parts, leads_on) = match segments[named..] {
            [] | ["pr" | "convert"] if is_ref => (named, true),
            ["pr" | "convert", ..] if is_ref => (named + 2, false),
            _ => (named, false),
        };
        let (repository, path) = (segments[..parts].join("/"), segments[parts..].join("/"));
        let (name, revision) = repository.split_once('@').unwrap_or((&repository, "main"));
        let revision = percent_decode_str(revision).decode_utf8().ok()?;
        let legal = name.split('/').all(is_name) && !revision.is_empty() && check_prefix(&revision).is_ok();
        let place = || Self { dataset, name: name.to_owned(), revision: revision.into_owned(), path };
        legal.then(|| (!leads_on).then(place))
    }

    /// The same as a URL spells it: the path percent-encoded.
    pub fn of_url(below_scheme: &str) -> Option<Self> {
        let place = Self::of_key(below_scheme)??;
        let path = percent_decode_str(&place.path).decode_utf8().ok()?.into_owned();
        check_prefix(&path).is_ok().then_some(Self { path, ..place })
    }

    pub fn below(&self, key: &str) -> Self {
        let slash = if self.path.is_empty() || key.is_empty() { "" } else { "/" };
        Self { path: format!("{}{slash}{key}", self.path), ..self.clone() }
    }

    pub fn at(self, commit: &str) -> Self {
        Self { revision: commit.to_owned(), ..self }
    }

    /// The directory that it is in and its name there; the root is in none.
    pub fn split(&self) -> Option<(Self, &str)> {
        let (directory, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (!name.is_empty()).then(|| (Self { path: directory.to_owned(), ..self.clone() }, name))
    }

    /// Where the hub's API tells of the repository.
    pub fn repository(&self) -> String {
        format!("{}/{}", if self.dataset { DATASETS } else { "models" }, self.name)
    }

    /// Where it tells of the revision.
    pub fn revision_path(&self) -> String {
        format!("{}/revision/{}", self.repository(), encode(&self.revision))
    }

    /// Where it tells what is below this directory.
    pub fn tree_path(&self) -> String {
        format!("{}/tree/{}{}", self.repository(), encode(&self.revision), self.encoded_path())
    }

    /// Where the file is.
    pub fn file_path(&self) -> String {
        let above = if self.dataset { "datasets/" } else { "" };
        format!("{above}{}/resolve/{}{}", self.name, encode(&self.revision), self.encoded_path())
    }

    /// Empty, or with a slash in front.
    fn encoded_path(&self) -> String {
        self.path.split('/').filter(|segment| !segment.is_empty()).map(|segment| format!("/{}", encode(segment))).collect()
    }
}

pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `models/ORG/NAME/tree/COMMIT/…` and the like: what a document of the API says of a commit stays true. A key of a whole hub has an @
/// where it names a commit, and cannot be mistaken for one of these unless a repository has a directory `tree/COMMIT`.
pub(super) fn is_document_of_a_commit(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    match segments[..] {
        ["models" | DATASETS, _, "tree" | "revision", revision, ..] => is_commit(revision),
        ["models" | DATASETS, _, _, "tree" | "revision", revision, ..] => is_commit(revision),
        _ => false,
    }
}

/// What the hub's API says of a repository, as it is asked for: `models/ORG/NAME…`.
pub(super) fn is_of_a_repository(path: &str) -> bool {
    let below = path.strip_prefix("models/").or_else(|| path.strip_prefix("datasets/"));
    below.is_some_and(|below| below.starts_with(|first: char| first.is_ascii_alphanumeric()))
}

fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.len() <= MAX_NAME && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn place(dataset: bool, name: &str, revision: &str, path: &str) -> Option<Option<Place>> {
        Some(Some(Place { dataset, name: name.into(), revision: revision.into(), path: path.into() }))
    }

    #[test]
    fn keys_name_repositories_revisions_and_paths() {
        for (key, expected) in [
            ("", Some(None)),
            ("org", Some(None)),
            ("datasets", Some(None)),
            ("datasets/org", Some(None)),
            ("org/tiny", place(false, "org/tiny", "main", "")),
            ("org/tiny/a/b@2.png", place(false, "org/tiny", "main", "a/b@2.png")),
            ("org/tiny@v1.0", place(false, "org/tiny", "v1.0", "")),
            ("org/tiny@refs%2Fpr%2F1/a b", place(false, "org/tiny", "refs/pr/1", "a b")),
            ("org/tiny@refs/pr/1/a b", place(false, "org/tiny", "refs/pr/1", "a b")),
            ("org/tiny@refs/pr/1", place(false, "org/tiny", "refs/pr/1", "")),
            ("datasets/squad@refs/convert/parquet/a/b", place(true, "squad", "refs/convert/parquet", "a/b")),
            ("org/tiny@refs", Some(None)),
            ("org/tiny@refs/convert", Some(None)),
            ("org/tiny@refs/heads/x", place(false, "org/tiny", "refs", "heads/x")),
            ("org/tiny@feat/x", place(false, "org/tiny", "feat", "x")),
            ("org/tiny@feat%2Fx/a", place(false, "org/tiny", "feat/x", "a")),
            ("o:g/tiny@refs", None),
            ("gpt2@main/config.json", place(false, "gpt2", "main", "config.json")),
            ("datasets/org/ds@main/x", place(true, "org/ds", "main", "x")),
            ("datasets/squad@main/x", place(true, "squad", "main", "x")),
            ("org/@main/x", None),
            ("org/tiny@/x", None),
            ("org/ti ny@main/x", None),
            ("org/tiny@%2e%2e/x", None),
            ("org/tiny@a%00/x", None),
            ("o:g", None),
        ] {
            assert_eq!(Place::of_key(key), expected, "{key:?}");
        }
    }

    #[test]
    fn paths_are_encoded_for_the_hub() {
        let place = Place::of_key("datasets/org/ds@refs%2Fpr%2F1/a b/100%#?.txt").unwrap().unwrap();
        assert_eq!(place.file_path(), "datasets/org/ds/resolve/refs%2Fpr%2F1/a%20b/100%25%23%3F.txt");
        assert_eq!(place.split().unwrap().0.tree_path(), "datasets/org/ds/tree/refs%2Fpr%2F1/a%20b");
        assert_eq!(place.at(COMMIT).revision_path(), format!("datasets/org/ds/revision/{COMMIT}"));
        assert_eq!(Place::of_url("org/tiny@refs/pr/1/a%20b").unwrap().tree_path(), "models/org/tiny/tree/refs%2Fpr%2F1/a%20b");
        assert!(Place::of_url("org/tiny@refs/pr").is_none());
        let root = Place::of_url("org/tiny@main/sub%20dir").unwrap();
        assert_eq!(root.below("x").file_path(), "org/tiny/resolve/main/sub%20dir/x");
        assert_eq!(root.below("").tree_path(), "models/org/tiny/tree/main/sub%20dir");
    }

    #[test]
    fn a_commit_is_for_ever() {
        for (path, expected) in [
            (format!("models/org/tiny/tree/{COMMIT}?recursive=true"), true),
            (format!("datasets/squad/revision/{COMMIT}"), true),
            ("models/org/tiny/revision/main".to_owned(), false),
            ("models/org/tiny".to_owned(), false),
            (format!("models/org/tiny/tree/{}", &COMMIT[1..]), false),
            (format!("models/org/tiny/tree/main/{COMMIT}"), false),
        ] {
            assert_eq!(is_document_of_a_commit(&path), expected, "{path}");
        }
    }

    #[test]
    fn the_api_is_asked_about_repositories_only() {
        assert!(is_of_a_repository("models/org/tiny?blobs=true") && is_of_a_repository("datasets/squad"));
        for other in ["whoami-v2", "models", "models/", "models/../whoami-v2", "models?author=me", "", "/models/a", "spaces/a"] {
            assert!(!is_of_a_repository(other), "{other}");
        }
    }

    /// Whatever a key is, what the hub is asked for lies within the repository that the key names.
    #[test]
    fn fuzz_places() {
        const PARTS: [&str; 18] = [
            "a", "org", "datasets", "/", "@", "..", ".", "%2e", "%2F", "%", "\\", "?", "#", " ", "\u{e9}", "main", "@refs", "pr",
        ];
        bolero::check!().with_type::<Vec<u8>>().with_iterations(4000).for_each(|picks| {
            let key: String = picks.iter().map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
            if crate::key::check_key(&key).is_err() {
                return;
            }
            let Some(Some(place)) = Place::of_key(&key) else { return };
            for (above, path) in [("", place.file_path()), ("api/", place.tree_path()), ("api/", place.revision_path())] {
                let url = url::Url::parse("https://hub/base/").unwrap().join(&format!("{above}{path}")).unwrap();
                assert_eq!((url.host_str(), url.query(), url.fragment()), (Some("hub"), None, None), "{key:?}");
                assert_eq!(url.path(), format!("/base/{above}{path}"), "{key:?}");
                assert!(path.contains(&place.name), "{key:?}");
            }
        });
    }
}
