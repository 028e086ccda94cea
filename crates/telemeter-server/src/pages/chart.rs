//! Draws the last hour as a chart: inline SVG without text, so that it may be drawn at any width; the page writes the labels of
//! the axis next to it. The SVG holds numbers only, and needs no escaping.

use std::fmt::Write;

use super::human;
use crate::fleet_view::history::{History, MinuteRates, MinuteRow};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// The time that a chart shows, in milliseconds.
const SPAN_MS: f64 = 3_600_000.0;

/// A chart, and the labels of its axis.
pub(super) struct Chart {
    pub(super) svg: String,
    /// The value at the upper end.
    pub(super) top: String,
    /// The value in the middle.
    pub(super) middle: String,
    /// Whether it has nothing to show.
    pub(super) is_empty: bool,
}

/// A line of a chart.
struct ChartLine {
    class: &'static str,
    name: &'static str,
    value: fn(&MinuteRow) -> f64,
    is_filled: bool,
}

fn rate_of(minute: &MinuteRow, route: &str, value: fn(&MinuteRates) -> f64) -> f64 {
    minute.routes.get(route).map_or(0.0, value)
}

/// Draws requests a second: accepted ones by route, and all refused ones.
pub(super) fn requests(history: &History, now_ms: i64) -> Chart {
    let refused = |minute: &MinuteRow| minute.routes.values().map(|rates| rates.refused_per_second).sum();
    let lines = [
        ChartLine { class: "refused", name: "refused", value: refused, is_filled: true },
        ChartLine {
            class: "authorize",
            name: "authorize",
            value: |minute| rate_of(minute, "authorize", |rates| rates.accepted_per_second),
            is_filled: false,
        },
        ChartLine {
            class: "receive",
            name: "receive",
            value: |minute| rate_of(minute, "receive", |rates| rates.accepted_per_second),
            is_filled: false,
        },
        ChartLine {
            class: "upload",
            name: "upload",
            value: |minute| rate_of(minute, "upload", |rates| rates.accepted_per_second),
            is_filled: false,
        },
    ];
    draw_chart(history, now_ms, "Requests a second in the last hour", &lines)
}

/// Draws samples a second, by route.
pub(super) fn samples(history: &History, now_ms: i64) -> Chart {
    let lines = [
        ChartLine {
            class: "receive",
            name: "receive",
            value: |minute| rate_of(minute, "receive", |rates| rates.samples_per_second),
            is_filled: true,
        },
        ChartLine {
            class: "upload",
            name: "upload",
            value: |minute| rate_of(minute, "upload", |rates| rates.samples_per_second),
            is_filled: true,
        },
    ];
    draw_chart(history, now_ms, "Samples a second in the last hour", &lines)
}

/// Draws lines over the last hour, up to `now_ms`: each minute is a step, and a minute without counts is a gap. The top
/// of the chart is a round number above the highest value. `title` is not escaped.
fn draw_chart(history: &History, now_ms: i64, title: &str, lines: &[ChartLine]) -> Chart {
    let step_ms = i64::from(history.step_seconds) * 1000;
    let minutes = &history.minutes;
    let values = minutes.iter().flat_map(|minute| lines.iter().map(|line| (line.value)(minute)));
    let highest = values.fold(0.0, f64::max);
    let top = round_up(highest);
    let x_of = |ms: i64| (WIDTH * (1.0 - (now_ms.saturating_sub(ms)) as f64 / SPAN_MS)).clamp(0.0, WIDTH);
    let y_of = |value: f64| HEIGHT * (1.0 - value / top);
    let mut svg = format!(
        r#"<svg class="hour" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"><title>{title}: at most {}</title>"#,
        human::rate(highest)
    );
    // Writing to a `String` does not fail.
    for part in [0.0, 0.5, 1.0] {
        let y = HEIGHT * part;
        let _ = write!(svg, r#"<line class="grid" x1="0" y1="{y}" x2="{WIDTH}" y2="{y}"/>"#);
    }
    for line in lines {
        // A minute is drawn as a step, not as a point.
        let mut path = String::new();
        for (at, minute) in minutes.iter().enumerate() {
            let ms = minute.at.0;
            let (from, to) = (x_of(ms), x_of(ms.saturating_add(step_ms)));
            let is_new = at == 0 || ms - minutes[at - 1].at.0 > step_ms;
            let y = y_of((line.value)(minute));
            let _ = write!(path, "{}{from:.1},{y:.1}H{to:.1}", if is_new { "M" } else { "L" });
        }
        let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else { continue };
        if line.is_filled {
            let (left, right) = (x_of(first.at.0), x_of(last.at.0.saturating_add(step_ms)));
            let below = path.replace('M', "L").replacen('L', "", 1);
            let _ = write!(svg, r#"<path class="area {}" d="M{left:.1},{HEIGHT}L{below}"#, line.class);
            let _ = write!(svg, r#"L{right:.1},{HEIGHT}Z"/>"#);
        }
        let _ = write!(svg, r#"<path class="line {}" d="{path}"/>"#, line.class);
    }
    // The title of a minute, which a browser shows under the pointer.
    for minute in minutes {
        let (from, to) = (x_of(minute.at.0), x_of(minute.at.0.saturating_add(step_ms)));
        let utc = human::ShownTime::new(minute.at.0, now_ms).utc;
        let _ = write!(svg, r#"<rect x="{from:.1}" y="0" width="{:.1}" height="{HEIGHT}"><title>"#, to - from);
        let _ = write!(svg, "{} UTC", utc.get(11..16).unwrap_or_default());
        for line in lines.iter().rev() {
            let _ = write!(svg, "\n{} {}", line.name, human::rate((line.value)(minute)));
        }
        svg.push_str("</title></rect>");
    }
    svg.push_str("</svg>");
    Chart { svg, top: axis(top), middle: axis(top / 2.0), is_empty: minutes.is_empty() }
}

/// A round number, with all of its digits: `0.125`, `12.5`, `1 k`.
fn axis(value: f64) -> String {
    if value < 1000.0 { value.to_string() } else { human::short(value) }
}

/// The next number that begins with 1, 2, 2.5 or 5 and then has zeros; 1 for 0.
fn round_up(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value * 0.999_999).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_view::Time;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn minute(at_ms: i64, upload: f64, refused: f64) -> MinuteRow {
        let rates = |accepted, refused| MinuteRates {
            accepted_per_second: accepted,
            refused_per_second: refused,
            samples_per_second: accepted * 100.0,
        };
        let routes = [("upload", rates(upload, refused)), ("receive", rates(0.0, 1.0))];
        MinuteRow { at: Time(at_ms), routes: routes.into() }
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        let values = [0.0, 0.3, 1.0, 1.1, 2.0, 2.2, 7.0, 42.0, 99_999.0, f64::NAN];
        assert_eq!(values.map(round_up), [1.0, 0.5, 1.0, 2.0, 2.0, 2.5, 10.0, 50.0, 100_000.0, 1.0]);
    }

    #[test]
    fn a_minute_is_a_step_at_its_place() {
        let minutes = vec![minute(NOW_MS - 120_000, 10.0, 4.0), minute(NOW_MS - 60_000, 5.0, 0.0)];
        let chart = requests(&History { step_seconds: 60, minutes }, NOW_MS);
        assert_eq!((chart.top.as_str(), chart.middle.as_str(), chart.is_empty), ("10", "5", false));
        // The last two sixtieths of 600, from the upper end down to the middle.
        assert!(
            chart.svg.contains(r#"<path class="line upload" d="M580.0,0.0H590.0L590.0,60.0H600.0"/>"#),
            "{}",
            chart.svg
        );
        assert!(
            chart.svg.contains(
                r#"<path class="area refused" d="M580.0,120L580.0,60.0H590.0L590.0,108.0H600.0L600.0,120Z"/>"#
            ),
            "{}",
            chart.svg
        );
        assert!(chart.svg.contains("UTC\nupload 10.0\nreceive 0\nauthorize 0\nrefused 5.0</title>"), "{}", chart.svg);
        assert_eq!([0.125, 0.5, 12.5, 100.0, 2500.0].map(axis), ["0.125", "0.5", "12.5", "100", "2.5 k"]);
        let samples = samples(&History { step_seconds: 60, minutes: vec![minute(NOW_MS - 60_000, 10.0, 0.0)] }, NOW_MS);
        assert_eq!(samples.top, "1 k");
    }

    #[test]
    fn minutes_without_counts_are_a_gap() {
        let minutes = vec![minute(NOW_MS - 300_000, 1.0, 0.0), minute(NOW_MS - 60_000, 1.0, 0.0)];
        let chart = requests(&History { step_seconds: 60, minutes }, NOW_MS);
        assert!(
            chart.svg.contains(r#"<path class="line upload" d="M550.0,0.0H560.0M590.0,0.0H600.0"/>"#),
            "{}",
            chart.svg
        );
        let nothing = requests(&History { step_seconds: 60, minutes: Vec::new() }, NOW_MS);
        assert!(nothing.is_empty && !nothing.svg.contains("path"));
    }
}
