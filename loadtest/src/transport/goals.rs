use serde::Serialize;

use super::report::{Kind, Moved, Timed};

/// One figure in its relation to another of the same run: absolute ones say more of the machine than of us.
#[derive(Debug, Serialize)]
pub struct Goal {
    pub what: &'static str,
    pub ratio: f64,
    pub wanted: f64,
    /// Whether more is better.
    pub at_least: bool,
}

impl Goal {
    pub fn is_met(&self) -> bool {
        if self.at_least { self.ratio >= self.wanted } else { self.ratio <= self.wanted }
    }

    pub fn line(&self) -> String {
        let Self { what, ratio, wanted, at_least } = self;
        let (sign, met) = (if *at_least { "≥" } else { "≤" }, if self.is_met() { "met" } else { "missed" });
        format!("{what:<52}{ratio:>6.2}  ({sign} {wanted:.2}: {met})\n")
    }
}

/// Those of which both figures were measured.
pub fn goals(moved: &[Moved], times: &[Timed]) -> Vec<Goal> {
    let speed = |kind, beginning: &str| {
        let of = moved.iter().filter(|moved| moved.kind == kind && moved.way.starts_with(beginning));
        of.map(|moved| moved.median).reduce(f64::max)
    };
    let wait = |kind, way: &str| times.iter().find(|timed| timed.kind == kind && timed.way == way).map(|timed| timed.p50_us);
    let goal = |what, mine: Option<f64>, theirs: Option<f64>, wanted, at_least| {
        Some(Goal { what, ratio: mine? / theirs?, wanted, at_least })
    };
    let (peers, fetched) = (speed(Kind::Serve, "node, peers, h2, 8"), speed(Kind::Fetch, "node"));
    let nginx = |kind| wait(kind, "nginx, HTTP/1.1");
    let all = [
        goal("serving peers ÷ iperf3", peers, speed(Kind::Serve, "iperf3"), 0.8, true),
        goal("serving peers ÷ nginx's sendfile", peers, speed(Kind::Serve, "nginx, HTTP/1.1"), 0.7, true),
        goal("fetch, verify and write ÷ cp", fetched, speed(Kind::Fetch, "cp"), 0.5, true),
        goal("64 KiB p50, peers ÷ nginx, one", wait(Kind::Alone, "node, peers, h2"), nginx(Kind::Alone), 2.0, false),
        goal("64 KiB p50, HTTP/1.1 ÷ nginx, one", wait(Kind::Alone, "node, public, HTTP/1.1"), nginx(Kind::Alone), 2.0, false),
        goal("64 KiB p50, peers ÷ nginx, eight", wait(Kind::Abreast, "node, peers, h2"), nginx(Kind::Abreast), 2.0, false),
        goal(
            "64 KiB p50, HTTP/1.1 ÷ nginx, eight",
            wait(Kind::Abreast, "node, public, HTTP/1.1"),
            nginx(Kind::Abreast),
            2.0,
            false,
        ),
    ];
    all.into_iter().flatten().collect()
}
