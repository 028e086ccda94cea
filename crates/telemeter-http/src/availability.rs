//! The availability of a dependency: whether it responds, since when, and the last error.

use std::time::Duration;

use parking_lot::Mutex;

/// The record of one dependency, which is updated at the end of each call to it.
#[derive(Debug, Default)]
pub struct Availability(Mutex<AvailabilityRecord>);

/// The state of a dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailabilityRecord {
    /// Whether the last call succeeded; `None` where there was none.
    pub is_available: Option<bool>,
    /// The time since which that is so, in milliseconds since 1970.
    pub since_ms: i64,
    /// The time that the last successful call took.
    pub latency: Option<Duration>,
    /// The last error, as text without secrets, and its time in milliseconds since 1970.
    pub last_error: Option<(String, i64)>,
}

impl Availability {
    /// Records a successful call. `latency` is `None` where it was not measured.
    ///
    /// Returns true where the call before had failed.
    pub fn available(&self, latency: Option<Duration>, now_ms: i64) -> bool {
        let mut record = self.0.lock();
        let before = record.set_available(true, now_ms);
        if latency.is_some() {
            record.latency = latency;
        }
        before == Some(false)
    }

    /// Records a failed call.
    ///
    /// Returns true where the call before had succeeded, or this is the first call.
    pub fn unavailable(&self, error: &str, now_ms: i64) -> bool {
        let mut record = self.0.lock();
        let before = record.set_available(false, now_ms);
        match &mut record.last_error {
            Some((text, at_ms)) if text == error => *at_ms = now_ms,
            last => *last = Some((error.to_owned(), now_ms)),
        }
        before != Some(false)
    }

    /// Whether the last call failed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.0.lock().is_available == Some(false)
    }

    /// The current state.
    #[must_use]
    pub fn read(&self) -> AvailabilityRecord {
        self.0.lock().clone()
    }
}

impl AvailabilityRecord {
    /// Sets whether the dependency is available; returns the value before.
    fn set_available(&mut self, is_available: bool, now_ms: i64) -> Option<bool> {
        let before = self.is_available.replace(is_available);
        if before != Some(is_available) {
            self.since_ms = now_ms;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_and_what_was_wrong() {
        let availability = Availability::default();
        assert_eq!(availability.read(), AvailabilityRecord::default());
        assert!(!availability.available(Some(Duration::from_millis(3)), 1), "nothing was wrong before");
        assert!(!availability.available(None, 2) && !availability.is_unavailable());
        assert!(availability.unavailable("refused", 5) && !availability.unavailable("refused", 6));
        assert!(availability.is_unavailable() && Availability::default().unavailable("at first", 1));
        let record = availability.read();
        assert_eq!((record.is_available, record.since_ms), (Some(false), 5));
        assert_eq!(record.last_error, Some(("refused".to_owned(), 6)));
        assert!(availability.available(None, 9));
        let record = availability.read();
        assert_eq!(
            (record.is_available, record.since_ms, record.latency),
            (Some(true), 9, Some(Duration::from_millis(3)))
        );
        assert!(record.last_error.is_some(), "what was wrong is still known");
    }
}
