//! The record of one cluster, in few bytes: times in seconds, texts as symbols, exchanges in two bytes each.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    id::ClusterKey,
    outcome::{Reason, ReportRoute, RequestOutcome},
    symbols::SymbolId,
};

/// How many exchanges of a cluster are kept.
pub(crate) const EXCHANGES: usize = 20;

/// The slot number that means "no slot".
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// The record of one cluster. Times are in seconds since 1970; 0 means never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterRecord {
    pub(crate) id: ClusterKey,
    /// The slot of its refusals in the shard's table; [`NO_SLOT`] where it was never refused.
    pub(crate) refusals: u32,
    pub(crate) peer: [u8; 16],
    pub(crate) first_seen: u32,
    pub(crate) last_heard: u32,
    pub(crate) last_upload: u32,
    pub(crate) last_receive: u32,
    pub(crate) uploads: u32,
    pub(crate) receives: u32,
    pub(crate) series: u32,
    pub(crate) filtered: u32,
    pub(crate) bytes: u32,
    /// The smoothed time between two reports, in milliseconds; 0 where there was only one.
    pub(crate) interval_ms: u32,
    /// How far the newest sample was ahead of our clock, in milliseconds.
    pub(crate) drift_ms: i32,
    pub(crate) user_agent: SymbolId,
    /// The neighbours in the list of records by the time of the last request.
    pub(crate) newer: u32,
    pub(crate) older: u32,
    pub(crate) exchanges: ExchangeHistory,
}

impl ClusterRecord {
    pub(crate) fn new(id: ClusterKey, now_s: u32) -> Self {
        Self {
            id,
            refusals: NO_SLOT,
            peer: [0; 16],
            first_seen: now_s,
            last_heard: now_s,
            last_upload: 0,
            last_receive: 0,
            uploads: 0,
            receives: 0,
            series: 0,
            filtered: 0,
            bytes: 0,
            interval_ms: 0,
            drift_ms: 0,
            user_agent: 0,
            newer: NO_SLOT,
            older: NO_SLOT,
            exchanges: ExchangeHistory::default(),
        }
    }

    /// The time of the last upload or remote write, in seconds since 1970; 0 where there was none.
    pub(crate) fn last_report(&self) -> u32 {
        self.last_upload.max(self.last_receive)
    }

    /// Records the time of an accepted report. The interval is smoothed, and a pause counts as three intervals at most, so
    /// that a cluster which was silent for a day is not expected to report once a day from then on.
    pub(crate) fn reported(&mut self, route: ReportRoute, now_ms: i64) {
        let now_s = seconds(now_ms);
        let last = self.last_report();
        if last > 0 {
            let gap_ms = u64::from(now_s.saturating_sub(last)) * 1000;
            let gap_ms = u32::try_from(gap_ms).unwrap_or(u32::MAX);
            self.interval_ms = match self.interval_ms {
                0 => gap_ms,
                before => {
                    let gap_ms = gap_ms.min(before.saturating_mul(3).max(1000));
                    let step = (i64::from(gap_ms) - i64::from(before)) / 4;
                    u32::try_from(i64::from(before) + step).unwrap_or(before)
                }
            };
        }
        match route {
            ReportRoute::Upload => (self.last_upload, self.uploads) = (now_s, self.uploads.saturating_add(1)),
            ReportRoute::Receive => (self.last_receive, self.receives) = (now_s, self.receives.saturating_add(1)),
            ReportRoute::Authorize => {}
        }
    }
}

/// Milliseconds since 1970 as whole seconds, at least 1, because 0 means never.
pub(crate) fn seconds(ms: i64) -> u32 {
    u32::try_from(ms.div_euclid(1000).max(1)).unwrap_or(u32::MAX)
}

/// The time in milliseconds; `None` for 0, which means never.
pub(crate) fn milliseconds(seconds: u32) -> Option<i64> {
    (seconds > 0).then_some(i64::from(seconds) * 1000)
}

/// An address in 16 bytes, with IPv4 mapped into IPv6.
pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The address in these bytes; `None` where all are zero.
pub(crate) fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    (bytes != [0; 16]).then(|| Ipv6Addr::from(bytes).to_canonical())
}

/// The last exchanges of a cluster. Each takes two bytes: seven bits for the outcome, nine for the time since the previous
/// one, in steps of about 6 % (exact up to 31 s, at most four years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExchangeHistory {
    /// A ring buffer; once it is full, `next` is the index of the oldest.
    ring: [u16; EXCHANGES],
    next: u8,
    len: u8,
}

impl ExchangeHistory {
    /// Adds an exchange; `gap_s` is the time since the previous one, in seconds.
    pub(crate) fn push(&mut self, outcome: RequestOutcome, gap_s: u32) {
        self.push_raw(u16::from(outcome.code()) << 9 | pack(gap_s));
    }

    /// Appends an exchange in its packed form, in place of the oldest where the history is full.
    pub(crate) fn push_raw(&mut self, packed: u16) {
        self.ring[usize::from(self.next) % EXCHANGES] = packed;
        self.next = (self.next + 1) % EXCHANGES as u8;
        self.len = (self.len + 1).min(EXCHANGES as u8);
    }

    /// The exchanges in packed form, oldest first.
    pub(crate) fn raw(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        let first = usize::from(self.next) + EXCHANGES - usize::from(self.len);
        (0..usize::from(self.len)).map(move |at| self.ring[(first + at) % EXCHANGES])
    }

    /// The exchanges with their times in seconds, newest first; `last_s` is the time of the newest.
    pub(crate) fn newest_first(&self, last_s: u32) -> impl Iterator<Item = (u32, RequestOutcome)> + '_ {
        let mut at_s = last_s;
        self.raw().rev().filter_map(move |packed| {
            let this = at_s;
            at_s = at_s.saturating_sub(unpack(packed & 0x1ff));
            Some((this, RequestOutcome::from_code((packed >> 9) as u8)?))
        })
    }
}

/// Packs a time into nine bits: five of exponent, four of mantissa, rounded down.
fn pack(seconds: u32) -> u16 {
    let seconds = seconds.min((1 << 27) - 1);
    if seconds < 32 {
        return seconds as u16;
    }
    let exponent = 27 - seconds.leading_zeros();
    ((exponent << 4) + (seconds >> exponent)) as u16
}

/// The time in seconds that [`pack`] packed, rounded down.
fn unpack(packed: u16) -> u32 {
    let packed = u32::from(packed);
    if packed < 32 {
        return packed;
    }
    let exponent = (packed >> 4) - 1;
    ((packed & 0xf) + 16) << exponent
}

/// The refusals of a cluster: an entry for each route and reason that occurred, that of the latest refusal first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordedRefusals(pub(crate) Vec<RecordedRefusal>);

/// The refusals on one route for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedRefusal {
    pub(crate) route: ReportRoute,
    pub(crate) reason: Reason,
    /// The HTTP status of the last response.
    pub(crate) status: u16,
    pub(crate) count: u32,
    pub(crate) first_s: u32,
    pub(crate) last_s: u32,
}

impl RecordedRefusals {
    /// Counts one refusal, at `now_s` in seconds, in the entry of its route and reason, which is created where there is
    /// none. The entry becomes the first one.
    pub(crate) fn add(&mut self, route: ReportRoute, reason: Reason, status: u16, now_s: u32) {
        let at = match self.0.iter().position(|known| (known.route, known.reason) == (route, reason)) {
            Some(at) => at,
            None => {
                self.0.reserve_exact(1);
                self.0.push(RecordedRefusal { route, reason, status, count: 0, first_s: now_s, last_s: now_s });
                self.0.len() - 1
            }
        };
        let known = &mut self.0[at];
        (known.status, known.last_s, known.count) = (status, now_s, known.count.saturating_add(1));
        self.0[..=at].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small() {
        // With 8 bytes of index and three labels of 4 bytes each, a cluster takes 160 bytes.
        assert!(size_of::<ClusterRecord>() <= 140, "{}", size_of::<ClusterRecord>());
    }

    #[test]
    fn gaps_are_kept_to_six_percent() {
        for seconds in (0..32).chain([33, 59, 60, 270, 271, 3600, 86_400, 10_000_000, (1 << 27) - 1]) {
            let packed = pack(seconds);
            let unpacked = unpack(packed);
            assert!(packed < 512 && unpacked <= seconds && unpacked >= seconds - seconds / 16, "{seconds}: {unpacked}");
        }
        assert!(pack(u32::MAX) < 512);
        assert!((0..10_000).all(|seconds| pack(seconds) <= pack(seconds + 1)));
    }

    #[test]
    fn the_last_twenty_exchanges_are_kept() {
        let mut exchanges = ExchangeHistory::default();
        for number in 0..25 {
            let outcome = match number % 2 {
                0 => RequestOutcome::Accepted(ReportRoute::Upload),
                _ => RequestOutcome::Refused(ReportRoute::Receive, Reason::Identity),
            };
            exchanges.push(outcome, 10);
        }
        let seen: Vec<_> = exchanges.newest_first(1000).collect();
        assert_eq!(seen.len(), EXCHANGES);
        assert_eq!(seen[0], (1000, RequestOutcome::Accepted(ReportRoute::Upload)));
        assert_eq!(seen[1], (990, RequestOutcome::Refused(ReportRoute::Receive, Reason::Identity)));
        assert_eq!(seen[19].0, 810);
    }

    #[test]
    fn the_interval_is_smoothed_and_a_pause_counts_little() {
        let mut record = ClusterRecord::new(ClusterKey::Name(0), 1);
        let mut now_ms = 1_000_000;
        record.reported(ReportRoute::Upload, now_ms);
        assert_eq!(record.interval_ms, 0, "one report has no interval");
        for _ in 0..5 {
            now_ms += 270_000;
            record.reported(ReportRoute::Upload, now_ms);
        }
        assert_eq!(record.interval_ms, 270_000);
        now_ms += 86_400_000;
        record.reported(ReportRoute::Upload, now_ms);
        assert_eq!(record.interval_ms, 270_000 + 270_000 / 2);
        for _ in 0..20 {
            now_ms += 60_000;
            record.reported(ReportRoute::Upload, now_ms);
        }
        assert!((59_000..63_000).contains(&record.interval_ms), "{}", record.interval_ms);
        assert_eq!((record.uploads, record.receives), (27, 0));
    }

    #[test]
    fn the_latest_refusal_comes_first() {
        let mut refusals = RecordedRefusals::default();
        refusals.add(ReportRoute::Upload, Reason::Identity, 400, 10);
        refusals.add(ReportRoute::Upload, Reason::StoreRefused, 409, 20);
        refusals.add(ReportRoute::Upload, Reason::Body, 503, 25);
        refusals.add(ReportRoute::Upload, Reason::StoreRefused, 422, 30);
        let seen: Vec<_> =
            refusals.0.iter().map(|one| (one.reason, one.status, one.count, one.first_s, one.last_s)).collect();
        assert_eq!(
            seen,
            [
                (Reason::StoreRefused, 422, 2, 20, 30),
                (Reason::Body, 503, 1, 25, 25),
                (Reason::Identity, 400, 1, 10, 10)
            ]
        );
    }

    #[test]
    fn addresses_of_both_families() {
        for text in ["192.0.2.1", "2001:db8::1", "::1"] {
            let parsed = text.parse().ok();
            assert_eq!(parsed.and_then(|ip| address(address_bytes(ip))), parsed, "{text}");
        }
        assert_eq!(address([0; 16]), None);
    }
}
