//! Measures the time that the registry and the recent store add to a request, and the time of a walk over all clusters.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    hint::black_box,
    net::IpAddr,
    time::{Duration, Instant},
};

use telemeter_fleet::{
    AcceptedRequest, Reason, RefusedRequest, Registry, RegistryConfig, ReportRoute, ReportSummary, Thresholds,
    recent_store::{RecentStore, RecentStoreConfig},
};
use telemeter_wire::{
    Arena, DecodeLimits, Label, MetricType, Points, Sample, SeriesSet,
    remote_write::{self, Layout},
};

const NOW_MS: i64 = 1_795_330_875_000;

fn main() {
    let labels = vec!["version".to_owned(), "provider".to_owned()];
    for clusters in [1_000_000_u32, 100_000, 1000] {
        let ids: Vec<String> =
            (0..clusters).map(|at| format!("{:08x}-0000-4000-8000-{at:012x}", at.wrapping_mul(7919))).collect();
        let before = resident_mib();
        let registry = Registry::new(RegistryConfig { labels: labels.clone(), ..RegistryConfig::default() });
        let peer = IpAddr::from([192, 0, 2, 7]);
        let labels = [Some("4.16.9"), Some("AWS")];
        let accept = |id: &str, now_ms: i64| {
            let report =
                ReportSummary { series: 225, filtered: 7, bytes: 10_344, drift_ms: Some(-900), labels: &labels };
            let user_agent = "telemeter/0.1.0";
            let (cluster, route, report) = (id, ReportRoute::Upload, Some(report));
            registry.accept(&AcceptedRequest { cluster, route, now_ms, peer, user_agent, report });
        };
        ids.iter().for_each(|id| accept(id, NOW_MS));
        // Only for the first round: the others use memory again that this one has freed.
        let resident = (clusters == 1_000_000).then(|| resident_mib() - before);
        let steady = best(&ids, |id| {
            let _ = black_box(registry.labels_differ(id, &labels));
            accept(id, NOW_MS + 270_000);
        });
        let refused = best(&ids, |id| {
            let (cluster, route, reason, status) = (id, ReportRoute::Upload, Reason::Identity, 400);
            let user_agent = "telemeter/0.1.0";
            registry.refuse(&RefusedRequest { cluster, route, reason, status, now_ms: NOW_MS, peer, user_agent });
        });
        let walk = {
            let started = Instant::now();
            let mut silent = 0_u32;
            registry.for_each(|cluster| {
                black_box(cluster.id());
                let status = cluster.status(&Thresholds::default(), NOW_MS + 271_000);
                silent += u32::from(status == telemeter_fleet::ClusterStatus::Silent);
            });
            black_box(silent);
            started.elapsed()
        };
        println!("{clusters} clusters: accepted {steady:?} a request, refused {refused:?}, a walk over all {walk:?}");
        if let Some(mib) = resident {
            println!("{mib:.1} MiB resident, {:.0} bytes a cluster", mib * 1_048_576.0 / f64::from(clusters));
        }
    }
    for clusters in [1, 1000] {
        recent_store(clusters);
    }
}

/// The resident memory of this process, in MiB.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// The number of series of a typical cluster.
const SERIES: usize = 232;
const INTERVAL_MS: i64 = 270_000;

/// A push of a cluster as a message, and the positions of its series.
fn push(cluster: usize, now_ms: i64) -> (Vec<u8>, Layout) {
    let (id, arena) = (format!("00000000-0000-4000-8000-{cluster:012}"), Arena::new());
    let names: Vec<[String; 3]> = (0..SERIES)
        .map(|at| {
            let pod = format!("cluster-version-operator-5cb5f8c9db-{cluster:05}");
            [format!("cluster_operator_conditions_{}", at / 9), format!("operator-{}", at % 9), pod]
        })
        .collect();
    let mut set = SeriesSet::new_in(&arena);
    for (at, [family, name, pod]) in names.iter().enumerate() {
        let labels = [
            Label::new("__name__", family),
            Label::new("_id", &id),
            Label::new("condition", "Available"),
            Label::new("endpoint", "metrics"),
            Label::new("instance", "10.0.150.196:9099"),
            Label::new("job", "cluster-version-operator"),
            Label::new("name", name),
            Label::new("namespace", "openshift-cluster-version"),
            Label::new("pod", pod),
            Label::new("prometheus", "openshift-monitoring/k8s"),
            Label::new("service", "cluster-version-operator"),
        ];
        let value = if at % 3 == 0 { 1.0 } else { (now_ms / 1000 * at as i64) as f64 };
        let sample = Sample { value, timestamp_ms: Some(now_ms) };
        set.push(&labels, MetricType::Untyped, Points::Sample(sample));
    }
    let (mut message, mut layout) = (Vec::new(), Layout::default());
    remote_write::encode_placed(&set, &mut message, &mut layout);
    (message, layout)
}

/// Measures the time that the recent store adds to a push in the steady state, next to the time of decoding the push.
fn recent_store(clusters: usize) {
    let store = RecentStore::new(RecentStoreConfig { window: Duration::from_secs(7200), max_bytes: 1 << 30 });
    let mut arena = Arena::new();
    let [mut decode, mut stage, mut commit, mut sweep] = [Duration::MAX; 4];
    for round in 0..40_i64 {
        let now_ms = NOW_MS + round * INTERVAL_MS;
        let pushes: Vec<_> = (0..clusters).map(|cluster| push(cluster, now_ms)).collect();
        let ids: Vec<_> = (0..clusters).map(|cluster| format!("00000000-0000-4000-8000-{cluster:012}")).collect();
        let mut staged = Vec::with_capacity(clusters);
        let mean = |started: Instant| started.elapsed() / u32::try_from(clusters).unwrap_or(u32::MAX);
        let started = Instant::now();
        for (message, _) in &pushes {
            let mut set = SeriesSet::new_in(&arena);
            remote_write::decode(message, &DecodeLimits::default(), &mut set).expect("a message");
            black_box(set.len());
            drop(set);
            arena.reset();
        }
        decode = decode.min(mean(started));
        let started = Instant::now();
        for (id, (message, layout)) in ids.iter().zip(&pushes) {
            staged.push(store.stage(id, layout.series(message)));
        }
        stage = stage.min(mean(started));
        let started = Instant::now();
        for (id, staged) in ids.iter().zip(&staged) {
            assert_eq!(store.commit(id, staged, now_ms).samples, SERIES);
        }
        commit = commit.min(mean(started));
        let started = Instant::now();
        store.sweep(now_ms);
        if round > 30 {
            sweep = sweep.min(mean(started));
        }
    }
    let bytes = store.bytes() / clusters / SERIES;
    println!(
        "recent store, {clusters} clusters, {SERIES} series: staged {stage:?}, committed {commit:?}, swept {sweep:?} \
         a push; decoding it takes {decode:?}; {bytes} bytes a series"
    );
}

/// The shortest mean time of some runs over all IDs.
fn best(ids: &[String], mut each: impl FnMut(&str)) -> Duration {
    let runs = (0..5).map(|_| {
        let started = Instant::now();
        ids.iter().for_each(|id| each(id));
        started.elapsed() / u32::try_from(ids.len()).unwrap_or(u32::MAX)
    });
    runs.min().unwrap_or_default()
}
