//! Compares the size that the recent store counts with the bytes that were allocated.

use std::{alloc::System, time::Duration};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use telemeter_fleet::recent_store::{RecentStore, RecentStoreConfig};
use telemeter_wire::{Arena, Label, MetricType, Points, Sample, SeriesSet};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW_MS: i64 = 1_700_000_000_000;

/// Appends a push as a client makes it: `series` series of eight labels.
fn push(store: &RecentStore, cluster: usize, series: usize, ms: i64) {
    let arena = Arena::new();
    let id = format!("00000000-0000-4000-8000-{cluster:012}");
    let texts: Vec<_> = (0..series)
        .map(|at| (format!("metric_{}", at % 40), format!("10.0.{cluster}.{at}:9100"), format!("pod-{cluster}-{at}")))
        .collect();
    let mut set = SeriesSet::new_in(&arena);
    for (at, (name, instance, pod)) in texts.iter().enumerate() {
        let labels = [
            Label::new("__name__", name),
            Label::new("_id", &id),
            Label::new("endpoint", "metrics"),
            Label::new("instance", instance),
            Label::new("job", "node-exporter"),
            Label::new("namespace", "openshift-monitoring"),
            Label::new("pod", pod),
            Label::new("prometheus", "openshift-monitoring/k8s"),
        ];
        // A third of the values is constant, a third increases, a third is noise.
        let value = match at % 3 {
            0 => 1.0,
            1 => (ms / 1000) as f64,
            _ => (ms as f64 * (at as f64 + 0.1)).sin(),
        };
        set.push(&labels, MetricType::Untyped, Points::Sample(Sample { value, timestamp_ms: Some(ms) }));
    }
    store.append(&id, &set, ms);
}

/// Bytes that were allocated since `region` began, and are not freed.
fn held(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    change.bytes_allocated as f64 - change.bytes_deallocated as f64
}

fn check(store: &RecentStore, region: &Region<'_, System>, when: &str) {
    let (counted, seen) = (store.bytes() as f64, held(region));
    assert!(counted > 0.75 * seen && counted < 1.25 * seen, "{when}: counted {counted}, the allocator saw {seen}");
}

#[test]
fn the_bytes_counted_are_those_allocated() {
    let config = RecentStoreConfig { window: Duration::from_secs(7200), max_bytes: 4 << 20 };
    let store = RecentStore::new(config);
    let region = Region::new(ALLOCATOR);
    for cluster in 0..10 {
        push(&store, cluster, 200, NOW_MS);
    }
    check(&store, &region, "after the first pushes");
    for minute in 1..30 {
        for cluster in 0..10 {
            push(&store, cluster, 200, NOW_MS + minute * 270_000);
        }
        store.sweep(NOW_MS + minute * 270_000);
    }
    check(&store, &region, "after two hours");
    let series = store.totals(NOW_MS + 30 * 270_000).series;
    assert!(store.bytes() / series < 500, "{} bytes a series", store.bytes() / series);
    for cluster in 10..200 {
        push(&store, cluster, 200, NOW_MS + 30 * 270_000);
        assert!(store.bytes() <= config.max_bytes);
    }
    assert!(store.evictions() > 0);
    check(&store, &region, "at the bound");
    store.sweep(NOW_MS + 30 * 270_000 + 7_200_001);
    assert_eq!(store.bytes(), 0);
    assert!(held(&region) < 16_384.0, "{} bytes are held by an empty store", held(&region));
}
