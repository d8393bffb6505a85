//! Whose a file is that is written anew: still his whose it was. A node that runs as a user of its own could not read what root wrote in its place, and
//! would go by what it read before: a token that is removed would stay good.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use crate::error::{Failure, OrFail};

/// Gives the draft of `path` the owner, group and mode of what is there now; where nothing is, `mode`. A draft of secrets, which is one whose `mode` is
/// for the owner alone, never gets one that is for others too.
pub fn follow(path: &Path, draft: &File, mode: u32) -> Result<(), Failure> {
    let told = || path.display().to_string();
    let there = match std::fs::metadata(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).or_fail(told),
    };
    let mode = there.as_ref().map_or(mode, |there| there.mode() & 0o777 & if mode & 0o077 == 0 { 0o700 } else { 0o777 });
    if let Some(there) = there {
        let (own, whose) = (draft.metadata().or_fail(told)?, (there.uid(), there.gid()));
        if (own.uid(), own.gid()) != whose {
            fchown(draft, Some(whose.0), Some(whose.1)).map_err(|error| denied(path, whose, &error))?;
        }
    }
    // After the owner: a change of that may take permissions away.
    draft.set_permissions(Permissions::from_mode(mode)).or_fail(told)
}

fn denied(path: &Path, (uid, gid): (u32, u32), error: &std::io::Error) -> Failure {
    Failure::failed(format_args!(
        "{} belongs to user {uid} and group {gid}, and would not any more if it were written anew ({error}): nothing was changed; do it as that user, \
         or as root",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    fn state(path: &Path) -> (u32, u32, u32) {
        let meta = std::fs::metadata(path).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o777)
    }

    /// Owner and group where the tests may give files away, which root alone may.
    #[test]
    fn what_is_written_anew_is_whose_it_was() {
        let room = tempfile::tempdir().unwrap();
        let (path, draft) = (room.path().join("file"), room.path().join("draft"));
        for (there, mode, expected) in [
            (None, 0o644, 0o644),
            (None, 0o600, 0o600),
            (Some(0o640), 0o644, 0o640),
            (Some(0o644), 0o600, 0o600),
            (Some(0o400), 0o600, 0o400),
        ] {
            if let Some(there) = there {
                std::fs::write(&path, "before").unwrap();
                std::fs::set_permissions(&path, Permissions::from_mode(there)).unwrap();
                let _ = chown(&path, Some(4711), Some(4712));
            }
            follow(&path, &File::create(&draft).unwrap(), mode).unwrap();
            let owner = state(if there.is_some() { &path } else { room.path() });
            assert_eq!(state(&draft), (owner.0, owner.1, expected), "{there:?} {mode:o}");
            let _ = std::fs::remove_file(&path);
            std::fs::remove_file(&draft).unwrap();
        }
    }

    #[test]
    fn who_may_not_give_it_back_is_told() {
        let why = denied(Path::new("tokens.toml"), (7, 8), &ErrorKind::PermissionDenied.into()).to_string();
        assert!(why.contains("tokens.toml belongs to user 7 and group 8") && why.contains("nothing was changed"), "{why}");
    }
}
