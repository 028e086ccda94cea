//! Numbers, sizes, ages and foreign text as people read them in a terminal.

pub use telemeter_http::human::{bytes, count};

use crate::logs;

/// A rate or a measured value: one decimal up to a thousand, then as [`count`]; two where it is below one.
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

/// A time of UTC as RFC 3339, to the second; `unix_ms` is in milliseconds since 1970.
pub fn rfc3339(unix_ms: i64) -> String {
    let text = logs::timestamp(unix_ms);
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Milliseconds since 1970 of a time as [`rfc3339`] writes it; `None` for any other text.
pub fn unix_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if bytes.len() != 20 || separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let field = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<i64>().ok())
    };
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

/// Text from outside on one line, with control characters and marks of direction escaped, so that it cannot steer a
/// terminal.
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if logs::must_escape(character) { safe.extend(character.escape_default()) } else { safe.push(character) }
    }
    safe
}
