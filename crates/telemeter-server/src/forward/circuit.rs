//! Decides when sending pauses: a store that accepts nothing gets one request at a time, with longer and longer pauses.
//!
//! After [`MAX_FAILURES`] failures in a row the circuit is open: one request at a time is sent as a probe, with a pause
//! before each, and all other requests wait. The first success closes the circuit. Once [`PROBES_BEFORE_GIVING_UP`]
//! probes of different clusters have failed, the store is the cause and not the data of one cluster: that failed probe,
//! and each later one, makes all waiting requests fail.

use std::time::{Duration, Instant};

/// After this many failures in a row, sending pauses.
const MAX_FAILURES: u32 = 8;
/// How many probes fail before the waiting requests fail too.
const PROBES_BEFORE_GIVING_UP: u32 = 3;
/// The pause before the first probe; it doubles with each failed probe, up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait before asking again for permission while a probe is in flight.
const PROBE_POLL: Duration = Duration::from_millis(20);
/// A probe without a reported outcome after this time counts as lost, and another may be sent.
const PROBE_LOST: Duration = Duration::from_secs(20);

/// Which requests may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Any waiting request may be sent.
    Send,
    /// One request may be sent, to find out whether the store accepts it.
    Probe,
    /// No request may be sent; ask again after this time.
    Wait(Duration),
}

/// Whether the store accepts requests: failures in a row, and the state of the open circuit.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    failures: u32,
    open: Option<OpenCircuit>,
}

#[derive(Debug)]
struct OpenCircuit {
    failed_probes: u32,
    next_probe: Instant,
    probing_since: Option<Instant>,
}

impl Circuit {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Which requests may be sent now. [`Permission::Probe`] is returned once; its outcome must be reported before the
    /// next probe, unless it is lost.
    pub(super) fn permission(&mut self, now: Instant) -> Permission {
        let Some(open) = &mut self.open else { return Permission::Send };
        if open.probing_since.is_some_and(|since| now < since + PROBE_LOST) {
            return Permission::Wait(PROBE_POLL);
        }
        if now < open.next_probe {
            return Permission::Wait(open.next_probe - now);
        }
        open.probing_since = Some(now);
        Permission::Probe
    }

    /// Cancels a permitted probe for which there was no request.
    pub(super) fn return_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing_since = None;
        }
    }

    /// Records that the store accepted or refused data, and closes the circuit. Returns true where the waiting requests
    /// had been failed before: then the store was the cause of the failures.
    pub(super) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.open.take().is_some_and(|open| open.failed_probes >= PROBES_BEFORE_GIVING_UP)
    }

    /// Records that a request failed. The circuit opens after [`MAX_FAILURES`] in a row; each failed probe doubles the
    /// pause before the next one, up to [`LONGEST_PAUSE`]. Returns true where all waiting requests must fail too, after
    /// [`PROBES_BEFORE_GIVING_UP`] failed probes.
    pub(super) fn failed(&mut self, is_probe: bool, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        match &mut self.open {
            None if self.failures >= MAX_FAILURES => {
                let next_probe = now + SHORTEST_PAUSE;
                self.open = Some(OpenCircuit { failed_probes: 0, next_probe, probing_since: None });
                false
            }
            Some(open) if is_probe => {
                open.failed_probes = open.failed_probes.saturating_add(1);
                let pause = SHORTEST_PAUSE.saturating_mul(1 << open.failed_probes.min(10));
                open.next_probe = now + pause.min(LONGEST_PAUSE);
                open.probing_since = None;
                open.failed_probes >= PROBES_BEFORE_GIVING_UP
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_the_first_success() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 1..MAX_FAILURES {
            assert!(!circuit.failed(false, now));
        }
        assert_eq!(circuit.permission(now), Permission::Send);
        assert!(!circuit.succeeded());
        for _ in 0..MAX_FAILURES {
            assert_eq!(circuit.permission(now), Permission::Send);
            circuit.failed(false, now);
        }
        assert_eq!(circuit.permission(now), Permission::Wait(SHORTEST_PAUSE));
        assert!(!circuit.succeeded());
        assert_eq!(circuit.permission(now), Permission::Send);
    }

    #[test]
    fn one_probe_at_a_time_more_and_more_slowly() {
        let (mut circuit, mut now) = (Circuit::default(), Instant::now());
        for _ in 0..MAX_FAILURES {
            circuit.failed(false, now);
        }
        let mut given_up = Vec::new();
        let start = now;
        for _ in 0..8 {
            while let Permission::Wait(wait) = circuit.permission(now) {
                now += wait;
            }
            assert_eq!(circuit.permission(now), Permission::Wait(PROBE_POLL), "one at a time");
            circuit.failed(false, now);
            assert_eq!(circuit.permission(now), Permission::Wait(PROBE_POLL), "an older failure changes nothing");
            given_up.push(circuit.failed(true, now));
        }
        assert_eq!(given_up, [false, false, true, true, true, true, true, true]);
        assert_eq!(now - start, Duration::from_millis(100 + 200 + 400 + 800 + 4 * 1000));
        assert!(circuit.succeeded());
        assert!(!circuit.succeeded());
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let (mut circuit, mut now) = (Circuit::default(), Instant::now());
        for _ in 0..MAX_FAILURES {
            circuit.failed(false, now);
        }
        now += SHORTEST_PAUSE;
        assert_eq!(circuit.permission(now), Permission::Probe);
        assert_eq!(circuit.permission(now + PROBE_LOST), Permission::Probe);
        circuit.return_probe();
        assert_eq!(circuit.permission(now), Permission::Probe);
    }
}
