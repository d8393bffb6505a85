use std::time::Instant;

use serde::Serialize;

use crate::node::{cpu_seconds, cpu_seconds_of_children};

/// What one turn took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pass {
    pub bytes: u64,
    pub seconds: f64,
    /// Seconds of all cores that all who took part have used.
    pub cpu_seconds: f64,
    /// Cores that were busy with something else meanwhile, on average.
    pub others: f64,
}

impl Pass {
    /// GB/s.
    pub fn speed(&self) -> f64 {
        self.bytes as f64 / 1e9 / self.seconds
    }
}

/// A clock, for time and for the processor.
pub struct Gauge<'a> {
    processes: &'a [u32],
    began: Instant,
    ours: f64,
    all: f64,
}

impl<'a> Gauge<'a> {
    /// Of this process, what it starts and waits for, and `processes`.
    pub fn start(processes: &'a [u32]) -> Self {
        Self { processes, ours: ours(processes), all: machine(), began: Instant::now() }
    }

    pub fn stop(self, bytes: u64) -> Pass {
        let seconds = self.began.elapsed().as_secs_f64();
        let (cpu_seconds, busy) = (ours(self.processes) - self.ours, machine() - self.all);
        Pass { bytes, seconds, cpu_seconds, others: ((busy - cpu_seconds) / seconds).max(0.0) }
    }
}

fn ours(processes: &[u32]) -> f64 {
    let own = std::process::id();
    cpu_seconds(own) + cpu_seconds_of_children(own) + processes.iter().map(|id| cpu_seconds(*id)).sum::<f64>()
}

/// Seconds that the machine's cores were busy, or taken away by its host.
fn machine() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_ticks(&stat).unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// user, nice, system, (idle, iowait,) irq, softirq, steal.
fn busy_ticks(stat: &str) -> Option<u64> {
    let numbers = stat.lines().next()?.split_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
    let fields: Vec<u64> = numbers.take(8).collect::<Option<_>>()?;
    Some(fields.iter().sum::<u64>() - fields.get(3)? - fields.get(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_being_busy() {
        let stat = "cpu  100 1 20 5000 300 4 5 6 0 0\ncpu0 1 2 3\n";
        assert_eq!((busy_ticks(stat), busy_ticks(""), busy_ticks("cpu 1 2")), (Some(136), None, None));
    }
}
