use std::fmt;
use std::io;
use std::time::Duration;

use herring_blob::BlobId;
use serde::Serialize;

use super::Node;
use super::material::Material;
use super::probe::judge;
use crate::digest::Digested;
use crate::output::{Table, count, size};
use crate::up::Layout;

type Read = io::Result<Digested>;

/// Smaller files share a line of the table.
const OWN_LINE: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    ok: bool,
    nodes: u16,
    replicas: usize,
    /// Why nothing was mounted, if nothing was.
    no_mount: Option<String>,
    files: usize,
    /// Of all files together.
    bytes: u64,
    put_ms: f64,
    /// Files that changed while they were put, which says nothing of the nodes.
    left_out: Vec<String>,
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

/// A file read from one node in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    node: String,
    way: Way,
    file: String,
    id: BlobId,
    size: u64,
    /// Absent where the node had it already.
    cold_ms: Option<f64>,
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
    pub fn new(node: &str, way: Way, material: &Material, cold: Option<Duration>, warm: Duration) -> Self {
        let (cold_ms, warm_ms) = (cold.map(ms), ms(warm));
        Self { node: node.to_owned(), way, file: material.name(), id: material.id, size: material.size, cold_ms, warm_ms }
    }
}

impl Report {
    pub fn new(layout: &Layout, no_mount: Option<String>) -> Self {
        let (nodes, replicas) = (layout.nodes, layout.replicas);
        Self {
            ok: true,
            nodes,
            replicas,
            no_mount,
            files: 0,
            bytes: 0,
            put_ms: 0.0,
            left_out: Vec::new(),
            reads: Vec::new(),
            origin: None,
            differences: Vec::new(),
        }
    }

    pub fn put(&mut self, materials: &[Material], took: Duration) {
        self.files = materials.len();
        self.bytes = materials.iter().map(|material| material.size).sum();
        self.put_ms = ms(took);
    }

    pub fn left_out(&mut self, material: &Material) {
        self.left_out.push(material.path.display().to_string());
    }

    /// Takes a read and its repetition in.
    pub fn read(&mut self, node: &Node, way: Way, material: &Material, cold: Option<Read>, warm: Read) {
        let id = &node.place.id;
        let cold = cold.map(|cold| judge(material, cold)).transpose().map_err(|why| format!("the cold read {why}"));
        let warm = judge(material, warm).map_err(|why| format!("the warm read {why}"));
        match cold.and_then(|cold| Ok((cold, warm?))) {
            Ok((cold, warm)) => self.reads.push(Reading::new(id, way, material, cold, warm)),
            Err(why) => self.differs(format!("{} from {id} by {way}: {why}", material.path.display())),
        }
    }

    pub fn differs(&mut self, sentence: String) {
        self.ok = false;
        self.differences.push(sentence);
    }

    pub fn ok(&self) -> bool {
        self.ok
    }

    /// The table, and the verdict as its last line.
    pub fn render(&self) -> String {
        let put =
            format!("put {}, {}, into n1 in {}", count(self.files, "file"), size(self.bytes), pace(self.bytes, self.put_ms));
        let left_out: String = self.left_out.iter().map(|file| format!("left out, as it changes: {file}\n")).collect();
        format!("{put}\n{left_out}\n{}\n{}{}", self.table(), self.origin_line(), self.verdict())
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["NODE", "WAY", "FILE", "SIZE", "COLD", "", "WARM", ""], &[3, 4, 5, 6, 7]);
        self.lots().iter().for_each(|lot| table.row(lot.row()));
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
            let readers = count(origin.readers, "node");
            format!("origin: {bytes} read from {readers} at once, in {pace} each; the origin served {served}\n")
        };
        self.origin.as_ref().map(line).unwrap_or_default()
    }

    fn verdict(&self) -> String {
        if !self.ok() {
            let differences: String = self.differences.iter().map(|difference| format!("  {difference}\n")).collect();
            return format!("check: FAILED\n{differences}");
        }
        let cold = self.reads.iter().filter(|read| read.cold_ms.is_some()).count();
        let (reads, files) = (count(self.reads.len() + cold, "read"), count(self.files, "file"));
        let (nodes, replicas) = (count(self.nodes.into(), "node"), count(self.replicas, "replica"));
        let mounts = if self.no_mount.is_some() { ", without mounts" } else { "" };
        format!("check: ok, {reads} of {files} on {nodes} with {replicas}{mounts} gave the right bytes\n")
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

    fn row(&self) -> [String; 8] {
        let first = self.reads[0];
        let bytes = self.reads.iter().map(|read| read.size).sum();
        let cold: Option<f64> = self.reads.iter().map(|read| read.cold_ms).sum();
        let warm: f64 = self.reads.iter().map(|read| read.warm_ms).sum();
        let time = |ms: f64| [format!("{ms:.1} ms"), speed(bytes, ms)];
        let ([cold, cold_speed], [warm, warm_speed]) = (cold.map(time).unwrap_or_default(), time(warm));
        [first.node.clone(), first.way.to_string(), self.name(), size(bytes), cold, cold_speed, warm, warm_speed]
    }

    fn name(&self) -> String {
        match self.reads.as_slice() {
            [one] => one.file.clone(),
            many => format!("{} small files", many.len()),
        }
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
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
        let layout = Layout {
            dir: "/d".into(),
            port: 1,
            nodes: 2,
            replicas: 2,
            mounts: true,
            origins: vec![],
            flags: vec![],
            secrets: None,
        };
        let mut report = Report::new(&layout, None);
        for (way, name, size) in [(Way::Http, "a", 1), (Way::Mount, "a", 1), (Way::Http, "b", 2), (Way::Http, "big", 4 << 20)] {
            let material = Material { path: name.into(), id: BlobId::of(name.as_bytes()), size };
            report.reads.push(Reading::new("n2", way, &material, Some(Duration::from_millis(2)), Duration::from_millis(1)));
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
