//! Sends what this replica knows of each cluster to the store, as series (`--fleet-metrics`).
//!
//! They carry the cluster's own partition label. No cluster can send series of these names.

use std::time::Duration;

use telemeter_fleet::{ClusterView, ReportRoute};
use telemeter_rules::canonical::Canonical;
use telemeter_wire::{
    Arena, Label, MetricType, Points, Sample, SeriesSet,
    remote_write::{self, v2::RequestBuilder},
    series::NAME_LABEL,
    snappy,
};
use tokio::{sync::watch, time::Instant};

use super::reserved::UNVERIFIED;
use crate::{
    forward::{Forward, WriteMessage},
    gateway::Gateway,
    metrics::{ForwardResult, ResultLabel},
    protocol::Protocol,
};

/// How many clusters go into one request.
const CLUSTERS_A_REQUEST: usize = 500;
/// The cluster ID of these requests in the forward: no cluster has the empty ID.
const SENDER: &str = "";

/// Sends what is known of the clusters that were heard from, every `every`, until the server stops. The outcome of each
/// request is counted; what the store does not take is not sent again, and logged once until it takes the next.
pub async fn send_fleet(
    gateway: Gateway,
    forward: Forward,
    replica: String,
    every: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut next = Instant::now() + every;
    let mut failing = false;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep_until(next) => {}
        }
        next = Instant::now() + every;
        let heard = gateway.clone();
        let Ok(ids) = tokio::task::spawn_blocking(move || heard_within(&heard, every)).await else { continue };
        let requests = ids.chunks(CLUSTERS_A_REQUEST).map(Some).chain([None]);
        // The requests are spread over the interval, so that a large fleet makes no peak at the store.
        let pause = every.div_f64(requests.clone().count() as f64 + 1.0);
        for ids in requests {
            let message = match ids {
                Some(ids) => encode(&gateway, |arena, set| put_clusters(&gateway, ids, &replica, arena, set)),
                None => encode(&gateway, |arena, set| put_unverified(&gateway, &replica, arena, set)),
            };
            let result = match message {
                Ok(None) => continue,
                Ok(Some(message)) => {
                    forward.send(SENDER, message).await.into_result().map(drop).map_err(|error| error.to_string())
                }
                Err(error) => Err(error),
            };
            let label = if result.is_ok() { ForwardResult::success } else { ForwardResult::error };
            gateway.metrics.fleet_forward_requests.get_or_create(&ResultLabel { result: label }).inc();
            match result {
                Ok(()) if failing => tracing::info!("the store takes the series of the fleet again"),
                Err(error) if !failing => {
                    tracing::warn!(error, "the store did not take the series of the fleet (--fleet-metrics)");
                }
                _ => {}
            }
            failing = label == ForwardResult::error;
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// The clusters that were heard from within this time.
fn heard_within(gateway: &Gateway, within: Duration) -> Vec<String> {
    // One second is added: the registry keeps whole seconds.
    let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).saturating_add(1000);
    let from_ms = gateway.clock.now_ms().saturating_sub(within_ms);
    let mut ids = Vec::new();
    gateway.fleet.registry.for_each(|cluster| {
        if cluster.last_heard_ms() >= from_ms {
            ids.push(cluster.id().to_owned());
        }
    });
    ids
}

/// Encodes the series that `put` adds, after the operator's rules; `None` where there are none. Returns an error where
/// the rules refuse them.
fn encode(
    gateway: &Gateway,
    put: impl for<'a> FnOnce(&'a Arena, &mut SeriesSet<'a>),
) -> Result<Option<WriteMessage>, String> {
    let (arena, canonical, rules) = (Arena::new(), Canonical::new(), gateway.rules.load_full());
    let mut set = SeriesSet::new_in(&arena);
    put(&arena, &mut set);
    rules.apply_to_own(&canonical, &mut set).map_err(|refusal| refusal.to_string())?;
    if set.is_empty() {
        return Ok(None);
    }
    match gateway.forward_protocol() {
        Protocol::V1 => {
            let mut encoded = Vec::new();
            remote_write::encode(&set, &mut encoded);
            Ok(Some(gateway.workspaces.compress(&mut snappy::Encoder::default(), &encoded)))
        }
        Protocol::V2 => {
            let mut request = RequestBuilder::default();
            request.clear();
            request.add(&set);
            Ok(Some(gateway.request_of(&request)))
        }
    }
}

/// Adds the series of these clusters, with the time of now. A cluster that is forgotten meanwhile is left out; so are
/// labels without a value.
fn put_clusters<'a>(gateway: &Gateway, ids: &[String], replica: &str, arena: &'a Arena, set: &mut SeriesSet<'a>) {
    let keep = |text: &str| -> &'a str { arena.text().alloc_str(text) };
    let config = gateway.fleet.registry.config();
    let label_names: Vec<&'a str> = config.labels.iter().map(|name| keep(name)).collect();
    let (replica, partition_label) = (keep(replica), keep(&gateway.partition_label));
    let now_ms = gateway.clock.now_ms();
    for id in ids {
        let Some(cluster) = gateway.fleet.registry.get(id, |cluster| cluster.to_view()) else { continue };
        let common = [Label::new(partition_label, keep(id)), Label::new("replica", replica)];
        let mut put = |name: &'static str, kind: MetricType, labels: &[Label<'a>], value: f64| {
            let mut all = vec![Label::new(NAME_LABEL, name)];
            all.extend_from_slice(&common);
            all.extend(labels.iter().filter(|label| !label.value.is_empty()));
            set.push(&all, kind, Points::Sample(Sample { value, timestamp_ms: Some(now_ms) }));
        };
        put_cluster(&cluster, &mut put);
        let mut info = vec![Label::new("client_version", keep(&cluster.user_agent))];
        info.extend(label_names.iter().zip(&cluster.labels).map(|(name, value)| Label::new(name, keep(value))));
        put("telemeter_cluster_info", MetricType::Gauge, &info, 1.0);
    }
}

/// Adds all series of a cluster but `telemeter_cluster_info`.
fn put_cluster<'a>(cluster: &ClusterView, put: &mut impl FnMut(&'static str, MetricType, &[Label<'a>], f64)) {
    let reports = [
        (ReportRoute::Upload, cluster.last_upload_ms, cluster.uploads),
        (ReportRoute::Receive, cluster.last_receive_ms, cluster.receives),
    ];
    for (route, last_ms, count) in reports {
        let Some(last_ms) = last_ms else { continue };
        let labels = [Label::new("route", route.name())];
        let name = "telemeter_cluster_last_report_timestamp_seconds";
        put(name, MetricType::Gauge, &labels, last_ms as f64 / 1000.0);
        put("telemeter_cluster_reports_total", MetricType::Counter, &labels, count.into());
    }
    for refusal in &cluster.refusals {
        let labels = [Label::new("reason", refusal.reason.name()), Label::new("route", refusal.route.name())];
        put("telemeter_cluster_refused_total", MetricType::Counter, &labels, refusal.count.into());
    }
    if cluster.last_upload_ms.is_some() || cluster.last_receive_ms.is_some() {
        put("telemeter_cluster_series", MetricType::Gauge, &[], cluster.series.into());
        put("telemeter_cluster_filtered_series", MetricType::Gauge, &[], cluster.filtered.into());
        put("telemeter_cluster_clock_drift_seconds", MetricType::Gauge, &[], f64::from(cluster.drift_ms) / 1000.0);
    }
}

/// Adds a counter for each route and reason that refused callers who were not verified.
fn put_unverified<'a>(gateway: &Gateway, replica: &str, arena: &'a Arena, set: &mut SeriesSet<'a>) {
    let replica = arena.text().alloc_str(replica);
    for (route, reason, count) in gateway.fleet.unverified_refusals() {
        let labels = [
            Label::new(NAME_LABEL, UNVERIFIED),
            Label::new("reason", reason.name()),
            Label::new("replica", replica),
            Label::new("route", route.name()),
        ];
        let sample = Sample { value: count as f64, timestamp_ms: Some(gateway.clock.now_ms()) };
        set.push(&labels, MetricType::Counter, Points::Sample(sample));
    }
}
