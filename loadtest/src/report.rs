use std::fmt::Write;

use herring_blob::BlobId;
use serde::Serialize;

use crate::tally::Row;

/// What a load test found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub id: BlobId,
    pub size: u64,
    /// Bytes of one read.
    pub range: usize,
    pub nodes: Vec<String>,
    /// The blob in whole chunks, one after the other, from the first node: cold, if that node had none of it.
    pub first_pass: Row,
    /// Random ranges, per number of readers.
    pub runs: Vec<Row>,
}

impl Report {
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let mut table = format!("blob {}, {} bytes, in ranges of {}\n", self.id, self.size, self.range);
        table += "what         readers      reads       MB/s     p50 ms     p99 ms     max ms\n";
        write_row(&mut table, "first pass", &self.first_pass);
        self.runs.iter().for_each(|row| write_row(&mut table, "random", row));
        table.truncate(table.trim_end().len());
        table
    }
}

fn write_row(table: &mut String, what: &str, row: &Row) {
    let [p50, p99, max] = [row.p50_us, row.p99_us, row.max_us].map(|micros| micros as f64 / 1e3);
    let (readers, reads, rate) = (row.readers, row.reads, row.bytes_per_second / 1e6);
    writeln!(table, "{what:<12} {readers:>7} {reads:>10} {rate:>10.1} {p50:>10.2} {p99:>10.2} {max:>10.2}")
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_json_parses() {
        let row = |readers| Row {
            readers,
            reads: 1000,
            bytes: 65_536_000,
            seconds: 5.0,
            bytes_per_second: 13_107_200.0,
            p50_us: 381,
            p99_us: 12_345,
            max_us: 1_234_567,
        };
        let report = Report {
            id: BlobId::of(b""),
            size: 1,
            range: 65_536,
            nodes: vec!["http://127.0.0.1:7070".into()],
            first_pass: row(1),
            runs: vec![row(16)],
        };
        let table = report.table();
        let widths: Vec<usize> = table.lines().skip(1).map(str::len).collect();
        assert_eq!(widths, [widths[0]; 3], "{table}");
        assert!(table.ends_with("1234.57"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["runs"][0]["p99_us"], 12_345);
    }
}
