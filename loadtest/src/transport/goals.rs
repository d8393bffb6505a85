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
    let (peers, sealed) = (speed(Kind::Serve, "node, peers, h2, 8"), speed(Kind::Serve, "node, peers, h2 + TLS"));
    let fetched = speed(Kind::Fetch, "node to node:");
    let nginx = |kind, how: &str| wait(kind, &format!("nginx, {how}"));
    let (public, peer) = ("node, public, HTTP/1.1", "node, peers, h2");
    let all = [
        goal("serving peers ÷ iperf3", peers, speed(Kind::Serve, "iperf3"), 0.8, true),
        goal("serving peers ÷ nginx's sendfile", peers, speed(Kind::Serve, "nginx, HTTP/1.1"), 0.7, true),
        goal("serving peers with TLS ÷ in clear", sealed, peers, 0.45, true),
        goal("serving peers with TLS ÷ nginx with TLS", sealed, speed(Kind::Serve, "nginx, h2 + TLS"), 2.0, true),
        goal("fetch, verify and write ÷ cp", fetched, speed(Kind::Fetch, "cp"), 0.5, true),
        goal("64 KiB p50 by HTTP/1.1 ÷ nginx, one", wait(Kind::Alone, public), nginx(Kind::Alone, "HTTP/1.1"), 2.0, false),
        goal("64 KiB p50 by HTTP/1.1 ÷ nginx, eight", wait(Kind::Abreast, public), nginx(Kind::Abreast, "HTTP/1.1"), 2.0, false),
        goal("64 KiB p50 of peers ÷ nginx by h2, one", wait(Kind::Alone, peer), nginx(Kind::Alone, "h2"), 2.0, false),
        goal("64 KiB p50 of peers ÷ nginx by h2, eight", wait(Kind::Abreast, peer), nginx(Kind::Abreast, "h2"), 2.0, false),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_compared_with_the_best_of_the_others() {
        let moved = |way, median| Moved {
            kind: Kind::Serve,
            way,
            median,
            best: median,
            cpu_per_gb: 1.0,
            others: 0.0,
            passes: Vec::new(),
        };
        let all = [
            moved("node, peers, h2, 8 streams", 3.0),
            moved("node, peers, h2 + TLS, 8 streams", 1.5),
            moved("nginx, HTTP/1.1, 1 connection", 2.0),
            moved("nginx, HTTP/1.1, 4 connections", 6.0),
        ];
        let goals = goals(&all, &[]);
        let told: Vec<_> = goals.iter().map(|goal| (goal.what, goal.ratio, goal.is_met())).collect();
        let expected = [("serving peers ÷ nginx's sendfile", 0.5, false), ("serving peers with TLS ÷ in clear", 0.5, true)];
        assert_eq!(told, expected);
    }
}
