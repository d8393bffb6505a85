use std::fmt::{Arguments, Write};

use super::Mode;
use super::report::FanOutReport;

/// Of the plot, in its own units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 320.0;
/// Around it: room for the title, ticks and labels, and at the right for the lines' names.
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 150.0;
const BOTTOM: f64 = 60.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.frame{fill:none;stroke:#888}.title{font-weight:bold}\
.central{stroke:#c42;fill:#c42}.static{stroke:#27c;fill:#27c}.swarm{stroke:#2a7;fill:#2a7}.ideal{stroke:#666;stroke-dasharray:5 4}\
.line{fill:none;stroke-width:2}text.name{stroke:none}";

/// Where values lie. Both axes are logarithmic: what takes as long for any number of nodes is level, and a central server's line rises by 1 for
/// each 1.
struct Axes {
    nodes: (f64, f64),
    seconds: (f64, f64),
}

impl Axes {
    fn of(report: &FanOutReport) -> Self {
        let nodes = report.fans.iter().map(|fan| fan.nodes as f64);
        let seconds = report.fans.iter().map(|fan| fan.seconds).chain([report.ideal]);
        // A half below and above, so that no line runs along the frame.
        let (low, high) = ends(seconds.map(f64::log2));
        Self { nodes: ends(nodes.map(f64::log2)), seconds: (low - 0.5, high + 0.5) }
    }

    fn x(&self, nodes: f64) -> f64 {
        WIDTH * (nodes.log2() - self.nodes.0) / (self.nodes.1 - self.nodes.0)
    }

    fn y(&self, seconds: f64) -> f64 {
        HEIGHT * (1.0 - (seconds.log2() - self.seconds.0) / (self.seconds.1 - self.seconds.0))
    }

    /// Powers of two, in seconds.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        // A logarithm of seconds fits in an i32.
        #[expect(clippy::cast_possible_truncation)]
        let (low, high) = (self.seconds.0.ceil() as i32, self.seconds.1.floor() as i32);
        (low..=high).map(|power| 2f64.powi(power))
    }
}

/// The least and the greatest, never the same.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    match low.total_cmp(&high) {
        std::cmp::Ordering::Less => (low, high),
        std::cmp::Ordering::Equal => (low - 1.0, high + 1.0),
        std::cmp::Ordering::Greater => (0.0, 1.0),
    }
}

/// Time over nodes: a line for each mode, and the ideal.
pub fn plot(report: &FanOutReport) -> String {
    let axes = Axes::of(report);
    let (width, height) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n<g transform=\"translate({LEFT} {TOP})\">\n\
         <text class=\"title\" y=\"-28\">Seconds until the last node has all</text><text y=\"-10\">{}</text>\n",
        report.title()
    );
    svg += &grid(&axes, report);
    let ideal = axes.y(report.ideal);
    add(&mut svg, format_args!("<path class=\"ideal line\" d=\"M0 {ideal:.1}H{WIDTH}\"/>"));
    Mode::ALL.into_iter().for_each(|mode| svg += &series(&axes, mode, &report.times(mode)));
    svg + &legend() + "</g>\n</svg>\n"
}

fn grid(axes: &Axes, report: &FanOutReport) -> String {
    let mut svg = String::new();
    for seconds in axes.ticks() {
        let (y, below) = (axes.y(seconds), axes.y(seconds) + 4.0);
        let tick = format_args!("<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>").to_string();
        add(&mut svg, format_args!("{tick}<text x=\"-8\" y=\"{below:.1}\" text-anchor=\"end\">{seconds}</text>"));
    }
    let mut numbers: Vec<usize> = report.fans.iter().map(|fan| fan.nodes).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for nodes in numbers {
        let (x, below) = (axes.x(nodes as f64), HEIGHT + 18.0);
        let tick = format_args!("<path class=\"grid\" d=\"M{x:.1} 0V{HEIGHT}\"/>").to_string();
        add(&mut svg, format_args!("{tick}<text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{nodes}</text>"));
    }
    let (middle, below) = (WIDTH / 2.0, HEIGHT + 38.0);
    add(&mut svg, format_args!("<rect class=\"frame\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>"));
    add(&mut svg, format_args!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">nodes</text>"));
    svg
}

fn series(axes: &Axes, mode: Mode, times: &[(usize, f64)]) -> String {
    let points: Vec<(f64, f64)> = times.iter().map(|(nodes, seconds)| (axes.x(*nodes as f64), axes.y(*seconds))).collect();
    let (name, mut svg) = (mode.name(), String::new());
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    add(&mut svg, format_args!("<polyline class=\"{name} line\" points=\"{}\"/>", path.join(" ")));
    points
        .iter()
        .for_each(|(x, y)| add(&mut svg, format_args!("<circle class=\"{name}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")));
    svg
}

fn legend() -> String {
    let mut svg = String::new();
    let entries = [("central", "central server"), ("static", "static owners"), ("swarm", "swarm"), ("ideal", "size ÷ rate")];
    for (index, (class, name)) in entries.into_iter().enumerate() {
        let (x, y) = (WIDTH + 15.0, 14.0 + 20.0 * index as f64);
        let text = x + 30.0;
        let line = format_args!("<path class=\"{class} line\" d=\"M{x} {}h24\"/>", y - 4.0).to_string();
        add(&mut svg, format_args!("{line}<text x=\"{text}\" y=\"{y}\">{name}</text>"));
    }
    svg
}

fn add(svg: &mut String, element: Arguments<'_>) {
    writeln!(svg, "{element}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_plot_has_a_line_for_each_mode_and_every_point() {
        let svg = plot(&report());
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (3, 6));
        assert!(svg.contains(">16</text>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn a_plot_of_nothing_or_of_one_point_has_axes_too() {
        let mut report = report();
        report.fans.truncate(1);
        assert!(!plot(&report).contains("NaN"));
        report.fans.clear();
        assert!(!plot(&report).contains("NaN") && !plot(&report).contains("inf"));
    }

    #[test]
    fn twice_the_nodes_and_twice_the_time_are_a_straight_line() {
        let axes = Axes { nodes: (1.0, 5.0), seconds: (3.0, 8.0) };
        assert_eq!((axes.x(2.0), axes.x(8.0), axes.x(32.0)), (0.0, WIDTH / 2.0, WIDTH));
        assert_eq!((axes.y(8.0), axes.y(256.0)), (HEIGHT, 0.0));
        assert_eq!(axes.ticks().collect::<Vec<_>>(), [8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
    }
}
