use std::fmt;
use std::io;
use std::time::Duration;

use herring_blob::BlobId;
use serde::Serialize;

use super::Node;
use super::material::Material;
use crate::digest::Digested;
use crate::output::{Table, size};
use crate::up::Layout;

/// Smaller files share a line of the table.
const OWN_LINE: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    nodes: u16,
    replicas: usize,
    /// Why nothing was mounted, if nothing was.
    no_mount: Option<String>,
    files: usize,
    /// Of all files together.
    bytes: u64,
    put_ms: f64,
    reads: Vec<Reading>,
    pub origin: Option<OriginReport>,
    /// What is not as it must be. Nothing, if all is well.
    differences: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Mount,
    Http,
}

/// A file read twice from one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    node: String,
    way: Way,
    file: String,
    id: BlobId,
    size: u64,
    cold_ms: f64,
    warm_ms: f64,
}

/// An origin's file read from all nodes at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OriginReport {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes that the origin was asked for.
    pub served: u64,
    pub readers: usize,
    pub slowest_ms: f64,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Mount { "mount" } else { "http" })
    }
}

impl Reading {
    pub fn new(node: &str, way: Way, material: &Material, cold: Duration, warm: Duration) -> Self {
        let (cold_ms, warm_ms) = (cold.as_secs_f64() * 1e3, warm.as_secs_f64() * 1e3);
        Self { node: node.to_owned(), way, file: material.name(), id: material.id, size: material.size, cold_ms, warm_ms }
    }
}

impl Report {
    pub fn new(layout: &Layout, no_mount: Option<String>) -> Self {
        let (nodes, replicas) = (layout.nodes, layout.replicas);
        let (reads, differences) = (Vec::new(), Vec::new());
        Self { nodes, replicas, no_mount, files: 0, bytes: 0, put_ms: 0.0, reads, origin: None, differences }
    }

    pub fn put(&mut self, materials: &[Material], took: Duration) {
        self.files = materials.len();
        self.bytes = materials.iter().map(|material| material.size).sum();
        self.put_ms = took.as_secs_f64() * 1e3;
    }

    pub fn read(&mut self, node: &Node, way: Way, material: &Material, cold: io::Result<Digested>, warm: io::Result<Digested>) {
        match Reading::judge(node, way, material, cold, warm) {
            Ok(reading) => self.reads.push(reading),
            Err(difference) => self.differs(difference),
        }
    }

    pub fn differs(&mut self, sentence: String) {
        self.differences.push(sentence);
    }

    pub fn ok(&self) -> bool {
        self.differences.is_empty()
    }

    /// The table, and the verdict as its last line.
    pub fn render(&self) -> String {
        let put = format!("put {} files, {}, into n1 in {}", self.files, size(self.bytes), pace(self.bytes, self.put_ms));
        format!("{put}\n\n{}\n{}{}", self.table(), self.origin_line(), self.verdict())
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["NODE", "WAY", "FILE", "SIZE", "COLD", "", "WARM", ""], &[3, 4, 5, 6, 7]);
        for lot in self.lots() {
            let (cold, warm) = (lot.reads.iter().map(|read| read.cold_ms).sum(), lot.reads.iter().map(|read| read.warm_ms).sum());
            let bytes = lot.reads.iter().map(|read| read.size).sum();
            let (first, file) = (lot.reads[0], lot.name());
            let [ms_cold, ms_warm] = [cold, warm].map(|ms: f64| format!("{ms:.1} ms"));
            let [speed_cold, speed_warm] = [cold, warm].map(|ms| speed(bytes, ms));
            table.row([first.node.clone(), first.way.to_string(), file, size(bytes), ms_cold, speed_cold, ms_warm, speed_warm]);
        }
        table.render()
    }

    /// The reads in lines: a large file has one to itself, the small ones of a node and way share one.
    fn lots(&self) -> Vec<Lot<'_>> {
        let mut lots: Vec<Lot<'_>> = Vec::new();
        for read in &self.reads {
            match lots.iter_mut().find(|lot| lot.takes(read)) {
                Some(lot) => lot.reads.push(read),
                None => lots.push(Lot { reads: vec![read] }),
            }
        }
        lots.sort_by_key(|lot| (&lot.reads[0].node, lot.reads[0].way == Way::Http));
        lots
    }

    fn origin_line(&self) -> String {
        let line = |origin: &OriginReport| {
            let (bytes, served) = (size(origin.size), size(origin.served));
            let pace = pace(origin.size, origin.slowest_ms);
            format!("origin: {} nodes read {bytes} at once in {pace} each; the origin served {served}\n", origin.readers)
        };
        self.origin.as_ref().map(line).unwrap_or_default()
    }

    fn verdict(&self) -> String {
        if !self.ok() {
            let differences: String = self.differences.iter().map(|difference| format!("  {difference}\n")).collect();
            return format!("check: FAILED\n{differences}");
        }
        let (reads, nodes, replicas) = (self.reads.len() * 2, self.nodes, self.replicas);
        let mounts = if self.no_mount.is_some() { ", without mounts" } else { "" };
        format!(
            "check: ok, {reads} reads of {} files on {nodes} nodes with {replicas} replicas{mounts} gave the right bytes\n",
            self.files
        )
    }
}

/// Reads that share a line.
struct Lot<'a> {
    reads: Vec<&'a Reading>,
}

impl Lot<'_> {
    fn takes(&self, read: &Reading) -> bool {
        let first = self.reads[0];
        (first.node == read.node && first.way == read.way) && first.size < OWN_LINE && read.size < OWN_LINE
    }

    fn name(&self) -> String {
        match self.reads.as_slice() {
            [one] => one.file.clone(),
            many => format!("{} small files", many.len()),
        }
    }
}

/// `12.5 ms, 800 MB/s`.
fn pace(bytes: u64, ms: f64) -> String {
    format!("{ms:.1} ms, {}", speed(bytes, ms))
}

fn speed(bytes: u64, ms: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a speed is shown with three digits")]
    let rate = bytes as f64 / 1e3 / ms.max(1e-3);
    format!("{rate:.0} MB/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let layout = Layout { dir: "/d".into(), port: 1, nodes: 2, replicas: 2, mounts: true, origins: vec![] };
        let mut report = Report::new(&layout, None);
        for (way, name, size) in [(Way::Http, "a", 1), (Way::Mount, "a", 1), (Way::Http, "b", 2), (Way::Http, "big", 4 << 20)] {
            let material = Material { path: name.into(), id: BlobId::of(name.as_bytes()), size };
            report.reads.push(Reading::new("n2", way, &material, Duration::from_millis(2), Duration::from_millis(1)));
        }
        report
    }

    #[test]
    fn small_files_share_a_line_and_large_ones_do_not() {
        let rendered = report().render();
        let table: Vec<&str> = rendered.lines().filter(|line| line.starts_with("n2")).collect();
        assert_eq!(table.len(), 3, "{rendered}");
        assert!(table[0].contains("mount  a"), "{rendered}");
        assert!(table[1].contains("2 small files") && table[1].contains("4.0 ms"), "{rendered}");
        assert!(table[2].contains("big") && table[2].contains("2097 MB/s"), "{rendered}");
        assert!(rendered.lines().last().unwrap().starts_with("check: ok"));
    }

    #[test]
    fn a_difference_is_told_last_and_fails() {
        let mut report = report();
        report.differs("n2 gave something else".into());
        assert!(!report.ok());
        assert!(report.render().ends_with("check: FAILED\n  n2 gave something else\n"));
    }
}
