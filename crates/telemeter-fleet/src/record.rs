//! What is kept of one cluster, in few bytes: times in seconds, texts as symbols, exchanges in two bytes each.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    id::ClusterKey,
    outcome::{Reason, ReportRoute, RequestOutcome},
    symbols::SymbolId,
};

/// How many exchanges of a cluster are kept.
pub(crate) const EXCHANGES: usize = 20;

/// No place in a table.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One cluster. Seconds count from 1970; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterRecord {
    pub(crate) id: ClusterKey,
    /// Place of its refusals in the shard's table; [`NOWHERE`] where it was never refused.
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
    /// Time from one report to the next, in milliseconds; 0 where there was only one.
    pub(crate) interval_ms: u32,
    /// Of the newest sample against our clock, in milliseconds.
    pub(crate) drift_ms: i32,
    pub(crate) user_agent: SymbolId,
    /// Neighbours in the order of hearing.
    pub(crate) newer: u32,
    pub(crate) older: u32,
    pub(crate) exchanges: ExchangeHistory,
}

impl ClusterRecord {
    pub(crate) fn new(id: ClusterKey, now_s: u32) -> Self {
        Self {
            id,
            refusals: NOWHERE,
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
            newer: NOWHERE,
            older: NOWHERE,
            exchanges: ExchangeHistory::default(),
        }
    }

    pub(crate) fn last_report(&self) -> u32 {
        self.last_upload.max(self.last_receive)
    }

    /// Notes the time of an accepted report. The interval follows slowly: a pause counts as three intervals at most, so
    /// that a cluster that was silent for a day is not expected once a day from then on.
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

/// Milliseconds since 1970 as whole seconds, at least 1: 0 is never.
pub(crate) fn seconds(ms: i64) -> u32 {
    u32::try_from(ms.div_euclid(1000).max(1)).unwrap_or(u32::MAX)
}

pub(crate) fn milliseconds(seconds: u32) -> Option<i64> {
    (seconds > 0).then_some(i64::from(seconds) * 1000)
}

/// An address in 16 bytes, IPv4 mapped into IPv6; all zeros is none.
pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

pub(crate) fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    (bytes != [0; 16]).then(|| Ipv6Addr::from(bytes).to_canonical())
}

/// The last exchanges of a cluster. Each takes two bytes: seven bits for what became of it, nine for the time since the
/// one before, in steps of about 6 % (exact to 31 s, up to four years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExchangeHistory {
    /// A ring; `next` is the oldest once it is full.
    ring: [u16; EXCHANGES],
    next: u8,
    len: u8,
}

impl ExchangeHistory {
    /// `gap_s`: seconds since the exchange before.
    pub(crate) fn push(&mut self, outcome: RequestOutcome, gap_s: u32) {
        self.push_raw(u16::from(outcome.code()) << 9 | pack(gap_s));
    }

    pub(crate) fn push_raw(&mut self, packed: u16) {
        self.ring[usize::from(self.next) % EXCHANGES] = packed;
        self.next = (self.next + 1) % EXCHANGES as u8;
        self.len = (self.len + 1).min(EXCHANGES as u8);
    }

    /// Packed, oldest first.
    pub(crate) fn raw(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        let first = usize::from(self.next) + EXCHANGES - usize::from(self.len);
        (0..usize::from(self.len)).map(move |at| self.ring[(first + at) % EXCHANGES])
    }

    /// Newest first, each with its time in seconds, the newest of which was `last_s`.
    pub(crate) fn newest_first(&self, last_s: u32) -> impl Iterator<Item = (u32, RequestOutcome)> + '_ {
        let mut at_s = last_s;
        self.raw().rev().filter_map(move |packed| {
            let this = at_s;
            at_s = at_s.saturating_sub(unpack(packed & 0x1ff));
            Some((this, RequestOutcome::from_code((packed >> 9) as u8)?))
        })
    }
}

/// Nine bits: five of exponent, four of mantissa, rounded down.
fn pack(seconds: u32) -> u16 {
    let seconds = seconds.min((1 << 27) - 1);
    if seconds < 32 {
        return seconds as u16;
    }
    let exponent = 27 - seconds.leading_zeros();
    ((exponent << 4) + (seconds >> exponent)) as u16
}

fn unpack(packed: u16) -> u32 {
    let packed = u32::from(packed);
    if packed < 32 {
        return packed;
    }
    let exponent = (packed >> 4) - 1;
    ((packed & 0xf) + 16) << exponent
}

/// What a cluster that was refused costs beside its record: an entry for each route and reason that occurred, that of the
/// last refusal first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordedRefusals(pub(crate) Vec<RecordedRefusal>);

/// Refusals of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedRefusal {
    pub(crate) route: ReportRoute,
    pub(crate) reason: Reason,
    /// The status that the last one was answered with.
    pub(crate) status: u16,
    pub(crate) count: u32,
    pub(crate) first_s: u32,
    pub(crate) last_s: u32,
}

impl RecordedRefusals {
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
            let kept = unpack(packed);
            assert!(packed < 512 && kept <= seconds && kept >= seconds - seconds / 16, "{seconds}: {kept}");
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
    fn an_interval_follows_but_a_pause_does_not_spoil_it() {
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
    fn the_last_refusal_stands_first() {
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
