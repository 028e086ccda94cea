//! The memory budget: the bytes that callers may make the program hold, divided into shares by their use.
//!
//! A share is a counter with a capacity. Code that is about to allocate memory for a caller reserves its bytes first;
//! they are released when the [`Reservation`] is dropped. Where a share is used up, nothing is allocated, and the
//! caller gets a 503 at once. The reserved bytes are an estimate, made on the high side.

mod detect;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub use self::detect::{LimitSource, default_limit};

/// The kinds of memory that are held for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryShare {
    /// Connections: sockets, their TLS state, and the buffers that HTTP reads into and writes from.
    Connections,
    /// Open requests: their headers, and responses that the peer has not read.
    Requests,
    /// Request bodies, while they are read and afterwards.
    Bodies,
    /// The buffers that a body is decompressed, decoded and encoded in.
    Workspaces,
    /// Samples that wait to be forwarded to the store, or are being sent to it.
    Forward,
}

impl MemoryShare {
    /// All shares, in the order of the counters.
    pub const ALL: [Self; 5] = [Self::Connections, Self::Requests, Self::Bodies, Self::Workspaces, Self::Forward];

    /// The value of the label `share`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Bodies => "bodies",
            Self::Workspaces => "workspaces",
            Self::Forward => "forward",
        }
    }

    /// Its part of the budget, in percent. The rest is for the program itself, its caches and the recent store.
    const fn percent(self) -> usize {
        match self {
            Self::Connections | Self::Bodies => 20,
            Self::Requests | Self::Workspaces | Self::Forward => 10,
        }
    }
}

/// The budget of one program. Cheap to clone; clones share the counters.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total_bytes: usize,
    shares: [ShareCounter; MemoryShare::ALL.len()],
}

#[derive(Debug)]
struct ShareCounter {
    capacity_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl MemoryBudget {
    /// Divides `total_bytes` into shares.
    #[must_use]
    pub fn new(total_bytes: usize) -> Self {
        Self::with_capacities(total_bytes, |share| total_bytes / 100 * share.percent())
    }

    /// A budget that is never used up, for programs that serve few and known callers.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::with_capacities(usize::MAX, |_| usize::MAX)
    }

    fn with_capacities(total_bytes: usize, capacity: impl Fn(MemoryShare) -> usize) -> Self {
        let counter = |share| ShareCounter { capacity_bytes: capacity(share), used_bytes: AtomicUsize::new(0) };
        Self(Arc::new(Inner { total_bytes, shares: MemoryShare::ALL.map(counter) }))
    }

    /// The whole budget, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.0.total_bytes
    }

    /// The capacity of a share, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self, share: MemoryShare) -> usize {
        self.counter(share).capacity_bytes
    }

    /// The bytes of a share that are reserved now.
    #[must_use]
    pub fn used_bytes(&self, share: MemoryShare) -> usize {
        self.counter(share).used_bytes.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` of a share; `None` where they do not fit.
    ///
    /// A reservation that is larger than the share fits where nothing else is reserved, so that no request within the
    /// caps is refused for ever.
    #[must_use]
    pub fn try_reserve(&self, share: MemoryShare, bytes: usize) -> Option<Reservation> {
        let mut reservation = Reservation { budget: self.clone(), share, bytes: 0 };
        reservation.try_grow(bytes).then_some(reservation)
    }

    /// Adds `bytes` to the counter of the share where they fit, and returns whether they did; else nothing is added. Anything fits
    /// into a share that holds nothing. [`MemoryBudget::release`] subtracts them again.
    pub(crate) fn acquire(&self, share: MemoryShare, bytes: usize) -> bool {
        let counter = self.counter(share);
        // Bytes that do not fit are never added, not even for a moment: other reservations would fail because of them.
        let add = |before: usize| {
            let after = before.saturating_add(bytes);
            (before == 0 || after <= counter.capacity_bytes).then_some(after)
        };
        counter.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    pub(crate) fn release(&self, share: MemoryShare, bytes: usize) {
        self.counter(share).used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Registers the metric `telemeter_memory_limit_bytes`, and for each share `telemeter_memory_budget_bytes` and
    /// `telemeter_memory_used_bytes`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(BudgetCollector(self.clone())));
    }

    fn counter(&self, share: MemoryShare) -> &ShareCounter {
        &self.0.shares[share as usize]
    }
}

/// Reserved bytes of a share, which are released when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    budget: MemoryBudget,
    share: MemoryShare,
    bytes: usize,
}

impl Reservation {
    /// The number of reserved bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves `more` bytes of the same share; returns false, without a change, where they do not fit.
    #[must_use]
    pub fn try_grow(&mut self, more: usize) -> bool {
        let fits = self.budget.acquire(self.share, more);
        if fits {
            self.bytes += more;
        }
        fits
    }

    /// A reservation of bytes that were added to the counter already.
    pub(crate) fn of_acquired(budget: &MemoryBudget, share: MemoryShare, bytes: usize) -> Self {
        Self { budget: budget.clone(), share, bytes }
    }

    /// Adds bytes that were added to the counter already.
    pub(crate) fn add_acquired(&mut self, more: usize) {
        self.bytes += more;
    }

    /// Drops the reservation without a release, since its bytes were released elsewhere.
    pub(crate) fn forget(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.share, self.bytes);
    }
}

#[derive(Debug)]
struct BudgetCollector(MemoryBudget);

impl Collector for BudgetCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = |bytes: usize| ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        let help = "Memory that the process is meant to stay under (--memory-limit).";
        let limit = encoder.encode_descriptor("telemeter_memory_limit_bytes", help, None, MetricType::Gauge)?;
        gauge(self.0.total_bytes()).encode(limit)?;
        for (name, help, bytes) in [
            (
                "telemeter_memory_budget_bytes",
                "Memory that callers may make the process hold, by what holds it.",
                MemoryBudget::capacity_bytes as fn(&MemoryBudget, MemoryShare) -> usize,
            ),
            (
                "telemeter_memory_used_bytes",
                "Memory that callers make the process hold now, by what holds it.",
                MemoryBudget::used_bytes,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for share in MemoryShare::ALL {
                gauge(bytes(&self.0, share)).encode(family.encode_family(&[("share", share.label())])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_and_given_back() {
        let budget = MemoryBudget::new(1000);
        assert_eq!(MemoryShare::ALL.map(|share| budget.capacity_bytes(share)), [200, 100, 200, 100, 100]);
        let mut first = budget.try_reserve(MemoryShare::Bodies, 150).expect("it fits");
        assert!(budget.try_reserve(MemoryShare::Bodies, 51).is_none());
        assert!(budget.try_reserve(MemoryShare::Forward, 51).is_some(), "another share is another's");
        assert!(first.try_grow(50), "exactly the capacity is within it");
        assert!(!first.try_grow(1));
        assert_eq!((first.bytes(), budget.used_bytes(MemoryShare::Bodies)), (200, 200));
        drop(first);
        assert_eq!(budget.used_bytes(MemoryShare::Bodies), 0);
    }

    #[test]
    fn what_is_larger_than_its_share_fits_alone() {
        let budget = MemoryBudget::new(1000);
        let small = budget.try_reserve(MemoryShare::Workspaces, 1);
        assert!(small.is_some() && budget.try_reserve(MemoryShare::Workspaces, 5000).is_none());
        drop(small);
        let large = budget.try_reserve(MemoryShare::Workspaces, 5000);
        assert!(large.is_some() && budget.try_reserve(MemoryShare::Workspaces, 1).is_none());
    }

    #[test]
    fn what_does_not_fit_is_no_hindrance_to_what_does() {
        let budget = MemoryBudget::new(1000);
        let _held = budget.try_reserve(MemoryShare::Workspaces, 50).expect("it fits");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..300_000 {
                    assert!(budget.try_reserve(MemoryShare::Workspaces, 5000).is_none());
                }
            });
            for at in 0..300_000 {
                assert!(budget.try_reserve(MemoryShare::Workspaces, 1).is_some(), "attempt {at}");
            }
        });
    }

    #[test]
    fn a_scrape_shows_each_share() {
        let (budget, mut registry) = (MemoryBudget::new(1000), Registry::default());
        budget.register(&mut registry);
        let _held = budget.try_reserve(MemoryShare::Requests, 7).expect("it fits");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        for line in [
            "telemeter_memory_limit_bytes 1000\n",
            "telemeter_memory_budget_bytes{share=\"connections\"} 200\n",
            "telemeter_memory_used_bytes{share=\"requests\"} 7\n",
            "telemeter_memory_used_bytes{share=\"forward\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
