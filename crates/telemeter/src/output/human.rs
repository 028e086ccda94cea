//! Numbers, sizes, durations and ages as people read them in a terminal.

pub use telemeter_http::human::{bytes, count, safe};

/// A rate or a measured value: two decimals below one, one decimal below a thousand, then as [`count`].
pub fn number(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "-" } else { "" };
    match size {
        _ if !value.is_finite() => value.to_string(),
        ..0.005 => "0".to_owned(),
        ..0.995 => format!("{sign}{size:.2}"),
        ..999.95 => format!("{sign}{size:.1}"),
        // Saturates, which is far above any count.
        _ => format!("{sign}{}", count(size.round() as u64)),
    }
}

/// A length of time in its two largest units: `45s`, `4m 30s`, `3h 12m`, `2d 4h`.
pub fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::with_capacity(2);
    for (name, size) in units.iter().skip(first).take(2) {
        if rest >= *size || parts.is_empty() {
            parts.push(format!("{}{name}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

/// How long ago: `3h 12m ago`, `just now`, `in 2m`. `then_ms` and `now_ms` are milliseconds since 1970.
pub fn age(then_ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        ..=-60 => format!("in {}", duration(seconds.unsigned_abs())),
        -59..=1 => "just now".to_owned(),
        _ => format!("{} ago", duration(seconds.unsigned_abs())),
    }
}
