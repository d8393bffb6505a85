use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Why the program ends without having done what was asked: one sentence for people, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    sentence: String,
    code: u8,
}

impl Failure {
    /// It was tried and did not succeed: exit code 1.
    pub fn failed(sentence: impl Display) -> Self {
        Self { sentence: sentence.to_string(), code: FAILED }
    }

    /// What was asked cannot be: exit code 2. Nothing was tried.
    pub fn usage(sentence: impl Display) -> Self {
        Self { sentence: sentence.to_string(), code: USAGE }
    }

    /// Whoever read our output went away, as `head` does. Nobody is left to be told, and nothing is wrong.
    pub fn reader_left() -> Self {
        Self { sentence: String::new(), code: 0 }
    }

    /// All has been said already, on stdout: exit code 1.
    pub fn told() -> Self {
        Self { sentence: String::new(), code: FAILED }
    }

    pub fn code(&self) -> ExitCode {
        self.code.into()
    }

    /// Says it on stderr, if there is something left to say.
    pub fn tell(&self) {
        if !self.sentence.is_empty() {
            tell(self);
        }
    }
}

/// One sentence on stderr, for people: also where logs are off.
pub fn tell(sentence: impl Display) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "herring: {sentence}");
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// Turns any error into a [`Failure`], saying what was being done.
pub trait OrFail<T> {
    /// `{what}: {error}`, exit code 1.
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::failed(format_args!("{}: {error}", what())))
    }
}
