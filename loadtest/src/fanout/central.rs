use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::bench::{KEY, Start};
use super::report::{Finish, Sampler};
use crate::lab::{Http, LabError, Stop};

/// The whole object, from the web server into a file.
pub struct Download<'a> {
    pub host: usize,
    pub web: SocketAddr,
    pub size: u64,
    pub file: &'a Path,
}

impl Download<'_> {
    pub fn run(&self, start: &Start, stop: &Stop) -> Result<Finish, LabError> {
        let failed = || LabError::io(self.file.display().to_string());
        let mut file = File::create(self.file).map_err(failed())?;
        start.wait();
        let mut sampler = Sampler::new(start.at);
        let mut http = Http::connect(self.host, self.web, start.deadline, stop)?;
        let length = http.get(&format!("/{KEY}"), None, |at, bytes| {
            sampler.look(at);
            file.write_all(bytes).map_err(failed())
        })?;
        if length != self.size {
            return Err(LabError::Broken { host: self.host, detail: format!("{length} bytes instead of {}", self.size) });
        }
        Ok(sampler.end(length))
    }
}
