use std::io::{ErrorKind, IsTerminal, Write, stdout};

use bytesize::ByteSize;
use serde::Serialize;

use crate::error::Failure;

/// How results are shown: tables for people, or one JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints `value` as JSON, or else the text that `table` makes.
    pub fn show<T: Serialize>(self, value: &T, table: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return print(&table());
        }
        let json =
            serde_json::to_string_pretty(value).map_err(|error| Failure::failed(format_args!("cannot write JSON: {error}")))?;
        print(&format!("{json}\n"))
    }

    /// Clears the screen, where there is one.
    pub fn clear(self) -> Result<(), Failure> {
        if self.json || !stdout().is_terminal() { Ok(()) } else { print("\x1b[H\x1b[2J") }
    }
}

/// `println!` would panic where the reader has left.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(write_failure)
}

/// What an error of writing to stdout means.
pub fn write_failure(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::failed(format_args!("cannot write the output: {error}")),
    }
}

/// `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// `1 node`, `3 nodes`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Rows under a heading, in columns as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// `right` names the columns that hold figures.
    pub fn new(heading: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![heading.iter().map(ToString::to_string).collect()], right }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn render(&self) -> String {
        let widths = self.widths();
        self.rows.iter().map(|row| format!("{}\n", self.line(row, &widths).trim_end())).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if self.right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let mut table = Table::new(&["name", "size", "note"], &[1]);
        table.row(["a".into(), "1 B".into(), String::new()]);
        table.row(["größer".into(), "10 MiB".into(), "x".into()]);
        assert_eq!(table.render(), "name      size  note\na          1 B\ngrößer  10 MiB  x\n");
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(3 << 19), "1.5 MiB");
        assert_eq!(size(100 << 30), "100.0 GiB");
    }
}
