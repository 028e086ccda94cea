//! The memory of the registry: few bytes for each cluster, and no allocation for a request of a known one.
#![allow(clippy::unwrap_used)]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use telemeter_fleet::{AcceptedRequest, Registry, RegistryConfig, ReportRoute, ReportSummary};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLUSTERS: u32 = 100_000;
const NOW_MS: i64 = 1_795_330_875_000;

fn accept(registry: &Registry, id: &str, now_ms: i64) {
    registry.accept(&AcceptedRequest {
        cluster: id,
        route: ReportRoute::Upload,
        now_ms,
        peer: "192.0.2.7".parse().unwrap(),
        user_agent: "telemeter/0.1.0",
        report: Some(ReportSummary {
            series: 225,
            filtered: 7,
            bytes: 10_344,
            drift_ms: Some(0),
            labels: &[Some("4.16.9"), Some("AWS")],
        }),
    });
}

// The only test of this file: another one would allocate at the same time.
#[test]
fn a_cluster_takes_160_bytes_and_a_request_no_allocation() {
    let ids: Vec<String> = (0..CLUSTERS).map(|number| format!("{number:08x}-0000-4000-8000-000000000000")).collect();
    let labels = vec!["version".to_owned(), "provider".to_owned()];
    let before = Region::new(ALLOCATOR);
    let registry = Registry::new(RegistryConfig { labels, ..RegistryConfig::default() });
    for id in &ids {
        accept(&registry, id, NOW_MS);
    }
    let change = before.change();
    let held = change.bytes_allocated as i64 + change.bytes_reallocated as i64 - change.bytes_deallocated as i64;
    let each = held / i64::from(CLUSTERS);
    assert!(each <= 160, "{each} bytes a cluster");

    let steady = Region::new(ALLOCATOR);
    for round in 1..4 {
        for id in &ids {
            accept(&registry, id, NOW_MS + round * 270_000);
        }
    }
    assert_eq!(steady.change().allocations, 0);
    assert_eq!(registry.len(), CLUSTERS as usize);
}
