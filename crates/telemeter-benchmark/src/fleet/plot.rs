//! Draws a run over time as an SVG: throughput, latency, CPU and memory below each other, with one axis of seconds.

use std::fmt::Write as _;

/// The figures of one second of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Second {
    pub(super) at: f64,
    pub(super) sent: f64,
    pub(super) failed: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// CPU use in percent of one core.
    pub(super) server_cpu: Option<f64>,
    pub(super) server_mib: Option<f64>,
    pub(super) own_cpu: Option<f64>,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
/// The heights of one panel: its plot, its heading and its axis.
const PANEL: f64 = 150.0;
const HEADING: f64 = 34.0;
const AXIS: f64 = 26.0;
const TOP: f64 = 44.0;

/// One line of a panel.
struct PlotLine {
    name: &'static str,
    colour: &'static str,
    values: Vec<Option<f64>>,
}

impl PlotLine {
    fn new(name: &'static str, colour: &'static str, values: impl Iterator<Item = Option<f64>>) -> Self {
        Self { name, colour, values: values.collect() }
    }

    /// The largest value; 0 where there is none.
    fn max_value(&self) -> f64 {
        self.values.iter().flatten().copied().fold(0.0, f64::max)
    }
}

/// Returns the plot as an SVG document. `asked` is the configured number of uploads a second.
pub(super) fn svg(title: &str, asked: f64, seconds: &[Second]) -> String {
    let line = |name, colour, value: fn(&Second) -> Option<f64>| PlotLine::new(name, colour, seconds.iter().map(value));
    let panels = [
        (
            "uploads a second",
            vec![
                PlotLine::new("asked for", "#999999", seconds.iter().map(|_| Some(asked))),
                line("sent", "#0b6e4f", |second| Some(second.sent)),
                line("failed", "#c1121f", |second| Some(second.failed)),
            ],
        ),
        (
            "latency in ms, from when an upload was due",
            vec![
                line("p99", "#d98200", |second| Some(second.p99_ms)),
                line("p50", "#1d4ed8", |second| Some(second.p50_ms)),
            ],
        ),
        (
            "CPU in percent of one core",
            vec![
                line("server", "#7b2cbf", |second| second.server_cpu),
                line("generator", "#999999", |second| second.own_cpu),
            ],
        ),
        ("resident memory of the server in MiB", vec![line("server", "#7b2cbf", |second| second.server_mib)]),
    ];
    let end = seconds.last().map_or(1.0, |second| second.at).max(1.0);
    let shown = panels.iter().filter(|(_, lines)| lines.iter().any(|line| line.values.iter().any(Option::is_some)));
    let mut drawn = String::new();
    let mut y = TOP;
    for (heading, lines) in shown {
        draw_panel(&mut drawn, y, heading, lines, seconds, end);
        y += HEADING + PANEL + AXIS;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n{drawn}</svg>\n",
        height = y + 10.0,
        title = escaped(title),
    )
}

/// Appends one diagram to `svg`, `top` pixels below the top: heading, legend, both axes, and a line for each of
/// `lines`. The time axis goes from 0 to `end`, in seconds; a second without a value interrupts its line.
fn draw_panel(svg: &mut String, top: f64, heading: &str, lines: &[PlotLine], seconds: &[Second], end: f64) {
    let right = WIDTH - RIGHT;
    let (top, bottom) = (top + HEADING, top + HEADING + PANEL);
    let step = step(lines.iter().map(PlotLine::max_value).fold(0.0, f64::max));
    let most = step * (lines.iter().map(PlotLine::max_value).fold(0.0, f64::max) / step).ceil().max(1.0);
    let x = |at: f64| LEFT + (right - LEFT) * at / end;
    let y = |value: f64| bottom - PANEL * value / most;

    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>", top - 10.0, escaped(heading));
    let mut at = right;
    for line in lines.iter().rev() {
        let _ = writeln!(
            svg,
            "<text x=\"{at}\" y=\"{}\" text-anchor=\"end\" fill=\"{}\">{}</text>",
            top - 10.0,
            line.colour,
            line.name
        );
        at -= 16.0 + 7.0 * line.name.len() as f64;
    }
    for tick in 0..=(most / step).round() as u32 {
        let value = f64::from(tick) * step;
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#e2e2e2\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(value),
            LEFT - 8.0,
            y(value) + 4.0,
            short_number(value),
        );
    }
    let second = self::step(end * 0.6);
    for tick in 0..=(end / second) as u32 {
        let at = f64::from(tick) * second;
        let unit = if tick == 0 { " s" } else { "" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}{unit}</text>",
            x(at),
            bottom + 17.0,
            short_number(at)
        );
    }
    for line in lines {
        let _ = write!(svg, "<path fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" d=\"", line.colour);
        // A missing value interrupts the line.
        let mut command = 'M';
        for (second, value) in seconds.iter().zip(&line.values) {
            match value {
                Some(value) => {
                    let _ = write!(svg, "{command}{:.1} {:.1}", x(second.at), y(*value));
                    command = 'L';
                }
                None => command = 'M',
            }
        }
        svg.push_str("\"/>\n");
    }
}

/// Returns a round step with which an axis up to `most` has three to six ticks.
fn step(most: f64) -> f64 {
    let rough = (most / 5.0).max(1e-3);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough * 0.999).unwrap_or(rough)
}

/// The number with at most three decimals, without zeros at the end.
fn short_number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The text with `&` and `<` escaped for SVG.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (most, expected) in
            [(0.0, 0.001), (3.0, 1.0), (5.0, 1.0), (97.0, 20.0), (3_704.0, 1_000.0), (6_000.0, 2_000.0)]
        {
            assert_eq!(step(most), expected, "{most}");
        }
    }

    #[test]
    fn every_panel_has_its_unit_and_a_gap_breaks_a_line() {
        let second = |at, server_cpu| Second { at, sent: 10.0, p99_ms: 2.0, server_cpu, ..Second::default() };
        let seconds = [second(1.0, Some(50.0)), second(2.0, None), second(3.0, Some(70.0))];
        let svg = svg("a < b", 12.0, &seconds);
        for text in ["a &lt; b", "uploads a second", "latency in ms", "percent of one core", "asked for", "0 s"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("MiB"), "nothing is known of the memory");
        let cpu = svg.lines().find(|line| line.contains("path") && line.contains("#7b2cbf")).expect("a line");
        assert_eq!(cpu.matches('M').count(), 2, "{cpu}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn an_empty_run_is_a_plot_too() {
        assert!(svg("none", 1.0, &[]).ends_with("</svg>\n"));
    }
}
