//! What the registry adds to a request, and what a walk over all clusters takes.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    hint::black_box,
    net::IpAddr,
    time::{Duration, Instant},
};

use telemeter_fleet::{Accepted, Reason, Refused, Registry, RegistryConfig, Report, Route, Thresholds};

const NOW_MS: i64 = 1_795_330_875_000;

fn main() {
    let labels = vec!["version".to_owned(), "provider".to_owned()];
    for clusters in [1000_u32, 100_000, 1_000_000] {
        let registry = Registry::new(RegistryConfig { labels: labels.clone(), ..RegistryConfig::default() });
        let ids: Vec<String> =
            (0..clusters).map(|at| format!("{:08x}-0000-4000-8000-{at:012x}", at.wrapping_mul(7919))).collect();
        let peer = IpAddr::from([192, 0, 2, 7]);
        let labels = [Some("4.16.9"), Some("AWS")];
        let accept = |id: &str, now_ms: i64| {
            let report = Report { series: 225, filtered: 7, bytes: 10_344, drift_ms: Some(-900), labels: &labels };
            let user_agent = "telemeter/0.1.0";
            let (cluster, route, report) = (id, Route::Upload, Some(report));
            registry.accept(&Accepted { cluster, route, now_ms, peer, user_agent, report });
        };
        ids.iter().for_each(|id| accept(id, NOW_MS));
        let steady = best(&ids, |id| {
            let _ = black_box(registry.labels_differ(id, &labels));
            accept(id, NOW_MS + 270_000);
        });
        let refused = best(&ids, |id| {
            let (cluster, route, reason, status) = (id, Route::Upload, Reason::Identity, 400);
            let user_agent = "telemeter/0.1.0";
            registry.refuse(&Refused { cluster, route, reason, status, now_ms: NOW_MS, peer, user_agent });
        });
        let walk = {
            let started = Instant::now();
            let mut silent = 0_u32;
            registry.for_each(|cluster| {
                black_box(cluster.id());
                let status = cluster.status(&Thresholds::default(), NOW_MS + 271_000);
                silent += u32::from(status == telemeter_fleet::Status::Silent);
            });
            black_box(silent);
            started.elapsed()
        };
        println!("{clusters} clusters: accepted {steady:?} a request, refused {refused:?}, a walk over all {walk:?}");
    }
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
