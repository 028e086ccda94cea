//! Durations as Go writes them: `4m30s`, `1h30m`, `500ms`, `1.5h`, `0s`, `0`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number without a unit, or a unit that Go does not know.
    #[error("not a duration like 4m30s, 1.5h, 500ms or 0s (units: ns us ms s m h)")]
    Malformed,
    /// A time span of ours never runs backwards.
    #[error("must not be negative")]
    Negative,
    /// Over 2^63-1 nanoseconds, some 292 years.
    #[error("too long: at most 2562047h")]
    TooLong,
}

/// The longest duration that Go can hold, in nanoseconds.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Reads a duration. Whatever Go's `time.ParseDuration` takes is taken, but negative ones are not.
///
/// # Errors
/// See [`DurationError`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Malformed);
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let unit = unit_nanos(&after[..end]).ok_or(DurationError::Malformed)?;
        rest = &after[end..];
        nanos += parse_digits(whole)?.saturating_mul(unit) + part(fraction, unit);
        if nanos > MAX_NANOS {
            return Err(DurationError::TooLong);
        }
    }
    if negative && nanos > 0 {
        return Err(DurationError::Negative);
    }
    Ok(Duration::from_nanos(u64::try_from(nanos).map_err(|_| DurationError::TooLong)?))
}

/// The leading ASCII digits, perhaps none, and the rest.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The value of the digits, 0 where there are none; an error where it does not fit into 64 bits.
fn parse_digits(digits: &str) -> Result<u128, DurationError> {
    if digits.is_empty() {
        return Ok(0);
    }
    digits.parse::<u64>().map(u128::from).map_err(|_| DurationError::TooLong)
}

/// The nanoseconds of a decimal fraction of a unit, rounded down; digits past the eighteenth do not count.
fn part(digits: &str, unit: u128) -> u128 {
    let mut nanos = 0;
    let mut scale = 1;
    for digit in digits.bytes().take(18) {
        nanos = nanos * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    nanos * unit / scale
}

/// The length of a unit in nanoseconds; `None` where there is no such unit.
fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Duration, DurationError>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn what_go_takes() {
        check("4m30s", Ok(Duration::from_secs(270)));
        check("1h30m", Ok(Duration::from_secs(5_400)));
        check("1.5h", Ok(Duration::from_secs(5_400)));
        check("500ms", Ok(Duration::from_millis(500)));
        check("0s", Ok(Duration::ZERO));
        check("0", Ok(Duration::ZERO));
        check("-0", Ok(Duration::ZERO));
        check("+5s", Ok(Duration::from_secs(5)));
        check("1us", Ok(Duration::from_micros(1)));
        check("1\u{b5}s", Ok(Duration::from_micros(1)));
        check("1\u{3bc}s", Ok(Duration::from_micros(1)));
        check("7ns", Ok(Duration::from_nanos(7)));
        check(".5s", Ok(Duration::from_millis(500)));
        check("1.s", Ok(Duration::from_secs(1)));
        check("30s4m", Ok(Duration::from_secs(270)));
        check("1m1.000000000000000000000000001s", Ok(Duration::from_secs(61)));
        check("9223372036854775807ns", Ok(Duration::from_nanos(i64::MAX as u64)));
        check("2562047h", Ok(Duration::from_secs(2_562_047 * 3_600)));
    }

    #[test]
    fn what_go_refuses_too() {
        for text in ["", "10", "1d", "s", ".s", ".", "-", "+", "4m30", "1h 30m", " 1s", "1S", "1e3s", "--1s", "1.2.3s"]
        {
            check(text, Err(DurationError::Malformed));
        }
        for text in ["9223372036854775808ns", "2562048h", "99999999999999999999999999s", "2562047h2562047h"] {
            check(text, Err(DurationError::TooLong));
        }
    }

    #[test]
    fn what_runs_backwards() {
        check("-4m30s", Err(DurationError::Negative));
        check("-1ns", Err(DurationError::Negative));
    }
}
