//! All metrics that the server exports, besides those of the HTTP layer, the cache and the process.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use telemeter_fleet::ReportRoute;
use telemeter_http::{body::BodyError, metrics::forward_histogram};
use telemeter_rules::{Refusal, StepCounts};
use telemeter_wire::Error as WireError;

use crate::error::Error;

/// One field for each metric.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Samples of uploads that the store accepted.
    pub forward_samples: Counter,
    /// Uploads sent to the store.
    pub forward_requests: Family<ResultLabel, Counter>,
    /// How long the store took to answer an upload.
    pub forward_duration: Family<StatusLabel, Histogram, fn() -> Histogram>,
    /// Uploaded samples that were ahead of our clock and got our time.
    pub forward_overwritten: Counter,
    /// Uploaded samples by the drift of their time.
    pub overwritten: Family<DriftDirectionLabel, Counter>,
    /// Labels that were elided.
    pub elided: Counter,
    /// Remote-write requests sent to the store.
    pub receive_forward_requests: Family<ResultLabel, Counter>,
    /// Remote-write requests over the byte cap.
    pub receive_size_limited: Counter,
    /// Remote-write requests without the identity label or a required one.
    pub receive_missing_labels: Counter,
    /// Remote-write requests with a wrong value in one of these labels, or with a duplicate of one.
    pub receive_incorrect_labels: Counter,
    /// Series of remote-write requests that the store accepted.
    pub receive_series: Counter,
    /// Remote-write requests that held metadata.
    pub receive_metadata: Counter,
    /// Start timestamps of remote write 2.0 that were left out of what went to the store.
    pub receive_start_timestamps_dropped: Counter,
    /// 1 for the version of remote write that the store is sent, 0 for the other.
    pub forward_protocol: Family<VersionLabel, Gauge>,
    /// How often 1.0 was sent from then on, because the store does not accept 2.0.
    pub forward_fallbacks: Counter,
    /// Exemplars that 2.0 has no place for.
    pub forward_exemplars_dropped: Counter,
    /// Series that requests held, by route.
    pub received_series: ReceivedSeries,
    /// Series that no rule of the whitelist allows, by route.
    pub filtered: Family<RouteLabel, Counter>,
    /// Uploaded samples of which the same upload held a newer one.
    pub upload_duplicates_dropped: Counter,
    /// Series of remote writes that were refused alone.
    pub receive_refused_series: Counter,
    /// Requests that did not succeed, by route and reason.
    pub refused: Family<RefusedLabels, Counter>,
    /// When the certificate of each listener expires, in seconds since 1970.
    pub certificate_expiry: Family<ListenerLabel, Gauge>,
    /// Requests to the store with the series of `--fleet-metrics`.
    pub fleet_forward_requests: Family<ResultLabel, Counter>,
}

/// Series that requests held, a counter a route: every request adds to one, without a look-up by label.
#[derive(Clone, Debug, Default)]
pub struct ReceivedSeries([Counter; ReportRoute::ALL.len()]);

impl ReceivedSeries {
    /// Makes the counters of both routes, starting at 0, and registers them.
    fn register(registry: &mut Registry) -> Self {
        let (family, mut counters) = (Family::<RouteLabel, Counter>::default(), Self::default());
        for route in [ReportRoute::Upload, ReportRoute::Receive] {
            counters.0[route as usize] = family.get_or_create(&RouteLabel { handler: route.name() }).clone();
        }
        registry.register("telemeter_received_series", "Series that requests held, by route", family);
        counters
    }

    /// The counter of a route.
    #[must_use]
    pub fn of(&self, route: ReportRoute) -> &Counter {
        &self.0[route as usize]
    }
}

/// The label `result`: how a request to the store ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResultLabel {
    /// `success` or `error`.
    pub result: ForwardResult,
}

/// How a request to the store ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub enum ForwardResult {
    /// The store accepted it.
    #[allow(non_camel_case_types, reason = "the label's value")]
    success,
    /// The store did not accept it.
    #[allow(non_camel_case_types, reason = "the label's value")]
    error,
}

/// The label `status_code`: the status of the store's response.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StatusLabel {
    /// The status, 0 where there was no response.
    pub status_code: u16,
}

/// The label `tense`: the time of a sample compared with ours.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DriftDirectionLabel {
    /// `past`, `present` or `future`.
    pub tense: DriftDirection,
}

/// The time of a sample compared with ours.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's values")]
pub enum DriftDirection {
    /// Over five minutes behind.
    past,
    /// Within five minutes.
    present,
    /// Over five minutes ahead.
    future,
}

/// The label `handler`: a route that metrics are sent to.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RouteLabel {
    /// Its name.
    pub handler: &'static str,
}

/// The label `listener`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ListenerLabel {
    /// `external` or `internal`.
    pub listener: &'static str,
}

/// A version of remote write.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct VersionLabel {
    /// `1.0` or `2.0`.
    pub version: &'static str,
}

/// The labels of a request that did not succeed.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RefusedLabels {
    /// The route.
    pub handler: &'static str,
    /// Why, in one word of a closed set.
    pub reason: &'static str,
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            forward_samples: Counter::default(),
            forward_requests: Family::default(),
            forward_duration: Family::new_with_constructor(forward_histogram),
            forward_overwritten: Counter::default(),
            overwritten: Family::default(),
            elided: Counter::default(),
            receive_forward_requests: Family::default(),
            receive_size_limited: Counter::default(),
            receive_missing_labels: Counter::default(),
            receive_incorrect_labels: Counter::default(),
            receive_series: Counter::default(),
            receive_metadata: Counter::default(),
            receive_start_timestamps_dropped: Counter::default(),
            forward_protocol: Family::default(),
            forward_fallbacks: Counter::default(),
            forward_exemplars_dropped: Counter::default(),
            received_series: ReceivedSeries::register(registry),
            filtered: Family::default(),
            upload_duplicates_dropped: Counter::default(),
            receive_refused_series: Counter::default(),
            refused: Family::default(),
            certificate_expiry: Family::default(),
            fleet_forward_requests: Family::default(),
        };
        // The library adds `_total` to the name of a counter.
        registry.register(
            "telemeter_v1_forward_samples",
            "Samples of uploads that the store took",
            metrics.forward_samples.clone(),
        );
        registry.register(
            "telemeter_v1_forward_requests",
            "Uploads sent to the store, by result",
            metrics.forward_requests.clone(),
        );
        registry.register(
            "telemeter_v1_forward_request_duration_seconds",
            "Time that the store took for an upload, by its answer",
            metrics.forward_duration.clone(),
        );
        registry.register(
            "telemeter_v1_forward_overwritten_timestamps",
            "Uploaded samples ahead of our clock that got our time",
            metrics.forward_overwritten.clone(),
        );
        registry.register(
            "telemeter_overwritten_timestamps",
            "Uploaded samples that got our time, by what theirs was: past, present, future (beyond 5 minutes)",
            metrics.overwritten.clone(),
        );
        registry.register("telemeter_elide_transform_dropped", "Labels elided", metrics.elided.clone());
        registry.register(
            "telemeter_forward_requests",
            "Remote-write requests sent to the store, by result",
            metrics.receive_forward_requests.clone(),
        );
        registry.register(
            "telemeter_receive_size_limited",
            "Remote-write requests over the byte cap",
            metrics.receive_size_limited.clone(),
        );
        registry.register(
            "telemeter_receive_request_missing_labels",
            "Remote-write requests without the identity label or a required one",
            metrics.receive_missing_labels.clone(),
        );
        registry.register(
            "telemeter_receive_request_incorrect_label_values",
            "Remote-write requests with a wrong value in the identity label or a required one",
            metrics.receive_incorrect_labels.clone(),
        );
        registry.register(
            "telemeter_receive_series_processed",
            "Series of remote-write requests that the store took",
            metrics.receive_series.clone(),
        );
        registry.register(
            "telemeter_receive_metadata_requests",
            "Remote-write requests that held metadata",
            metrics.receive_metadata.clone(),
        );
        registry.register(
            "telemeter_receive_start_timestamps_dropped",
            "Start timestamps of remote write 2.0 that remote write 1.0 has no place for",
            metrics.receive_start_timestamps_dropped.clone(),
        );
        registry.register(
            "telemeter_forward_protocol",
            "Which remote write the store is sent: 1 for that version, 0 for the other",
            metrics.forward_protocol.clone(),
        );
        registry.register(
            "telemeter_forward_protocol_fallbacks",
            "How often the store showed that it does not take remote write 2.0, and was sent 1.0 from then on",
            metrics.forward_fallbacks.clone(),
        );
        registry.register(
            "telemeter_forward_exemplars_dropped",
            "Exemplars that remote write 2.0 has no place for",
            metrics.forward_exemplars_dropped.clone(),
        );
        registry.register(
            "telemeter_upload_duplicate_samples_dropped",
            "Uploaded samples of which the same upload held a newer one",
            metrics.upload_duplicates_dropped.clone(),
        );
        registry.register(
            "telemeter_receive_refused_series",
            "Series of remote writes that were refused while the others were stored",
            metrics.receive_refused_series.clone(),
        );
        registry.register(
            "telemeter_filtered_series",
            "Series that no rule allows, by route",
            metrics.filtered.clone(),
        );
        registry.register(
            "telemeter_refused_requests",
            "Requests refused, by route and reason",
            metrics.refused.clone(),
        );
        registry.register(
            "telemeter_certificate_expiry_timestamp_seconds",
            "When the certificate of a listener expires, in seconds since 1970",
            metrics.certificate_expiry.clone(),
        );
        registry.register(
            "telemeter_fleet_forward_requests",
            "Requests sent to the store with what is known of the fleet, by result",
            metrics.fleet_forward_requests.clone(),
        );
        for result in [ForwardResult::success, ForwardResult::error] {
            drop(metrics.fleet_forward_requests.get_or_create(&ResultLabel { result }));
            drop(metrics.forward_requests.get_or_create(&ResultLabel { result }));
            drop(metrics.receive_forward_requests.get_or_create(&ResultLabel { result }));
        }
        for tense in [DriftDirection::past, DriftDirection::present, DriftDirection::future] {
            drop(metrics.overwritten.get_or_create(&DriftDirectionLabel { tense }));
        }
        for handler in [ReportRoute::Upload, ReportRoute::Receive] {
            drop(metrics.filtered.get_or_create(&RouteLabel { handler: handler.name() }));
        }
        metrics
    }

    /// Counts a request that did not succeed by route and reason; one of remote write also in the counters of too large
    /// bodies, and of missing and incorrect labels.
    pub fn record_refused(&self, route: ReportRoute, error: &Error) {
        let labels = RefusedLabels { handler: route.name(), reason: error.reason().name() };
        self.refused.get_or_create(&labels).inc();
        if route != ReportRoute::Receive {
            return;
        }
        match error {
            Error::Body(BodyError::TooLarge { .. }) | Error::Wire(WireError::TooLong { .. }) => {
                self.receive_size_limited.inc();
            }
            Error::Refused(Refusal::LabelMissing { .. }) => {
                self.receive_missing_labels.inc();
            }
            Error::Refused(Refusal::LabelValue { .. } | Refusal::DuplicateLabel { .. }) => {
                self.receive_incorrect_labels.inc();
            }
            _ => {}
        }
    }

    /// Adds what the rules counted in one request; `refused` is how many of its series were refused alone.
    pub fn add(&self, route: ReportRoute, report: &StepCounts, refused: u64) {
        self.received_series.of(route).inc_by(report.series);
        self.upload_duplicates_dropped.inc_by(report.duplicates);
        self.receive_refused_series.inc_by(refused);
        self.elided.inc_by(report.elided_labels);
        if report.filtered > 0 {
            self.filtered.get_or_create(&RouteLabel { handler: route.name() }).inc_by(report.filtered);
        }
        self.forward_overwritten.inc_by(report.ahead);
        for (tense, count) in [
            (DriftDirection::past, report.past),
            (DriftDirection::present, report.present),
            (DriftDirection::future, report.future),
        ] {
            if count > 0 {
                self.overwritten.get_or_create(&DriftDirectionLabel { tense }).inc_by(count);
            }
        }
    }
}
