use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::error::BootError;
use crate::error::FuseError;

/// The longest start.
const DEADLINE: Duration = Duration::from_secs(300);
/// Of a failed command's words, how many bytes are shown, from the end.
const WORDS: usize = 2000;
const POLL: Duration = Duration::from_micros(500);

/// What is started, by a shell.
pub struct Program {
    pub command: String,
    /// Where `python3` really is, so that no script in front of it is measured.
    pub python: Option<PathBuf>,
}

impl Program {
    /// Runs it with `tree` as the place of its packages; the seconds that it took.
    pub fn start(&self, tree: &Path) -> Result<f64, BootError> {
        let words = tempfile::NamedTempFile::new().map_err(FuseError::at(Path::new("the temporary directory")))?;
        let mut command = self.shell(tree);
        let log = words.reopen().map_err(FuseError::at(words.path()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let began = Instant::now();
        let mut child = command.spawn().map_err(FuseError::at(Path::new("sh")))?;
        let status = loop {
            match child.try_wait().map_err(FuseError::at(Path::new("sh")))? {
                Some(status) => break status,
                None if began.elapsed() > DEADLINE => {
                    let _ = child.kill().and_then(|()| child.wait());
                    return Err(BootError::TimedOut {
                        what: self.command.clone(),
                        seconds: DEADLINE.as_secs(),
                        detail: String::new(),
                    });
                }
                None => std::thread::sleep(POLL),
            }
        };
        let took = began.elapsed().as_secs_f64();
        if status.success() { Ok(took) } else { Err(self.failed(status, words.path())) }
    }

    fn shell(&self, tree: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &self.command]).env("PYTHONPATH", tree).env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(directory) = self.python.as_deref().and_then(Path::parent) {
            let mut path = directory.as_os_str().to_owned();
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            command.env("PATH", path);
        }
        command
    }

    fn failed(&self, status: ExitStatus, words: &Path) -> BootError {
        let mut text = Vec::new();
        // Without its words there is still its status.
        let _ = File::open(words).and_then(|mut file| file.read_to_end(&mut text));
        let detail = String::from_utf8_lossy(&text[text.len().saturating_sub(WORDS)..]).trim().to_owned();
        BootError::Command { what: self.command.clone(), status: status.to_string(), detail }
    }
}

/// What `python3` says: its own path, and where it finds numpy.
pub fn ask_python() -> Result<(PathBuf, Option<PathBuf>), String> {
    let question =
        "import sys, importlib.util as u; s = u.find_spec('numpy'); print(sys.executable); print(s.origin if s else '')";
    let output = Command::new("python3").args(["-c", question]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let python = lines.next().filter(|line| !line.is_empty()).ok_or("it does not say where it is")?;
    // The directory that holds the package, with the libraries that lie beside it.
    let numpy = lines.next().and_then(|line| Path::new(line).parent()?.parent());
    Ok((python.into(), numpy.map(Path::to_owned).filter(|dir| dir.is_absolute())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &str) -> Program {
        Program { command: command.to_owned(), python: None }
    }

    #[test]
    fn a_command_sees_the_tree_and_its_failure_is_told() {
        let tree = tempfile::tempdir().unwrap();
        assert!(program("test -d \"$PYTHONPATH\"").start(tree.path()).unwrap() > 0.0);
        let failed = program("echo no such thing >&2; exit 3").start(tree.path()).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.contains("no such thing"), "{failed}");
    }
}
