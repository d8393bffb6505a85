//! The tokens that a node knows, from a file that is read again while it runs.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use herring_http_api::access::{Digest, Grant, Prefix, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::reread::Reread;

/// Permissions with which others than the owner may change it. To read it is to know names and digests, of which no token can be made.
const OTHERS: u32 = 0o022;

/// The file: a table for each token, under its name.
pub type Entries = BTreeMap<String, TokenEntry>;

/// A token as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// SHA-256 of the token, 64 hexadecimal digits.
    pub sha256: String,
    pub scope: String,
    /// What it is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// RFC 3339, as the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl TokenEntry {
    pub fn grant(&self, name: &str) -> Result<Grant, String> {
        let told = |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}");
        let only = self.only.as_deref().unwrap_or_default();
        if self.only.is_some() && only.is_empty() {
            return Err("only: the list is empty: leave it out where the token is for everything".to_owned());
        }
        let only: Result<Vec<Prefix>, _> = only.iter().map(|prefix| prefix.parse()).collect();
        Grant::new(
            name,
            digest(&self.sha256).ok_or("sha256: it is no 64 hexadecimal digits")?,
            self.scope.parse().map_err(|why| told("scope", &why))?,
            only.map_err(|why| told("only", &why))?,
            self.expires.as_deref().map(time).transpose().map_err(|why| told("expires", &why))?,
        )
        .map_err(|why| why.to_string())
    }
}

fn digest(hex: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        // Not from_str_radix alone, which takes a sign.
        let digits = hex.get(2 * at..2 * at + 2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(Digest(bytes))
}

fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text).map_err(|_| format!("{text:?} is no time: write it like 2027-01-31T00:00:00Z"))
}

/// What is in the file; `None` where there is none.
pub fn entries(path: &Path) -> Result<Option<Entries>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    toml::from_str(&text).map(Some).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        format!("line {line}: {}", error.message().replace('\n', " "))
    })
}

fn read(path: &Path) -> Result<Tokens, String> {
    let entries = entries(path)?.ok_or("there is no such file; make a token first: herring token new NAME --scope read")?;
    let mode = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.mode();
    if mode & OTHERS != 0 {
        return Err(format!("others may change it (mode {:03o}): chmod 600 it", mode & 0o777));
    }
    let grants = entries.iter().map(|(name, entry)| entry.grant(name).map_err(|why| format!("token {name:?}: {why}")));
    grants.collect::<Result<Vec<_>, _>>().map(Tokens::new)
}

pub fn load(path: &Path) -> Result<Reread<Tokens>, Failure> {
    let told = |why| Failure::usage(format_args!("--tokens {}: {why}", path.display()));
    Reread::open(path, "the tokens", read).map_err(told)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use herring_http_api::access::{Scope, Stranger};

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn entry(token: &str, rest: &str) -> String {
        let hex: String = Digest::of(token).0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[{token}]\nsha256 = \"{hex}\"\n{rest}\n")
    }

    #[test]
    fn a_file_says_what_each_token_may() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("tokens.toml");
        let (one, two) = (
            entry("one", "scope = 'write'\nonly = ['names/a/', 'blobs/']"),
            entry("two", "scope = 'read'\nexpires = '2020-01-31T00:00:00Z'"),
        );
        write(&path, &format!("# Ours.\n{one}{two}"), 0o644);
        let tokens = read(&path).unwrap();
        let found = tokens.find("one", SystemTime::now()).unwrap();
        assert_eq!((found.name(), found.scope(), found.only().len()), ("one", Scope::Write, 2));
        assert_eq!(tokens.find("two", SystemTime::now()), Err(Stranger::Expired));
    }

    #[test]
    fn what_is_wrong_in_it_is_told() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("tokens.toml");
        let why = |text: &str, mode| {
            write(&path, text, mode);
            load(&path).unwrap_err().to_string()
        };
        assert!(load(&room.path().join("none")).unwrap_err().to_string().contains("herring token new"));
        for mode in [0o620, 0o602, 0o666] {
            assert!(why("", mode).contains(&format!("mode {mode:o}")));
        }
        for (rest, expected) in [
            ("scope = 'root'", "token \"t\": scope: \"root\" is no scope"),
            ("scope = 'read'\nonly = []", "only: the list is empty"),
            ("scope = 'read'\nonly = ['x/']", "only: \"x/\" is no prefix"),
            ("scope = 'admin'\nonly = ['names/']", "an admin's token cannot be limited"),
            ("scope = 'read'\nexpires = 'soon'", "expires: \"soon\" is no time"),
            ("scope = 'read'\nonyl = ['names/']", "line 4: unknown field `onyl`"),
        ] {
            let told = why(&entry("t", rest), 0o600);
            assert!(told.contains(expected) && !told.contains('\n'), "{told}");
        }
        for hex in ["", "zz", &"+1".repeat(32), &"é".repeat(32)] {
            assert!(why(&format!("[t]\nsha256 = '{hex}'\nscope = 'read'"), 0o600).contains("sha256"), "{hex}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_read_again_and_a_wrong_one_changes_nothing() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("tokens.toml");
        write(&path, &entry("one", "scope = 'read'"), 0o600);
        let tokens = load(&path).unwrap();
        let knows = |tokens: &Reread<Tokens>| tokens.now().find("one", SystemTime::now()).is_ok();
        write(&path, "broken", 0o600);
        let told = tokens.look(None).await;
        assert!(told.is_some() && knows(&tokens));
        fs::remove_file(&path).unwrap();
        assert!(tokens.look(None).await.is_some() && knows(&tokens), "a file that is gone opens nothing and closes nothing");
        write(&path, "", 0o600);
        assert_eq!(tokens.look(told).await, None);
        assert!(!knows(&tokens));
    }
}
