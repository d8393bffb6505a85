use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Place};
use crate::error::{Failure, OrFail};

/// What a running `herring up` leaves in its directory, `up.json`: for drills, and for whoever wants to know which process is which.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub layout: Layout,
    pub nodes: Vec<Recorded>,
}

/// A node of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recorded {
    #[serde(flatten)]
    pub place: Place,
    /// Absent while it does not run.
    pub pid: Option<u32>,
    /// The program and its words.
    pub argv: Vec<String>,
}

impl Record {
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = path(dir);
        let none = || format!("no running `herring up` in {}: {}", dir.display(), path.display());
        let text = std::fs::read(&path).or_fail(none)?;
        serde_json::from_slice(&text).or_fail(|| format!("{} is not what this version writes", path.display()))
    }

    /// Written beside and renamed: whoever reads sees a whole one.
    pub fn save(&self) -> io::Result<()> {
        let path = path(&self.layout.dir);
        let draft = path.with_extension("json.new");
        std::fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(draft, path)
    }

    pub fn remove(dir: &Path) {
        // It may never have been written.
        let _ = std::fs::remove_file(path(dir));
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("up.json")
}
