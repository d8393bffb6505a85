use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use herring_blob::BlobId;

/// What a command line names: as it is, or as a mount has it, below `blobs` or `names`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Blob(BlobId),
    Name(String),
}

impl FromStr for Target {
    type Err = Infallible;

    /// What can be an id is one; a name that could be one is written `names/NAME`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        if let Some(name) = text.strip_prefix("names/") {
            return Ok(Self::Name(name.trim_end_matches('/').to_owned()));
        }
        let text = text.trim_end_matches('/');
        let id = text.strip_prefix("blobs/").unwrap_or(text).parse();
        Ok(id.map_or_else(|_| Self::Name(text.to_owned()), Self::Blob))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_may_be_written_as_in_the_mount() {
        let id = BlobId::of(b"");
        for text in [id.to_string(), format!("sha256:{id}"), format!("blobs/{id}"), format!("{id}/")] {
            assert_eq!(text.parse(), Ok(Target::Blob(id)), "{text}");
        }
        for (text, name) in [("a/b/", "a/b"), ("names/a/b", "a/b"), ("names/names/a", "names/a"), ("blobs/a", "blobs/a")] {
            assert_eq!(text.parse(), Ok(Target::Name(name.into())), "{text}");
        }
        assert_eq!(format!("names/{id}").parse(), Ok(Target::Name(id.to_string())));
    }
}
