//! Formats and parses times in UTC as RFC 3339, in the proleptic Gregorian calendar.
//!
//! A time is a number of milliseconds since 1970-01-01T00:00:00Z. Days are counted from 0000-03-01: where a year begins
//! in March, the leap day is its last day, and the first day of month `m` (March is 0) is day `(153 * m + 2) / 5` of
//! the year. 400 years, an era, always have 146,097 days.

const MS_PER_DAY: i64 = 86_400_000;
const DAYS_PER_ERA: i64 = 146_097;
/// The days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Formats a time to the second: `2026-11-22T08:12:08Z`. Milliseconds are cut off.
///
/// ```
/// assert_eq!(telemeter_http::date::rfc3339(951_782_400_123), "2000-02-29T00:00:00Z");
/// ```
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    format!("{}Z", seconds(unix_ms))
}

/// Formats a time to the millisecond: `2026-11-22T08:12:08.123Z`.
#[must_use]
pub fn rfc3339_ms(unix_ms: i64) -> String {
    format!("{}.{:03}Z", seconds(unix_ms), unix_ms.rem_euclid(1000))
}

/// The time of day in UTC, to the second: `08:12:08`.
#[must_use]
pub fn time_of_day(unix_ms: i64) -> String {
    let seconds = unix_ms.rem_euclid(MS_PER_DAY) / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Parses a time as [`rfc3339`] writes it into milliseconds since 1970; `None` for any other text.
///
/// ```
/// assert_eq!(telemeter_http::date::parse_rfc3339("1970-01-02T00:00:01Z"), Some(86_401_000));
/// assert_eq!(telemeter_http::date::parse_rfc3339("yesterday"), None);
/// ```
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
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
    in_range.then(|| (days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

fn seconds(unix_ms: i64) -> String {
    let (year, month, day) = calendar_day(unix_ms.div_euclid(MS_PER_DAY));
    format!("{year:04}-{month:02}-{day:02}T{}", time_of_day(unix_ms))
}

/// The year, the month and the day of the month that is `days` after 1970-01-01.
fn calendar_day(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The inverse of [`calendar_day`].
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_the_millisecond() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_795_335_128_123, "2026-11-22T08:12:08.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339_ms(unix_ms), expected);
        }
    }

    #[test]
    fn times_to_the_second_are_read_back() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_657_923_000, "2026-11-26T01:52:03Z"),
            (-1000, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!((rfc3339(unix_ms).as_str(), parse_rfc3339(text)), (text, Some(unix_ms)));
        }
        for bad in [
            "",
            "2026-11-26",
            "2026-11-26T09:12:03+00",
            "2026-13-26T09:12:03Z",
            "2026-11-26T+9:12:03Z",
            "é26-11-26T09:12:03Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_time_of_day() {
        assert_eq!(time_of_day(1_700_000_000_000), "22:13:20");
        assert_eq!(time_of_day(-1), "23:59:59");
    }
}
