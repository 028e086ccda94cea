//! The window, the bound, and concurrent use; helper functions for the other tests of the store.
#![allow(clippy::unwrap_used)]

mod fairness;
mod selection;
mod staging;

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use proptest::prelude::*;
use telemeter_wire::{Arena, Encoded, Label, MetricType, Points, Sample, SentLabels, SeriesSet, exposition::Escaping};

use self::selection::selected_under;
use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const WINDOW: Duration = Duration::from_secs(7200);

fn store(max_bytes: usize) -> RecentStore {
    RecentStore::new(RecentStoreConfig { window: WINDOW, max_bytes })
}

/// A series to append: its metric name, its other labels, and the value of its sample.
type Given<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// Appends one sample to each of the series `name{labels}`.
fn append(store: &RecentStore, cluster: &str, series: &[Given<'_>], ms: i64) -> AppendCounts {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    for (name, labels, value) in series {
        let mut all = vec![Label::new("__name__", name)];
        all.extend(labels.iter().map(|(name, value)| Label::new(name, value)));
        set.push(&all, MetricType::Untyped, Points::Sample(Sample { value: *value, timestamp_ms: Some(ms) }));
    }
    store.append(cluster, &set, ms)
}

fn everything(_: &[Label<'_>]) -> bool {
    true
}

fn selected(store: &RecentStore, now_ms: i64, matches: impl Fn(&[Label<'_>]) -> bool) -> String {
    selected_under(Escaping::Underscores, store, now_ms, matches)
}

fn points(store: &RecentStore, cluster: &str, now_ms: i64) -> BTreeMap<String, Vec<(i64, u64)>> {
    let detail = store.cluster(cluster, now_ms, everything, 0..usize::MAX);
    let rows = detail.map(|detail| detail.found.rows).unwrap_or_default();
    let of = |row: SeriesRow| (row.name, row.points.iter().map(|point| (point.ms, point.value.to_bits())).collect());
    rows.into_iter().map(of).collect()
}

#[test]
fn late_samples_and_native_histograms_are_counted_and_not_kept() {
    let store = store(1 << 20);
    assert_eq!(
        append(&store, "c", &[("up", &[], 1.0)], NOW_MS),
        AppendCounts { series: 1, samples: 1, late: 0, histograms: 0 }
    );
    let again = append(&store, "c", &[("up", &[], 2.0)], NOW_MS);
    assert_eq!(again, AppendCounts { series: 1, samples: 0, late: 1, histograms: 0 });
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let histogram = Encoded { payload: &[0x22, 0], sent: SentLabels::Changed, samples: 1, newest_ms: Some(NOW_MS) };
    set.push(&[Label::new("__name__", "native")], MetricType::Untyped, Points::Encoded(histogram));
    assert_eq!(store.append("c", &set, NOW_MS), AppendCounts { series: 0, samples: 0, late: 0, histograms: 1 });
    let detail = store.cluster("c", NOW_MS, everything, 0..10).unwrap();
    assert_eq!((detail.histograms, detail.cluster.series, detail.cluster.samples), (1, 1, 1));
    let old = Points::Sample(Sample { value: 1.0, timestamp_ms: Some(NOW_MS - 7_200_001) });
    set.push(&[Label::new("__name__", "old")], MetricType::Untyped, old);
    assert_eq!(store.append("c", &set, NOW_MS).late, 1);
}

#[test]
fn samples_older_than_the_window_are_removed() {
    let store = store(1 << 20);
    append(&store, "gone", &[("up", &[], 1.0)], NOW_MS);
    append(&store, "c", &[("up", &[], 1.0), ("once", &[], 1.0)], NOW_MS);
    append(&store, "c", &[("up", &[], 2.0)], NOW_MS + 7_200_000);
    store.sweep(NOW_MS + 7_200_001);
    assert!(store.cluster("gone", NOW_MS, everything, 0..1).is_none());
    assert_eq!(
        points(&store, "c", NOW_MS),
        BTreeMap::from([("up".into(), vec![(NOW_MS + 7_200_000, 2_f64.to_bits())])])
    );
    store.sweep(NOW_MS + 20_000_000);
    assert_eq!((store.bytes(), store.totals(NOW_MS).clusters), (0, 0));
}

#[test]
fn over_the_bound_the_cluster_with_the_oldest_write_is_evicted_first() {
    let store = store(40_000);
    let value = "v".repeat(1000);
    let mut pushed = 0;
    while store.evictions() == 0 {
        let id = format!("{pushed}");
        append(&store, &id, &[("up", &[("_id", &id), ("value", &format!("{pushed}{value}"))], 1.0)], NOW_MS + pushed);
        // The first cluster writes again each time, so its write is never the oldest.
        append(&store, "0", &[("up", &[("_id", "0"), ("value", &format!("0{value}"))], 1.0)], NOW_MS + pushed);
        pushed += 1;
        assert!(pushed < 100 && store.bytes() <= 40_000);
    }
    // A table that grows may need more memory than the eviction of one cluster frees.
    let evicted = 1..=i64::try_from(store.evictions()).unwrap();
    for id in 0..pushed {
        let is_stored = store.cluster(&id.to_string(), NOW_MS, everything, 0..1).is_some();
        assert_eq!(is_stored, !evicted.contains(&id), "{id} of {pushed}, evicted {evicted:?}");
    }
    assert!(store.cluster("0", NOW_MS, everything, 0..1).is_some() && *evicted.end() < pushed - 1);
}

#[test]
fn a_single_cluster_loses_its_older_samples() {
    let store = store(6_000);
    for push in 0..400 {
        append(&store, "c", &[("a", &[], 0.1 * push as f64), ("b", &[], 0.7 / (1 + push) as f64)], NOW_MS + push);
        assert!(store.bytes() <= 6_000);
    }
    let left = points(&store, "c", NOW_MS);
    assert_eq!(left["a"].last().unwrap().0, NOW_MS + 399);
    assert!(left["a"].len() > 20 && left["a"].len() < 400);
    assert!(store.evictions() > 0);
}

#[test]
fn a_cluster_that_exceeds_the_bound_alone_is_removed() {
    let store = store(500);
    append(&store, "c", &[("a", &[("k", &"v".repeat(1000))], 1.0)], NOW_MS);
    assert_eq!((store.bytes(), store.totals(NOW_MS).clusters), (0, 0));
}

#[test]
fn the_series_of_a_cluster_are_sorted_filtered_and_paged() {
    let store = store(1 << 20);
    append(&store, "c", &[("up", &[("n", "2")], 1.0), ("up", &[("n", "1")], 1.0), ("alerts", &[], 1.0)], NOW_MS);
    let page = |matches: &dyn Fn(&[Label<'_>]) -> bool, page: std::ops::Range<usize>| {
        let detail = store.cluster("c", NOW_MS, matches, page).unwrap();
        assert_eq!((detail.families, detail.cluster.series), (2, 3));
        let rows =
            detail.found.rows.into_iter().map(|row| (row.name, row.labels.into_iter().map(|label| label.1).collect()));
        (rows.collect::<Vec<(String, String)>>(), detail.found.matched)
    };
    let row = |name: &str, n: &str| (name.to_owned(), n.to_owned());
    assert_eq!(page(&everything, 0..9), (vec![row("alerts", ""), row("up", "1"), row("up", "2")], 3));
    assert_eq!(page(&everything, 1..2), (vec![row("up", "1")], 3));
    assert_eq!(page(&everything, 7..9), (vec![], 3));
    assert_eq!(page(&|labels| labels[0].value == "up", 1..9), (vec![row("up", "2")], 2));
    assert!(store.cluster("unknown", NOW_MS, everything, 0..1).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Compares the store with a model: a map of all samples that were appended and are in the window.
    #[test]
    fn all_samples_within_the_window_are_kept(
        steps in prop::collection::vec((0..3_usize, 0..5_usize, 0..900_000_i64, any::<bool>(), -3..4_i32), 1..120),
    ) {
        let store = store(8 << 20);
        let mut model = BTreeMap::<(usize, String), Vec<(i64, u64)>>::new();
        let mut now = NOW_MS;
        for (cluster, series, step, sweeps, value) in steps {
            now += step;
            let (name, value) = (format!("m{series}"), f64::from(value) / 3.0);
            append(&store, &format!("c{cluster}"), &[(&name, &[("_id", "x")], value)], now);
            let held = model.entry((cluster, name)).or_default();
            if held.last().is_none_or(|last| last.0 < now) {
                held.push((now, value.to_bits()));
            }
            if sweeps {
                store.sweep(now);
            }
        }
        store.sweep(now);
        for cluster in 0..3 {
            let expected: BTreeMap<_, _> = model
                .iter()
                .filter(|((of, _), _)| *of == cluster)
                .map(|((_, name), held)| {
                    (name.clone(), held.iter().copied().filter(|(ms, _)| *ms >= now - 7_200_000).collect::<Vec<_>>())
                })
                .filter(|(_, held)| !held.is_empty())
                .collect();
            prop_assert_eq!(points(&store, &format!("c{cluster}"), now), expected);
        }
    }

    #[test]
    fn the_bound_always_holds(
        max_bytes in 0..30_000_usize,
        steps in prop::collection::vec((0..20_usize, 1..20_usize, 0..2000_i64, 0..3_u8, any::<f64>()), 1..150),
    ) {
        let store = store(max_bytes);
        let mut now = NOW_MS;
        for (cluster, series, step, what, value) in steps {
            now += step * 1000;
            let names: Vec<_> = (0..series).map(|at| format!("m{cluster}_{at}")).collect();
            let all: Vec<_> = names.iter().map(|name| (name.as_str(), &[("_id", "x")][..], value)).collect();
            append(&store, &format!("c{cluster}"), &all, now);
            prop_assert!(store.bytes() <= max_bytes);
            if what == 0 {
                store.sweep(now);
            }
            let sum: usize = store.shards.iter().map(|locked| locked.shard.lock().heap_bytes()).sum();
            prop_assert_eq!(sum, store.bytes());
            prop_assert_eq!(store.totals(now).clusters, store.clusters.load(Ordering::Relaxed));
        }
        store.sweep(now + 10_000_000);
        prop_assert_eq!(store.bytes(), 0);
    }
}

#[test]
fn threads_may_write_read_and_sweep_at_once() {
    let store = store(200_000);
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let store = &store;
            scope.spawn(move || {
                for push in 0..200_i64 {
                    let id = format!("c{}", (push * 7 + thread) % 40);
                    let name = format!("m{push}");
                    append(store, &id, &[(&name, &[("_id", &id)], 1.0), ("up", &[("_id", &id)], 1.0)], NOW_MS + push);
                    match push % 50 {
                        3 => store.sweep(NOW_MS + push),
                        7 => drop(selected(store, NOW_MS + push, everything)),
                        11 => store.for_each_series(&mut (), |(), _, _| true, |(), _, _| ()),
                        _ => {}
                    }
                }
            });
        }
    });
    assert!(store.bytes() <= 200_000);
    let sum: usize = store.shards.iter().map(|locked| locked.shard.lock().heap_bytes()).sum();
    assert_eq!(sum, store.bytes());
}
