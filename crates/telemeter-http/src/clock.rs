//! What time it is: the system's clock, or one that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock, handed to whatever compares timestamps. Cheap to clone.
///
/// Deadlines and durations do not come from here: they use the monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Arc<AtomicI64>>,
}

/// Moves a clock made by [`Clock::fixed`], and every clone of it.
#[derive(Clone, Debug)]
pub struct ClockHandle(Arc<AtomicI64>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { fixed: None }
    }

    /// A clock that stands at `unix_ms` until its handle moves it.
    pub fn fixed(unix_ms: i64) -> (Self, ClockHandle) {
        let now = Arc::new(AtomicI64::new(unix_ms));
        (Self { fixed: Some(now.clone()) }, ClockHandle(now))
    }

    /// Milliseconds since 1970-01-01 00:00 UTC.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn now_ms(&self) -> i64 {
        match &self.fixed {
            Some(now) => now.load(Ordering::Relaxed),
            None => unix_ms(SystemTime::now()),
        }
    }
}

impl ClockHandle {
    /// Sets the time, forwards or backwards.
    pub fn set_ms(&self, unix_ms: i64) {
        self.0.store(unix_ms, Ordering::Relaxed);
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Milliseconds since 1970; negative before.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
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
    fn the_system_clock_is_after_this_was_written() {
        assert!(Clock::system().now_ms() > 1_700_000_000_000);
    }

    #[test]
    fn times_before_1970_are_negative() {
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_millis(7)), -7);
        assert_eq!(unix_ms(UNIX_EPOCH + Duration::from_millis(7)), 7);
    }
}
