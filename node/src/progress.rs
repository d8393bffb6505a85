use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter work needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

const STYLE: &str = "{msg} {bar:30} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}";
const STYLE_WITHOUT_TOTAL: &str = "{msg} {spinner} {binary_bytes}  {binary_bytes_per_sec}";

/// A bar on stderr, if that is a terminal, from the first second on.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    since: Instant,
    shown: AtomicBool,
}

impl Progress {
    /// `total` in bytes, where it is known.
    pub fn new(what: impl Into<String>, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_message(what.into());
        let style = if total.is_some() { STYLE } else { STYLE_WITHOUT_TOTAL };
        bar.set_style(ProgressStyle::with_template(style).expect("both templates are well-formed"));
        Self { bar, since: Instant::now(), shown: AtomicBool::new(!stderr().is_terminal()) }
    }

    pub fn add(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
        self.appear();
    }

    /// Where somebody else counts, and learns of more as it goes on.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.appear();
    }

    fn appear(&self) {
        if self.since.elapsed() > PATIENCE && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
