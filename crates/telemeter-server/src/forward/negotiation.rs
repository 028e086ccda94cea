//! Which remote write the store is sent: the one that the operator named, or 2.0 until the store shows that it does not take it.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use prometheus_client::registry::Registry;
use telemeter_http::clock::Clock;

use crate::{
    config::ForwardProtocol,
    metrics::{Metrics, VersionLabel},
    protocol::Protocol,
};

/// For so long a store that does not take 2.0 is sent 1.0, before it is asked again.
const FALLBACK: Duration = Duration::from_secs(3600);

/// What is known of a store.
pub struct Negotiation {
    mode: ForwardProtocol,
    clock: Clock,
    metrics: Metrics,
    /// Until then, on the monotonic clock, the store is sent 1.0; 0: it is sent 2.0.
    fallback_until_ms: AtomicI64,
    /// Whether the store has shown that it takes 2.0, since it was last asked anew.
    is_confirmed: AtomicBool,
}

impl Negotiation {
    /// Sends what `mode` says; where it falls back to 1.0, for an hour by this clock.
    #[must_use]
    pub fn new(mode: ForwardProtocol, clock: Clock, metrics: Metrics) -> Self {
        let negotiation =
            Self { mode, clock, metrics, fallback_until_ms: AtomicI64::new(0), is_confirmed: AtomicBool::new(false) };
        negotiation.show(negotiation.protocol());
        negotiation
    }

    /// Sends one version, whatever the store says.
    #[must_use]
    pub fn fixed(protocol: Protocol) -> Self {
        let mode = match protocol {
            Protocol::V1 => ForwardProtocol::V1,
            Protocol::V2 => ForwardProtocol::V2,
        };
        Self::new(mode, Clock::system(), Metrics::register(&mut Registry::default()))
    }

    /// What the store is sent now.
    pub(super) fn protocol(&self) -> Protocol {
        match self.mode {
            ForwardProtocol::V1 => Protocol::V1,
            ForwardProtocol::V2 => Protocol::V2,
            ForwardProtocol::Auto => {
                let until_ms = self.fallback_until_ms.load(Ordering::Relaxed);
                if until_ms == 0 {
                    return Protocol::V2;
                }
                if self.clock.monotonic_ms() < until_ms {
                    return Protocol::V1;
                }
                let ends = self.fallback_until_ms.compare_exchange(until_ms, 0, Ordering::Relaxed, Ordering::Relaxed);
                if ends.is_ok() {
                    self.show(Protocol::V2);
                    tracing::info!("the store is asked with remote write 2.0 again");
                }
                Protocol::V2
            }
        }
    }

    /// Whether a store that does not take 2.0 is to be sent 1.0.
    pub(super) fn falls_back(&self) -> bool {
        self.mode == ForwardProtocol::Auto
    }

    /// Whether it is known that the store takes 2.0.
    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed.load(Ordering::Relaxed)
    }

    /// The store takes 2.0.
    pub(super) fn confirm(&self) {
        if !self.is_confirmed() {
            self.is_confirmed.store(true, Ordering::Relaxed);
        }
    }

    /// The store does not take 2.0: it is sent 1.0 for a while. `cause` is how it showed that.
    pub(super) fn fall_back(&self, cause: &str) {
        let now_ms = self.clock.monotonic_ms();
        let until_ms = now_ms.saturating_add(i64::try_from(FALLBACK.as_millis()).unwrap_or(i64::MAX)).max(1);
        let begins = self.fallback_until_ms.compare_exchange(0, until_ms, Ordering::Relaxed, Ordering::Relaxed);
        if begins.is_err() {
            // Another batch has shown it before.
            return;
        }
        self.is_confirmed.store(false, Ordering::Relaxed);
        self.metrics.forward_fallbacks.inc();
        self.show(Protocol::V1);
        tracing::warn!(cause, "the store does not take remote write 2.0: it is sent 1.0 for an hour");
    }

    /// The counters.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn show(&self, protocol: Protocol) {
        for one in Protocol::ALL {
            let label = VersionLabel { version: one.version() };
            self.metrics.forward_protocol.get_or_create(&label).set(i64::from(one == protocol));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(negotiation: &Negotiation) -> [i64; 2] {
        let shown = |protocol: Protocol| VersionLabel { version: protocol.version() };
        Protocol::ALL.map(|protocol| negotiation.metrics.forward_protocol.get_or_create(&shown(protocol)).get())
    }

    #[test]
    fn what_the_operator_names_is_sent() {
        for protocol in Protocol::ALL {
            let negotiation = Negotiation::fixed(protocol);
            assert_eq!(negotiation.protocol(), protocol);
            assert!(!negotiation.falls_back());
        }
    }

    #[test]
    fn it_falls_back_for_an_hour_and_says_so_once() {
        let (clock, handle) = Clock::fixed(0);
        let metrics = Metrics::register(&mut Registry::default());
        let negotiation = Negotiation::new(ForwardProtocol::Auto, clock, metrics);
        assert_eq!((negotiation.protocol(), gauge(&negotiation)), (Protocol::V2, [0, 1]));
        negotiation.confirm();
        for _ in 0..2 {
            negotiation.fall_back("415");
            assert_eq!((negotiation.protocol(), gauge(&negotiation)), (Protocol::V1, [1, 0]));
            assert!(!negotiation.is_confirmed());
        }
        assert_eq!(negotiation.metrics.forward_fallbacks.get(), 1);
        handle.advance(FALLBACK - Duration::from_millis(1));
        assert_eq!(negotiation.protocol(), Protocol::V1);
        handle.set_ms(-1_000_000);
        assert_eq!(negotiation.protocol(), Protocol::V1, "the wall clock has no say");
        handle.advance(Duration::from_millis(1));
        assert_eq!((negotiation.protocol(), gauge(&negotiation)), (Protocol::V2, [0, 1]));
        negotiation.fall_back("415");
        assert_eq!(negotiation.metrics.forward_fallbacks.get(), 2);
    }
}
