//! Formats durations for people.

use std::{fmt, time::Duration};

/// Prints a duration in the format of flags, rounded to what a reader needs: `2h5m`, `1m1s`, `2.5s`, `340ms`, `12µs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs_f64().round() as u64, self.0.as_millis());
        match millis {
            0 => write!(f, "{}µs", self.0.as_micros()),
            1..1000 => write!(f, "{millis}ms"),
            1000..9_950 => {
                let tenths = (millis + 50) / 100;
                match tenths % 10 {
                    0 => write!(f, "{}s", tenths / 10),
                    tenth => write!(f, "{}.{tenth}s", tenths / 10),
                }
            }
            _ => parts(f, seconds),
        }
    }
}

/// Prints days and hours, hours and minutes, or minutes and seconds, without parts that are zero.
fn parts(f: &mut fmt::Formatter<'_>, seconds: u64) -> fmt::Result {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let [(first, large), (second, small)] = match seconds {
        0..60 => [(0, "m"), (seconds, "s")],
        60..3600 => [(minutes, "m"), (seconds % 60, "s")],
        3600..172_800 => [(hours, "h"), (minutes % 60, "m")],
        _ => [(days, "d"), (hours % 24, "h")],
    };
    if first > 0 {
        write!(f, "{first}{large}")?;
    }
    if second > 0 {
        write!(f, "{second}{small}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let check = |millis: f64, expected: &str| {
            let duration = Duration::from_secs_f64(millis / 1000.0);
            assert_eq!(HumanDuration(duration).to_string(), expected, "{millis} ms");
        };
        check(0.0, "0µs");
        check(0.012, "12µs");
        check(1.9, "1ms");
        check(340.2, "340ms");
        check(999.9, "999ms");
        check(1000.0, "1s");
        check(2460.0, "2.5s");
        check(9_949.0, "9.9s");
        check(9_960.0, "10s");
        check(59_400.0, "59s");
        check(59_600.0, "1m");
        check(61_234.5, "1m1s");
        check(270_000.0, "4m30s");
        check(3_599_700.0, "1h");
        check(3_660_000.0, "1h1m");
        check(90_000_000.0, "25h");
        check(172_800_000.0, "2d");
        check(187_200_000.0, "2d4h");
    }
}
