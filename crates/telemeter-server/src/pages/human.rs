//! Writes numbers and times for people: each kind in one way on all pages.

use telemeter_http::{date::rfc3339, human};

/// A time, as a page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownTime {
    /// How long ago it is.
    pub(crate) ago: String,
    /// For people: `2026-11-22 08:12:09 UTC`.
    pub(crate) utc: String,
    /// For machines: RFC 3339.
    pub(crate) datetime: String,
}

impl ShownTime {
    pub(crate) fn new(ms: i64, now_ms: i64) -> Self {
        Self { ago: ago(ms, now_ms), utc: utc(ms), datetime: rfc3339(ms) }
    }

    /// The time of the day: `08:12:09`.
    pub(crate) fn clock(&self) -> &str {
        self.utc.get(11..19).unwrap_or_default()
    }
}

/// How long ago a time is, in its largest units.
pub(crate) fn ago(then_ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        ..=-60 => format!("in {}", duration(-seconds)),
        -59..=1 => "just now".to_owned(),
        _ => format!("{} ago", duration(seconds)),
    }
}

/// A length of time: `45 s`, `4 min`, `2 h`, `1 h 30 min`, `3 d 4 h`.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 if minutes % 60 == 0 => format!("{hours} h"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ if hours % 24 == 0 => format!("{days} d"),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A length of time that an operator set, to the second: `4 min 30 s`.
pub(crate) fn duration_exact(seconds: i64) -> String {
    match seconds {
        60..3600 if seconds % 60 > 0 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => duration(seconds),
    }
}

/// A time of UTC as people read it: `2026-11-22 08:12:09 UTC`.
pub(crate) fn utc(ms: i64) -> String {
    rfc3339(ms).replace('T', " ").replace('Z', " UTC")
}

/// A count, in groups of three digits.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    human::count(number.try_into().unwrap_or(u64::MAX))
}

/// A size: `812 B`, `3.4 MiB`.
pub(crate) fn bytes(number: usize) -> String {
    human::bytes(number as u64)
}

/// A rate or a value, in three or four digits and a letter for thousands, millions and on: `51.6`, `24.1 G`.
pub(crate) fn short(value: f64) -> String {
    const UNITS: [&str; 6] = ["", " k", " M", " G", " T", " P"];
    if !value.is_finite() {
        return go(value);
    }
    let mut size = value;
    let mut unit = 0;
    while size.abs() >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if size.abs() >= 1e6 || (size != 0.0 && size.abs() < 0.01) {
        return go(value);
    }
    let decimals = match size.abs() {
        _ if size.fract() == 0.0 => 0,
        ..1.0 => 2,
        _ => 1,
    };
    let sign = if size < 0.0 { "\u{2212}" } else { "" };
    format!("{sign}{:.decimals$}{}", size.abs(), UNITS[unit])
}

/// A rate, with two decimals below 1, and one up to a thousand.
pub(crate) fn rate(value: f64) -> String {
    match value {
        ..=0.0 => "0".to_owned(),
        ..0.005 => "under 0.01".to_owned(),
        ..0.995 => format!("{value:.2}"),
        ..999.95 => format!("{value:.1}"),
        _ => short(value),
    }
}

/// A share of a whole: `0 %`, `under 1 %`, `37 %`.
pub(crate) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 { "under 1 %".to_owned() } else { format!("{:.0} %", (share * 100.0).floor()) }
}

/// How long something took: `3 ms`, `1.2 s`.
pub(crate) fn latency(seconds: f64) -> String {
    match seconds {
        ..0.001 => "under 1 ms".to_owned(),
        ..0.9995 => format!("{:.0} ms", seconds * 1000.0),
        ..59.95 => format!("{seconds:.1} s"),
        _ => duration(seconds as i64),
    }
}

/// How far a clock is ahead of ours, or behind: `+1.5 s`, `−4 min`.
pub(crate) fn drift(seconds: f64) -> String {
    let size = seconds.abs();
    let sign = match seconds {
        _ if size < 0.05 => "",
        ..0.0 => "\u{2212}",
        _ => "+",
    };
    let size = if size < 59.95 { format!("{size:.1} s") } else { duration(size as i64) };
    format!("{sign}{size}")
}

/// A value as `/federate` writes it.
pub(crate) fn go(value: f64) -> String {
    let mut out = Vec::new();
    telemeter_wire::exposition::put_float(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_335_129_000, "2026-11-22 08:12:09 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(ms), expected);
        }
        assert_eq!(rfc3339(1_795_335_129_000), "2026-11-22T08:12:09Z");
        for (seconds, expected) in [
            (-120, "in 2 min"),
            (-3, "just now"),
            (1, "just now"),
            (45, "45 s ago"),
            (270, "4 min ago"),
            (7200, "2 h ago"),
            (5400, "1 h 30 min ago"),
            (273_600, "3 d 4 h ago"),
        ] {
            assert_eq!(ago(0, seconds * 1000), expected);
        }
        assert_eq!([45, 240, 270, 7200].map(duration_exact), ["45 s", "4 min", "4 min 30 s", "2 h"]);
    }

    #[test]
    fn numbers() {
        assert_eq!([0_usize, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!([0, 1023, 1024, 1536, 268_435_456].map(bytes), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "256 MiB"]);
        assert_eq!(
            [0.0, 1.0, 0.123, 51.56, 24_149_606_400.0, -1500.0].map(short),
            ["0", "1", "0.12", "51.6", "24.1 G", "\u{2212}1.5 k"]
        );
        assert_eq!(
            [0.0, 0.004, 0.05, 0.13, 26.0, 51.56, 1500.0].map(rate),
            ["0", "under 0.01", "0.05", "0.13", "26.0", "51.6", "1.5 k"]
        );
        assert_eq!([0.0, 0.004, 0.376, 0.999, 1.2].map(percent), ["0 %", "under 1 %", "37 %", "99 %", "120 %"]);
        assert_eq!(
            [0.000_4, 0.003_4, 0.999_9, 1.24, 90.0].map(latency),
            ["under 1 ms", "3 ms", "1.0 s", "1.2 s", "1 min"]
        );
        assert_eq!(
            [0.0, 0.04, -0.9, 1.54, -268.5, 7200.0].map(drift),
            ["0.0 s", "0.0 s", "\u{2212}0.9 s", "+1.5 s", "\u{2212}4 min", "+2 h"]
        );
        assert_eq!([f64::NAN, 1e30, 1e-9].map(short), ["NaN", "1e+30", "1e-09"]);
    }
}
