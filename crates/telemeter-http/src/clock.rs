//! The clock of the program: the system's, or one that a test sets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock with two parts: the wall clock, for timestamps that others write or read, and the monotonic clock, for code
/// that decides how long to wait or to keep something. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Arc<Fixed>>,
}

/// The handle that sets a clock made by [`Clock::fixed`], and every clone of it.
#[derive(Clone, Debug)]
pub struct ClockHandle(Arc<Fixed>);

#[derive(Debug)]
struct Fixed {
    unix_ms: AtomicI64,
    monotonic_ms: AtomicI64,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { fixed: None }
    }

    /// A clock that stays at `unix_ms` until its handle changes it.
    pub fn fixed(unix_ms: i64) -> (Self, ClockHandle) {
        let fixed = Arc::new(Fixed { unix_ms: AtomicI64::new(unix_ms), monotonic_ms: AtomicI64::new(0) });
        (Self { fixed: Some(fixed.clone()) }, ClockHandle(fixed))
    }

    /// The wall clock, in milliseconds since 1970-01-01 00:00 UTC.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn now_ms(&self) -> i64 {
        match &self.fixed {
            Some(fixed) => fixed.unix_ms.load(Ordering::Relaxed),
            None => unix_ms(SystemTime::now()),
        }
    }

    /// The monotonic clock, in milliseconds since some moment of this process. It advances evenly, whatever the wall
    /// clock is set to.
    pub fn monotonic_ms(&self) -> i64 {
        static START: OnceLock<Instant> = OnceLock::new();
        match &self.fixed {
            Some(fixed) => fixed.monotonic_ms.load(Ordering::Relaxed),
            None => i64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl ClockHandle {
    /// Sets the wall clock, forwards or backwards. The monotonic clock does not change.
    pub fn set_ms(&self, unix_ms: i64) {
        self.0.unix_ms.store(unix_ms, Ordering::Relaxed);
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.unix_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.0.monotonic_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// Parses the time of a header such as `Date` into milliseconds since 1970; `None` where it is not valid.
pub fn http_date_ms(text: &str) -> Option<i64> {
    httpdate::parse_http_date(text.trim()).ok().map(unix_ms)
}

/// A time as milliseconds since 1970; negative before 1970.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The last second of the year 9999: a later time is formatted as this one.
const LAST_SECOND: u64 = 253_402_300_799;

/// Formats a time for a message, in the format of HTTP: `Thu, 26 Nov 2026 00:40:29 GMT`.
pub(crate) fn date(unix_ms: i64) -> String {
    let seconds = u64::try_from(unix_ms / 1000).unwrap_or(0).min(LAST_SECOND);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_by_its_handle() {
        let (clock, handle) = Clock::fixed(1_000);
        let clone = clock.clone();
        assert_eq!(clock.now_ms(), 1_000);
        handle.advance(Duration::from_secs(2));
        assert_eq!(clone.now_ms(), 3_000);
        handle.set_ms(-5);
        assert_eq!(clock.now_ms(), -5);
    }

    #[test]
    fn the_monotonic_clock_does_not_follow_a_wall_clock_that_is_set() {
        let (clock, handle) = Clock::fixed(1_000);
        handle.advance(Duration::from_secs(2));
        assert_eq!(clock.monotonic_ms(), 2_000);
        handle.set_ms(-3_600_000);
        assert_eq!(clock.clone().monotonic_ms(), 2_000);
        let system = Clock::system();
        let before = system.monotonic_ms();
        std::thread::sleep(Duration::from_millis(5));
        assert!(system.monotonic_ms() > before);
    }

    #[test]
    fn the_system_clock_is_after_this_was_written() {
        assert!(Clock::system().now_ms() > 1_700_000_000_000);
    }

    #[test]
    fn times_before_1970_are_negative() {
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_millis(7)), -7);
        assert_eq!(unix_ms(UNIX_EPOCH + Duration::from_millis(7)), 7);
    }
}
