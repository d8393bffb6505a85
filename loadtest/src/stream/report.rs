use std::fmt::Write;

use serde::Serialize;

use super::passes::Pass;
use crate::figures::median;

/// What is told of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "MB/s")]
    Rate,
    #[serde(rename = "ops/s")]
    Operations,
    #[serde(rename = "ms")]
    Millis,
}

impl Unit {
    pub fn of(self, pass: &Pass) -> f64 {
        match self {
            Self::Rate => pass.bytes as f64 / 1e6 / pass.seconds,
            Self::Operations => pass.operations as f64 / pass.seconds,
            Self::Millis => pass.seconds * 1e3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rate => "MB/s",
            Self::Operations => "ops/s",
            Self::Millis => "ms",
        }
    }
}

/// One way to the bytes, over all runs.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    pub way: String,
    pub median: f64,
    pub runs: Vec<f64>,
    /// Of the nodes together, over all runs. The clock of the kernel ticks a hundred times a second.
    pub cpu_seconds_per_gb: f64,
}

impl Cell {
    pub fn new(way: &str, unit: Unit, passes: &[Pass], cpu_seconds: f64) -> Self {
        let runs: Vec<f64> = passes.iter().map(|pass| unit.of(pass)).collect();
        let bytes: u64 = passes.iter().map(|pass| pass.bytes).sum();
        Self { way: way.into(), median: median(&runs), runs, cpu_seconds_per_gb: cpu_seconds * 1e9 / bytes.max(1) as f64 }
    }
}

/// What a line is about.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    pub what: String,
    pub unit: Unit,
    /// What is aimed at, of the ratio or of the second way.
    pub goal: Option<&'static str>,
}

impl Head {
    pub fn new(what: impl Into<String>, unit: Unit, goal: Option<&'static str>) -> Self {
        Self { what: what.into(), unit, goal }
    }

    pub fn line(&self, cells: Vec<Cell>) -> Line {
        eprintln!("loadtest: {} done", self.what);
        let ratio = match &cells[..] {
            [first, second] if first.median > 0.0 => Some(second.median / first.median),
            _ => None,
        };
        Line { head: self.clone(), cells, ratio }
    }
}

/// Ways to the same bytes, compared within each run.
#[derive(Debug, Serialize)]
pub struct Line {
    #[serde(flatten)]
    pub head: Head,
    pub cells: Vec<Cell>,
    /// The second way's median over the first's.
    pub ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct StreamReport {
    pub size: u64,
    pub cold_size: u64,
    pub runs: usize,
    pub seed: u64,
    pub notes: Vec<String>,
    pub lines: Vec<Line>,
}

impl StreamReport {
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let mut table = self.notes.iter().map(|note| format!("{note}\n")).collect::<String>();
        table += &head();
        self.lines.iter().for_each(|line| table += &row(line));
        table.truncate(table.trim_end().len());
        table
    }
}

fn head() -> String {
    format!("{:<28}{:<6}{:>20}{:>20}{:>7}  {:<8}{:>16}\n", "what", "unit", "first", "second", "ratio", "goal", "CPU s/GB")
}

fn row(line: &Line) -> String {
    let mut row = format!("{:<28}{:<6}", line.head.what, line.head.unit.name());
    let cell = |cell: Option<&Cell>| cell.map_or_else(String::new, |cell| format!("{} {:>9}", cell.way, figure(cell.median)));
    let ratio = line.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    let cpu: Vec<String> = line.cells.iter().map(|cell| format!("{:.2}", cell.cpu_seconds_per_gb)).collect();
    let cpu = if line.head.unit == Unit::Rate { cpu.join(" / ") } else { String::new() };
    let (first, second) = (cell(line.cells.first()), cell(line.cells.get(1)));
    writeln!(row, "{first:>20}{second:>20}{ratio:>7}  {:<8}{cpu:>16}", line.head.goal.unwrap_or(""))
        .expect("writing to a String cannot fail");
    row
}

/// Three digits at least, and no more decimals than they need.
fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(seconds: f64) -> Pass {
        Pass { bytes: 1_000_000_000, operations: 1000, seconds }
    }

    #[test]
    fn units_are_of_bytes_operations_and_time() {
        let units = [Unit::Rate, Unit::Operations, Unit::Millis];
        assert_eq!(units.map(|unit| unit.of(&pass(2.0))), [500.0, 500.0, 2000.0]);
    }

    #[test]
    fn a_line_compares_medians_and_columns_line_up() {
        let cell = |way, seconds: [f64; 3]| Cell::new(way, Unit::Rate, &seconds.map(pass), 0.6);
        let (backing, mount) = (cell("backing", [1.0, 2.0, 9.0]), cell("mount", [4.0, 4.0, 1.0]));
        assert_eq!((backing.median, mount.median), (500.0, 250.0));
        assert!((mount.cpu_seconds_per_gb - 0.2).abs() < 1e-9);
        let pair = Head::new("sequential", Unit::Rate, Some(">= 0.85")).line(vec![backing.clone(), mount]);
        assert_eq!(pair.ratio, Some(0.5));
        let alone = Head::new("alone", Unit::Rate, None).line(vec![backing]);
        assert_eq!(alone.ratio, None);
        let report = StreamReport { size: 1, cold_size: 1, runs: 3, seed: 1, notes: vec![], lines: vec![pair, alone] };
        let widths: Vec<usize> = report.table().lines().map(str::len).collect();
        assert_eq!(widths, [widths[0]; 3], "{}", report.table());
    }
}
