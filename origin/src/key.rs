/// Why a text cannot be a key of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("is empty")]
    Empty,
    #[error("starts or ends with a slash or has two in a row")]
    EmptySegment,
    #[error("has a segment . or ..")]
    Relative,
    #[error("has a control character")]
    Control,
    #[error("is longer than 1024 bytes")]
    Long,
}

/// S3's limit; directories have 4096 for a path, but a key must mean the same everywhere.
const MAX_KEY: usize = 1024;

/// Refuses what could name anything outside the origin, or what no store could hold.
pub(crate) fn check_key(key: &str) -> Result<(), KeyError> {
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    check_prefix(key)
}

/// As [`check_key`], but the empty prefix is the root.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), KeyError> {
    if prefix.is_empty() {
        return Ok(());
    }
    if prefix.len() > MAX_KEY {
        return Err(KeyError::Long);
    }
    prefix.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), KeyError> {
    match segment {
        "" => Err(KeyError::EmptySegment),
        "." | ".." => Err(KeyError::Relative),
        _ if segment.bytes().any(|byte| byte.is_ascii_control()) => Err(KeyError::Control),
        _ => Ok(()),
    }
}

/// Whether a listed name can be asked for again: an origin may hold names that no key can spell.
pub(crate) fn is_name(name: &str) -> bool {
    !name.contains('/') && check_segment(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_keys_pass() {
        let long = "k".repeat(MAX_KEY);
        for key in ["a", "a/b.c", "with space", "ünïcode/鯡", "100%/%2e%2e", "...", "a/.hidden", "back\\slash", "a#1", &long] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn hostile_keys_do_not() {
        let long = "k".repeat(MAX_KEY + 1);
        for (key, why) in [
            ("", KeyError::Empty),
            ("/a", KeyError::EmptySegment),
            ("a/", KeyError::EmptySegment),
            ("a//b", KeyError::EmptySegment),
            ("..", KeyError::Relative),
            ("a/../b", KeyError::Relative),
            ("./a", KeyError::Relative),
            ("a\0b", KeyError::Control),
            ("a\nb", KeyError::Control),
            (&long, KeyError::Long),
        ] {
            assert_eq!(check_key(key), Err(why), "{key:?}");
        }
        assert_eq!(check_prefix(""), Ok(()));
    }

    /// A key that passes names a file below any directory, and nothing else.
    #[test]
    fn fuzz_keys() {
        use std::path::{Component, Path};
        const PARTS: [&str; 14] = ["a", "b.c", "/", "//", ".", "..", "...", "\0", "\n", "%2e", "%2f", "\\", "\u{85}", "~"];
        bolero::check!().with_type::<Vec<u8>>().with_iterations(4000).for_each(|picks| {
            let key: String = picks.iter().map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
            if check_key(&key).is_ok() {
                let mut parts = Path::new(&key).components();
                assert!(key.len() <= MAX_KEY && parts.all(|part| matches!(part, Component::Normal(_))), "{key:?}");
                // Nothing was left out on the way: one file has one key.
                assert_eq!(Path::new("/root").join(&key).to_str(), Some(format!("/root/{key}").as_str()));
                assert!(key.split('/').all(is_name));
            }
        });
    }
}
