use std::fmt::Write;

use super::plan::{Mode, Place, Places};
use super::report::{Line, SweepReport};

/// Of one panel, in the plot's units.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 200.0;
/// Around each panel: room for its title, ticks and labels.
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 30.0;
const BOTTOM: f64 = 50.0;
/// Below all panels.
const LEGEND: f64 = 40.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.frame{fill:none;stroke:#888}\
.title{font-weight:bold}.tmpfs{stroke:#2a7;fill:#2a7}.backing{stroke:#27c;fill:#27c}\
.mount{stroke:#c42;fill:#c42}.line{fill:none;stroke-width:2}";

/// Where values lie in a panel; both axes are logarithmic.
struct Axes {
    readers: (f64, f64),
    /// Powers of ten of microseconds.
    decades: (i32, i32),
}

impl Axes {
    fn of(lines: &[Line]) -> Self {
        let readers = lines.iter().map(|line| (line.readers as f64).log2());
        let readers = readers.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        let times = lines.iter().flat_map(|line| [line.open.p99_us, line.read.p99_us]);
        let times = times.flat_map(|times| Place::ALL.map(|place| *times.of(place))).map(f64::log10);
        let (low, high) = times.filter(|at| at.is_finite()).fold((f64::MAX, f64::MIN), |(l, h), at| (l.min(at), h.max(at)));
        // A power of ten of microseconds fits in an i32.
        #[expect(clippy::cast_possible_truncation)]
        let decades = if low <= high { (low.floor() as i32, (high.ceil() as i32).max(low.floor() as i32 + 1)) } else { (0, 1) };
        Self { readers: if readers.0 < readers.1 { readers } else { (0.0, 1.0) }, decades }
    }

    fn x(&self, readers: f64) -> f64 {
        WIDTH * (readers.log2() - self.readers.0) / (self.readers.1 - self.readers.0)
    }

    fn y(&self, micros: f64) -> f64 {
        let (low, high) = (f64::from(self.decades.0), f64::from(self.decades.1));
        HEIGHT * (1.0 - (micros.max(f64::MIN_POSITIVE).log10().max(low) - low) / (high - low))
    }
}

/// p99 over readers: a row for each mode, open on the left and read on the right, a line for each place.
pub fn plot(report: &SweepReport) -> String {
    let axes = Axes::of(&report.lines);
    let mut modes: Vec<Mode> = report.lines.iter().map(|line| line.mode).collect();
    modes.dedup();
    let (width, row) = (2.0 * (LEFT + WIDTH + RIGHT), TOP + HEIGHT + BOTTOM);
    let height = row * modes.len() as f64 + LEGEND;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (index, mode) in modes.into_iter().enumerate() {
        let lines: Vec<&Line> = report.lines.iter().filter(|line| line.mode == mode).collect();
        let top = row * index as f64 + TOP;
        svg += &panel(&axes, (LEFT, top), &format!("{mode}: open"), &lines, |line| &line.open.p99_us);
        svg += &panel(&axes, (2.0 * LEFT + WIDTH + RIGHT, top), &format!("{mode}: read"), &lines, |line| &line.read.p99_us);
    }
    svg + &legend(report, height - LEGEND) + "</svg>\n"
}

fn panel(axes: &Axes, (left, top): (f64, f64), title: &str, lines: &[&Line], of: impl Fn(&Line) -> &Places<f64>) -> String {
    let mut svg = format!("<g transform=\"translate({left} {top})\">\n<text class=\"title\" y=\"-10\">{title} p99, µs</text>\n");
    for decade in axes.decades.0..=axes.decades.1 {
        let (micros, y) = (10f64.powi(decade), axes.y(10f64.powi(decade)));
        add(
            &mut svg,
            format_args!(
                "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/><text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{micros}</text>",
                y + 4.0
            ),
        );
    }
    for line in lines {
        let (readers, x) = (line.readers, axes.x(line.readers as f64));
        add(
            &mut svg,
            format_args!(
                "<path class=\"grid\" d=\"M{x:.1} 0V{HEIGHT}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{readers}</text>",
                HEIGHT + 18.0
            ),
        );
    }
    for place in Place::ALL {
        let points: Vec<(f64, f64)> =
            lines.iter().map(|line| (axes.x(line.readers as f64), axes.y(*of(line).of(place)))).collect();
        svg += &series(place, &points);
    }
    add(
        &mut svg,
        format_args!(
            "<rect class=\"frame\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">readers</text>",
            WIDTH / 2.0,
            HEIGHT + 36.0
        ),
    );
    svg + "</g>\n"
}

fn series(place: Place, points: &[(f64, f64)]) -> String {
    let name = place.name();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut svg = format!("<polyline class=\"{name} line\" points=\"{}\"/>\n", path.join(" "));
    points
        .iter()
        .for_each(|(x, y)| add(&mut svg, format_args!("<circle class=\"{name}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")));
    svg
}

fn legend(report: &SweepReport, top: f64) -> String {
    let mut svg = format!("<g transform=\"translate({LEFT} {})\">\n", top + 15.0);
    for (index, place) in Place::ALL.into_iter().enumerate() {
        let (x, name) = (110.0 * index as f64, place.name());
        add(&mut svg, format_args!("<path class=\"{name} line\" d=\"M{x} -4h24\"/><text x=\"{}\">{name}</text>", x + 30.0));
    }
    let SweepReport { files, size, runs, seed, .. } = report;
    add(&mut svg, format_args!("<text x=\"340\">{files} files of {size} bytes, median of {runs} runs, seed {seed}</text>"));
    svg + "</g>\n"
}

fn add(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    /// The names of all elements that are open at some point, or what does not fit.
    fn check(svg: &str) -> Result<usize, String> {
        let (mut open, mut count) = (Vec::new(), 0);
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').ok_or(tag)?;
            let name = tag.trim_matches('/').split(' ').next().unwrap_or_default();
            let quotes = tag.matches('"').count();
            if text.contains(['>', '&']) || quotes % 2 == 1 || tag.contains("NaN") || tag.contains("inf") {
                return Err(tag.into());
            } else if tag.starts_with('/') {
                open.pop().filter(|last| *last == name).ok_or(tag)?;
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            count += 1;
        }
        if open.is_empty() { Ok(count) } else { Err(open.join(" ")) }
    }

    #[test]
    fn a_plot_is_well_formed_and_has_every_point() {
        let svg = plot(&report(47_414.0));
        check(&svg).unwrap();
        // Two modes, two calls, three places, two numbers of readers.
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (12, 24));
        assert!(svg.contains(">warm: read p99") && svg.contains(">100000</text>"), "{svg}");
    }

    #[test]
    fn a_plot_of_one_point_or_none_is_well_formed_too() {
        let mut report = report(3.0);
        report.lines.truncate(1);
        check(&plot(&report)).unwrap();
        report.lines.clear();
        check(&plot(&report)).unwrap();
    }

    #[test]
    fn axes_are_logarithmic_and_values_lie_within() {
        let axes = Axes::of(&report(47_414.0).lines);
        assert_eq!((axes.x(1.0), axes.x(16.0), axes.x(256.0)), (0.0, WIDTH / 2.0, WIDTH));
        assert_eq!((axes.decades, axes.y(1.0), axes.y(1e5)), ((0, 5), HEIGHT, 0.0));
    }
}
