//! Whether what we depend on answers: since when, and what was wrong the last time.

use std::time::Duration;

use parking_lot::Mutex;

/// The record of one dependency, written where a call to it ends.
#[derive(Debug, Default)]
pub struct Availability(Mutex<AvailabilityRecord>);

/// What is known of a dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailabilityRecord {
    /// Whether the last call succeeded; `None` where there was none.
    pub is_available: Option<bool>,
    /// Since when that is so, in milliseconds since 1970.
    pub since_ms: i64,
    /// How long the last call that was answered took.
    pub latency: Option<Duration>,
    /// What was wrong the last time, in words without secrets, and when that was.
    pub last_error: Option<(String, i64)>,
}

impl Availability {
    /// Notes a call that was answered as it should be. `latency` is `None` where it was not measured.
    pub fn available(&self, latency: Option<Duration>, now_ms: i64) {
        let mut record = self.0.lock();
        record.turn(true, now_ms);
        if latency.is_some() {
            record.latency = latency;
        }
    }

    /// Notes a call that was not.
    pub fn unavailable(&self, error: &str, now_ms: i64) {
        let mut record = self.0.lock();
        record.turn(false, now_ms);
        match &mut record.last_error {
            Some((text, at_ms)) if text == error => *at_ms = now_ms,
            last => *last = Some((error.to_owned(), now_ms)),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn read(&self) -> AvailabilityRecord {
        self.0.lock().clone()
    }
}

impl AvailabilityRecord {
    fn turn(&mut self, is_available: bool, now_ms: i64) {
        if self.is_available.replace(is_available) != Some(is_available) {
            self.since_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_and_what_was_wrong() {
        let availability = Availability::default();
        assert_eq!(availability.read(), AvailabilityRecord::default());
        availability.available(Some(Duration::from_millis(3)), 1);
        availability.available(None, 2);
        availability.unavailable("refused", 5);
        availability.unavailable("refused", 6);
        let record = availability.read();
        assert_eq!((record.is_available, record.since_ms), (Some(false), 5));
        assert_eq!(record.last_error, Some(("refused".to_owned(), 6)));
        availability.available(None, 9);
        let record = availability.read();
        assert_eq!(
            (record.is_available, record.since_ms, record.latency),
            (Some(true), 9, Some(Duration::from_millis(3)))
        );
        assert!(record.last_error.is_some(), "what was wrong is still known");
    }
}
