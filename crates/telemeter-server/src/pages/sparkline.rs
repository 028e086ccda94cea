//! Draws small line charts as inline SVG. It holds numbers only, and needs no escaping.

use std::fmt::Write;

use telemeter_fleet::recent_store::{ACTIVITY_PARTS, StoredPoint};

use super::human;

const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 28.0;
const MARGIN: f64 = 3.0;

/// A line is divided into so many stretches, of which each keeps its lowest and its highest point.
const STRETCHES: usize = 60;

/// Draws the values of a series between two times; values that are not finite are left out.
pub(super) fn of_points(points: &[StoredPoint], from_ms: i64, to_ms: i64) -> String {
    let span = to_ms.saturating_sub(from_ms).max(1) as f64;
    let finite: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| point.value.is_finite())
        .map(|point| ((point.ms.saturating_sub(from_ms) as f64 / span).clamp(0.0, 1.0), point.value))
        .collect();
    let (low, high) = range(finite.iter().map(|(_, value)| *value));
    let Some((_, last)) = finite.last() else { return draw(&[], 0.0, 0.0, false, "no numbers") };
    let title = if low == high {
        format!("{} all along, {}", human::short(low), samples(points.len()))
    } else {
        let [low, high, last] = [low, high, *last].map(human::short);
        format!("lowest {low}, highest {high}, last {last}, {}", samples(points.len()))
    };
    draw(&thin_out(&finite), low, high, false, &title)
}

/// Draws the samples of a cluster by minute, from zero up; those of a cluster that is known for a shorter time are at the right.
pub(super) fn of_rates(rates: &[f64]) -> String {
    let (last, skipped) = (ACTIVITY_PARTS - 2, (ACTIVITY_PARTS - 1).saturating_sub(rates.len()));
    let points = rates.iter().zip(skipped..).map(|(rate, at)| (at as f64 / last as f64, *rate));
    let points: Vec<_> = points.collect();
    let (low, high) = range(rates.iter().copied());
    let title = match rates {
        [] => "not long enough to tell".to_owned(),
        _ => format!("between {} and {} samples a minute", human::rate(low), human::rate(high)),
    };
    draw(&points, 0.0, high, true, &title)
}

fn samples(count: usize) -> String {
    if count == 1 { "1 sample".to_owned() } else { format!("{} samples", human::count(count)) }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

/// Reduces the points of a line for drawing: of each of [`STRETCHES`] stretches it keeps the lowest and the highest
/// point, in their order, and it keeps the last point. A short line stays as it is.
fn thin_out(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * STRETCHES {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(2 * STRETCHES + 1);
    for stretch in points.chunks(points.len().div_ceil(STRETCHES)) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (Some(low), Some(high)) = (stretch.iter().min_by(by_value), stretch.iter().max_by(by_value)) else {
            continue;
        };
        let (first, second) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        kept.push(*first);
        if first.0 < second.0 {
            kept.push(*second);
        }
    }
    kept.extend(points.last());
    kept
}

/// Draws a line. `points` lie between 0 and 1 from left to right, and between `low` and `high`; where both are equal,
/// in the middle. `title` is not escaped.
fn draw(points: &[(f64, f64)], low: f64, high: f64, is_filled: bool, title: &str) -> String {
    let at = |(x, value): (f64, f64)| {
        // Halved first: the difference of two finite floats need not be finite.
        let of_range = if high > low { (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.5 };
        (MARGIN + x * (WIDTH - 2.0 * MARGIN), HEIGHT - MARGIN - of_range * (HEIGHT - 2.0 * MARGIN))
    };
    let mut out = format!(
        r#"<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"><title>{title}</title>"#
    );
    let line = points.iter().fold(String::new(), |mut line, point| {
        let (x, y) = at(*point);
        let _ = write!(line, "{}{x:.1},{y:.1}", if line.is_empty() { "" } else { " " });
        line
    });
    // Writing to a `String` does not fail.
    if let (true, [(first, _), .., (last, _)]) = (is_filled, points) {
        let bottom = HEIGHT - MARGIN;
        let (left, right) = (at((*first, low)).0, at((*last, low)).0);
        let _ = write!(out, r#"<polygon points="{left:.1},{bottom} {line} {right:.1},{bottom}"/>"#);
    }
    if points.len() > 1 {
        let _ = write!(out, r#"<polyline points="{line}"/>"#);
    }
    if let Some(point) = points.last() {
        let (x, y) = at(*point);
        let _ = write!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2"/>"#);
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<StoredPoint> {
        values.iter().enumerate().map(|(at, value)| StoredPoint { ms: at as i64 * 1000, value: *value }).collect()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let svg = of_points(&points(&[1.0, 3.0]), 0, 1000);
        assert!(svg.contains(r#"<polyline points="3.0,25.0 117.0,3.0"/>"#), "{svg}");
        assert!(svg.contains("<title>lowest 1, highest 3, last 3, 2 samples</title>"), "{svg}");
    }

    #[test]
    fn a_short_history_is_at_the_right() {
        let svg = of_rates(&[60.0, 60.0]);
        assert!(svg.contains(r#"<polyline points="111.8,3.0 117.0,3.0"/>"#), "{svg}");
        assert!(of_rates(&[1.0; 23]).contains(r#"<polyline points="3.0,3.0 8.2,3.0"#));
    }

    #[test]
    fn a_level_line_runs_in_the_middle() {
        let svg = of_points(&points(&[5.0, 5.0]), 0, 1000);
        assert!(svg.contains(r#"points="3.0,14.0 117.0,14.0""#) && svg.contains("5 all along"), "{svg}");
    }

    #[test]
    fn nothing_and_one_and_what_is_no_number_are_drawn_too() {
        assert!(of_rates(&[]).contains("not long enough"));
        assert!(of_points(&points(&[f64::NAN]), 0, 0).contains("no numbers"));
        let one = of_points(&points(&[f64::INFINITY, 1.0]), 0, 0);
        assert!(one.contains("<circle") && !one.contains("<polyline"), "{one}");
    }

    #[test]
    fn every_coordinate_is_a_number_in_the_picture() {
        for values in [&[f64::MIN, f64::MAX, 0.0][..], &[f64::MIN_POSITIVE, 0.0], &[-1.0, -2.0]] {
            let svg = of_points(&points(values), 500, 1500);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn many_points_keep_their_extremes() {
        let mut values = vec![1.0; 5000];
        (values[1234], values[4321]) = (-7.0, 9.0);
        let thinned = thin_out(&points(&values).iter().map(|point| (point.ms as f64, point.value)).collect::<Vec<_>>());
        assert!(thinned.len() <= 2 * STRETCHES + 1);
        assert_eq!(range(thinned.iter().map(|point| point.1)), (-7.0, 9.0));
    }
}
