use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::figures::median;

/// One start from a mount.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// `first`, `with` a profile or `without`.
    pub kind: &'static str,
    pub seconds: f64,
    /// Bytes that the node's store held before, and how many more at the end of the start; what a profile names may still be on its way then.
    pub had: u64,
    pub fetched: u64,
}

#[derive(Debug, Serialize)]
pub struct BootReport {
    pub dir: PathBuf,
    pub command: String,
    /// What lies between the nodes.
    pub way: String,
    /// Seconds from the directory itself.
    pub native: Vec<f64>,
    pub starts: Vec<Start>,
    /// Of the medians.
    pub with_over_without: f64,
    pub with_over_first: f64,
}

impl BootReport {
    pub fn new(dir: PathBuf, command: String, way: String, native: Vec<f64>, starts: Vec<Start>) -> Self {
        let of = |kind| median(&seconds(&starts, kind));
        let (with_over_without, with_over_first) = (of("with") / of("without"), of("with") / of("first"));
        Self { dir, command, way, native, starts, with_over_without, with_over_first }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let mut table = format!("{} from {}, {}\n", self.command, self.dir.display(), self.way);
        table += &format!("{:<40}{:>7}{:>10}{:>10}{:>10}{:>14}\n", "", "starts", "median s", "least s", "most s", "fetched MiB");
        table += &row("the directory itself, warm", &self.native, None);
        let kinds = [
            ("first node, cold, no profile yet", "first"),
            ("another node, cold, with the profile", "with"),
            ("another node, cold, profiles off", "without"),
        ];
        for (what, kind) in kinds {
            let fetched: Vec<f64> =
                self.starts.iter().filter(|start| start.kind == kind).map(|start| start.fetched as f64).collect();
            table += &row(what, &seconds(&self.starts, kind), Some(median(&fetched)));
        }
        let (without, first) = (self.with_over_without, self.with_over_first);
        write!(table, "with the profile: {without:.2} of the time without, {first:.2} of the first node's")
            .expect("writing to a String cannot fail");
        table
    }
}

fn seconds(starts: &[Start], kind: &str) -> Vec<f64> {
    starts.iter().filter(|start| start.kind == kind).map(|start| start.seconds).collect()
}

fn row(what: &str, seconds: &[f64], fetched: Option<f64>) -> String {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = seconds.iter().copied().fold(0.0, f64::max);
    let fetched = fetched.map_or_else(String::new, |bytes| format!("{:.1}", bytes / f64::from(1 << 20)));
    format!("{what:<40}{:>7}{:>10.3}{least:>10.3}{most:>10.3}{fetched:>14}\n", seconds.len(), median(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_compared() {
        let start = |kind, seconds| Start { kind, seconds, had: 0, fetched: 3 << 20 };
        let starts =
            vec![start("first", 4.0), start("with", 1.0), start("without", 2.0), start("with", 3.0), start("without", 6.0)];
        let report = BootReport::new("/p".into(), "true".into(), "links".into(), vec![0.5], starts);
        assert_eq!((report.with_over_without, report.with_over_first), (0.5, 0.5));
        let table = report.table();
        let widths: Vec<usize> = table.lines().skip(1).take(5).map(str::len).collect();
        assert_eq!(widths[0], widths[2], "{table}");
        assert!(table.contains("3.0") && table.ends_with("0.50 of the first node's"), "{table}");
    }
}
