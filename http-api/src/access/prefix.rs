use std::fmt;
use std::str::FromStr;

use super::Resource;

const ROOTS: [&str; 3] = ["names/", "origins/", "blobs/"];

/// An origin's name, the longest key of it, and what is around them.
const LONGEST: usize = 2048;

/// What limits a token. Where it ends with `/` or `@` it is all whose paths begin so, else that one thing: `names/team-a/` is not
/// `names/team-ab`. The `@` is for a hub's repositories: `origins/hub/org/model@` is that one at all its revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error("{0:?} is no prefix: it begins with names/, origins/ or blobs/, such as names/team-a/")]
    Root(String),
    #[error("{0:?} is no prefix: it is too long, or has two slashes in a row, a segment . or .., or a control character")]
    Odd(String),
}

impl Prefix {
    /// Whether this is all below a path, rather than one thing.
    pub fn is_open(&self) -> bool {
        self.0.ends_with(['/', '@'])
    }

    pub fn covers(&self, resource: &Resource) -> bool {
        match resource {
            Resource::Everything => false,
            Resource::Nothing => true,
            Resource::One(path) => is_plain(path, false) && (*path == self.0 || self.is_open() && path.starts_with(&self.0)),
            Resource::Below(path) => is_plain(path, true) && self.is_open() && path.starts_with(&self.0),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether nobody who reads the path could take it for another one. Handlers refuse most of what is not; here it is refused before them.
fn is_plain(path: &str, may_end_open: bool) -> bool {
    let inner = if may_end_open { path.strip_suffix('/').unwrap_or(path) } else { path };
    let is_plain = |segment: &str| !["", ".", ".."].contains(&segment) && !segment.chars().any(char::is_control);
    inner.split('/').all(is_plain)
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        if !ROOTS.iter().any(|root| text.starts_with(root)) {
            return Err(PrefixError::Root(text.to_owned()));
        }
        let is_one = text.len() <= LONGEST && is_plain(text, true);
        is_one.then(|| Self(text.to_owned())).ok_or_else(|| PrefixError::Odd(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefix: &str, resource: &Resource) -> bool {
        prefix.parse::<Prefix>().unwrap().covers(resource)
    }

    #[test]
    fn a_prefix_ends_at_a_slash_or_is_the_whole() {
        let name = Resource::name;
        assert!(covers("names/team-a/", &name("team-a/x")) && covers("names/team-a/", &name("team-a/x/y")));
        assert!(covers("names/team-a", &name("team-a")) && covers("names/", &name("x")));
        for other in ["team-ab", "team-ab/x", "team-a", "team-b/team-a/x", ".team-a/x"] {
            assert!(!covers("names/team-a/", &name(other)), "{other}");
        }
        assert!(!covers("names/team-a", &name("team-a/x")) && !covers("names/team-a", &name("team-ab")));
        assert!(!covers("names/team-a/", &Resource::object("names", "team-a/x")));
        assert!(!covers("names/", &name(".team-a/x")) && !covers("names/.team-a/", &name(".team-a/x")), "the swarm's own");
        assert!(covers("names/", &name("team-a/.x")));
        assert!(covers("origins/hub/org/m@", &Resource::object("hub", "org/m@main/x")));
        assert!(!covers("origins/hub/org/m@", &Resource::object("hub", "org/mm@main/x")));
    }

    #[test]
    fn what_could_be_read_otherwise_is_not_covered() {
        for tail in ["../x", "./x", "a/../../x", "/x", "a//b", "x/", "..", "a\0b", "a\nb", ""] {
            assert!(!covers("names/team-a/", &Resource::name(&format!("team-a/{tail}"))), "{tail:?}");
            assert!(!covers("origins/o/", &Resource::object("o", tail)), "{tail:?}");
        }
        assert!(!covers("origins/", &Resource::object("..", "x")) && !covers("origins/", &Resource::object("", "x")));
    }

    #[test]
    fn lists_are_covered_whole_or_not_at_all() {
        assert!(covers("names/a/", &Resource::names("a/")) && covers("names/a/", &Resource::names("a/b")));
        assert!(!covers("names/a/", &Resource::names("a")) && !covers("names/a/", &Resource::names("")));
        assert!(!covers("names/a", &Resource::names("a")), "which lists ab as well");
        assert!(covers("names/", &Resource::names("")) && !covers("names/", &Resource::names(".")));
        assert!(covers("origins/o/", &Resource::directory("o", "")) && covers("origins/o/d/", &Resource::directory("o", "d")));
        assert!(!covers("origins/o/d/", &Resource::directory("o", "")) && !covers("origins/o/d", &Resource::directory("o", "d")));
        assert!(!covers("origins/o/", &Resource::directory("o", "a/..")));
    }

    #[test]
    fn blobs_are_meant_however_their_ids_are_written() {
        let id = "ab".repeat(32);
        for written in [id.clone(), format!("sha256:{id}"), id.to_uppercase()] {
            assert!(covers(&format!("blobs/{id}"), &Resource::blob(&written)) && covers("blobs/", &Resource::target(&written)));
            assert!(!covers("names/", &Resource::target(&written)));
        }
        assert!(covers("blobs/", &Resource::blobs()) && !covers(&format!("blobs/{id}"), &Resource::blobs()));
        assert!(!covers("blobs/", &Resource::Everything) && covers("blobs/", &Resource::Nothing));
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        for wrong in ["", "names", "/names/", "name/x", "peer/", "../names/"] {
            assert!(matches!(wrong.parse::<Prefix>(), Err(PrefixError::Root(_))), "{wrong}");
        }
        for wrong in ["names/../x", "names//", "names/a//b", "origins/./", "names/a\n"] {
            assert!(matches!(wrong.parse::<Prefix>(), Err(PrefixError::Odd(_))), "{wrong}");
        }
    }
}
