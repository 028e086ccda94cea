//! Chooses the version of remote write that the store gets: the version in the configuration, or with `auto` 2.0 until
//! the store's answer shows that it does not support 2.0.

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

/// How long a store that does not support 2.0 gets 1.0, before 2.0 is tried again.
const FALLBACK: Duration = Duration::from_secs(3600);

/// The version that one store gets, and whether the store is known to support 2.0.
pub struct Negotiation {
    mode: ForwardProtocol,
    clock: Clock,
    metrics: Metrics,
    /// Until this time of the monotonic clock, in milliseconds, the store gets 1.0. 0 means that it gets 2.0.
    fallback_until_ms: AtomicI64,
    /// Whether an answer of the store has shown that it supports 2.0, since 2.0 was last tried anew.
    is_confirmed: AtomicBool,
}

impl Negotiation {
    /// Uses the version of `mode`. With `auto`, the fallback to 1.0 lasts an hour, measured by this clock.
    #[must_use]
    pub fn new(mode: ForwardProtocol, clock: Clock, metrics: Metrics) -> Self {
        let negotiation =
            Self { mode, clock, metrics, fallback_until_ms: AtomicI64::new(0), is_confirmed: AtomicBool::new(false) };
        negotiation.set_version_metric(negotiation.protocol());
        negotiation
    }

    /// Always uses this version, whatever the store answers. The metrics are not exported.
    #[must_use]
    pub fn fixed(protocol: Protocol) -> Self {
        let mode = match protocol {
            Protocol::V1 => ForwardProtocol::V1,
            Protocol::V2 => ForwardProtocol::V2,
        };
        Self::new(mode, Clock::system(), Metrics::register(&mut Registry::default()))
    }

    /// The version that the store gets now. With `auto`, 1.0 for as long as a fallback to it lasts; its end is logged
    /// and set in the metric.
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
                    self.set_version_metric(Protocol::V2);
                    tracing::info!("the store is asked with remote write 2.0 again");
                }
                Protocol::V2
            }
        }
    }

    /// Whether a store that does not support 2.0 gets 1.0 instead: only with `auto`.
    pub(super) fn falls_back(&self) -> bool {
        self.mode == ForwardProtocol::Auto
    }

    /// Whether it is known that the store supports 2.0.
    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed.load(Ordering::Relaxed)
    }

    /// Records that the store supports 2.0.
    pub(super) fn confirm(&self) {
        if !self.is_confirmed() {
            self.is_confirmed.store(true, Ordering::Relaxed);
        }
    }

    /// Records that the store does not support 2.0: it gets 1.0 for an hour. `cause` is the answer that showed it, for
    /// the log.
    pub(super) fn fall_back(&self, cause: &str) {
        let now_ms = self.clock.monotonic_ms();
        let until_ms = now_ms.saturating_add(i64::try_from(FALLBACK.as_millis()).unwrap_or(i64::MAX)).max(1);
        let begins = self.fallback_until_ms.compare_exchange(0, until_ms, Ordering::Relaxed, Ordering::Relaxed);
        if begins.is_err() {
            // The fallback has begun already, after the answer to another batch.
            return;
        }
        self.is_confirmed.store(false, Ordering::Relaxed);
        self.metrics.forward_fallbacks.inc();
        self.set_version_metric(Protocol::V1);
        tracing::warn!(cause, "the store does not take remote write 2.0: it is sent 1.0 for an hour");
    }

    /// The metrics of the server.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn set_version_metric(&self, protocol: Protocol) {
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
