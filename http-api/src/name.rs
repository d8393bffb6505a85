//! How names are spelt, in URLs and everywhere else.

/// Bytes of a name.
pub const MAX_NAME: usize = 512;
/// Bytes of one of its segments: what a file's name may have, as names are directories in the mount.
pub const MAX_SEGMENT: usize = 255;

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    #[error("is empty")]
    Empty,
    #[error("is longer than {MAX_NAME} bytes")]
    Long,
    #[error("starts or ends with a slash or has two in a row")]
    EmptySegment,
    #[error("has a segment longer than {MAX_SEGMENT} bytes")]
    LongSegment,
    #[error("has a segment . or ..")]
    Relative,
    #[error("has a control character")]
    Control,
    #[error("begins with a dot, as the swarm's own do")]
    Own,
}

/// Whether `name` can be one: segments parted by single slashes, each of which can be a file's name.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    match name.len() {
        0 => Err(NameFault::Empty),
        1..=MAX_NAME => name.split('/').try_for_each(check_segment),
        _ => Err(NameFault::Long),
    }
}

/// Whether it is one of those that the swarm gives itself.
pub fn is_own(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether somebody may let `name` point at something.
pub fn check_given(name: &str) -> Result<(), NameFault> {
    check_name(name)?;
    if is_own(name) { Err(NameFault::Own) } else { Ok(()) }
}

/// Whether names can begin with `prefix`, which may end anywhere, or come after it.
pub fn check_prefix(prefix: &str) -> Result<(), NameFault> {
    match prefix {
        _ if prefix.len() > MAX_NAME => Err(NameFault::Long),
        _ if prefix.chars().any(char::is_control) => Err(NameFault::Control),
        _ => Ok(()),
    }
}

fn check_segment(segment: &str) -> Result<(), NameFault> {
    match segment {
        "" => Err(NameFault::EmptySegment),
        "." | ".." => Err(NameFault::Relative),
        _ if segment.len() > MAX_SEGMENT => Err(NameFault::LongSegment),
        _ if segment.chars().any(char::is_control) => Err(NameFault::Control),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_that_a_mount_can_show() {
        let (long, segment) = (["x".repeat(255), "y".repeat(255), "z".into()].join("/"), "s".repeat(255));
        assert_eq!(long.len(), 513);
        for name in ["a", "models/llama-3", ".profiles/x", "...", "a b/ü/鯡", "100%/%2e", "back\\slash", &segment, &long[..511]]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, fault) in [
            ("", NameFault::Empty),
            (&long, NameFault::Long),
            ("/a", NameFault::EmptySegment),
            ("a/", NameFault::EmptySegment),
            ("a//b", NameFault::EmptySegment),
            ("a/./b", NameFault::Relative),
            ("..", NameFault::Relative),
            (&"x".repeat(256), NameFault::LongSegment),
            ("a\nb", NameFault::Control),
            ("a/\u{85}", NameFault::Control),
            ("\0", NameFault::Control),
        ] {
            assert_eq!(check_name(name), Err(fault), "{name:?}");
        }
    }

    #[test]
    fn nobody_gives_the_swarms_own_names() {
        assert_eq!((check_given(".profiles/x"), check_given("a/.b")), (Err(NameFault::Own), Ok(())));
    }

    #[test]
    fn a_prefix_may_end_anywhere() {
        for prefix in ["", "mod", "models/", "a//"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        assert_eq!(check_prefix("a\t"), Err(NameFault::Control));
        assert_eq!(check_prefix(&"x".repeat(513)), Err(NameFault::Long));
    }

    /// A name is a path of plain segments, spelt in one way only.
    #[test]
    fn fuzz_names() {
        use std::path::{Component, Path};
        const PARTS: [&str; 14] =
            ["a", "b c", "/", "//", ".", "..", "...", "\0", "\t", "\u{85}", "%2e", "\\", "\u{202e}", "0123456789abcdef"];
        bolero::check!().with_type::<Vec<u8>>().with_iterations(4000).for_each(|picks| {
            let name: String = picks.iter().map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
            if check_name(&name).is_ok() {
                let parts: Vec<_> = Path::new(&name).components().collect();
                assert!(
                    parts.iter().all(|part| matches!(part, Component::Normal(part) if part.len() <= MAX_SEGMENT)),
                    "{name:?}"
                );
                assert_eq!((parts.len(), name.len() <= MAX_NAME), (name.split('/').count(), true));
                assert!(check_prefix(&name).is_ok() && !name.chars().any(char::is_control));
            }
        });
    }
}
