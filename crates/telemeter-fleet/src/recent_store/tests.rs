#![allow(clippy::unwrap_used)]

mod fairness;

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use proptest::prelude::*;
use telemeter_wire::{
    Arena, DecodeLimits, Encoded, Label, MetricType, Points, Sample, SeriesSet,
    exposition::{self, Escaping, ExpositionFormat},
};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const WINDOW: Duration = Duration::from_secs(7200);

fn store(max_bytes: usize) -> RecentStore {
    RecentStore::new(RecentStoreConfig { window: WINDOW, max_bytes })
}

/// A name, labels, a value.
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

fn selected_under(
    escaping: Escaping,
    store: &RecentStore,
    now_ms: i64,
    matches: impl Fn(&[Label<'_>]) -> bool,
) -> String {
    let mut text = Vec::new();
    let _ = store.select(now_ms, escaping, matches, |piece| {
        text.extend_from_slice(&piece);
        ControlFlow::Continue(())
    });
    String::from_utf8(text).unwrap()
}

fn points(store: &RecentStore, cluster: &str, now_ms: i64) -> BTreeMap<String, Vec<(i64, u64)>> {
    let detail = store.cluster(cluster, now_ms, everything, 0..usize::MAX);
    let rows = detail.map(|detail| detail.found.rows).unwrap_or_default();
    let of = |row: SeriesRow| (row.name, row.points.iter().map(|point| (point.ms, point.value.to_bits())).collect());
    rows.into_iter().map(of).collect()
}

#[test]
fn the_newest_samples_come_back_sorted_by_name() {
    let store = store(1 << 20);
    append(&store, "b", &[("up", &[("_id", "b"), ("job", "x")], 0.0), ("alerts", &[("_id", "b")], 1e6)], NOW_MS);
    append(&store, "b", &[("up", &[("_id", "b"), ("job", "x")], 1.0)], NOW_MS + 1000);
    assert_eq!(
        selected(&store, NOW_MS + 2000, everything),
        "# TYPE alerts untyped\nalerts{_id=\"b\"} 1e+06 1700000000000\n\
         # TYPE up untyped\nup{_id=\"b\",job=\"x\"} 1 1700000001000\n"
    );
    let of_up = |labels: &[Label<'_>]| labels[0].value == "up";
    assert_eq!(selected(&store, NOW_MS + 2000, of_up), "# TYPE up untyped\nup{_id=\"b\",job=\"x\"} 1 1700000001000\n");
}

#[test]
fn names_are_escaped_as_the_reader_asks() {
    let store = store(1 << 20);
    append(&store, "c", &[("a.b", &[("k-8", "q\"\\\n")], 1.0), ("9", &[], 3.0)], NOW_MS);
    for (escaping, expected) in [
        (Escaping::Underscores, "# TYPE _ untyped\n_ 3 T\n# TYPE a_b untyped\na_b{k_8=\"q\\\"\\\\\\n\"} 1 T\n"),
        (Escaping::Dots, "# TYPE __ untyped\n__ 3 T\n# TYPE a_dot_b untyped\na_dot_b{k__8=\"q\\\"\\\\\\n\"} 1 T\n"),
        (
            Escaping::Values,
            "# TYPE U___39_ untyped\nU___39_ 3 T\n# TYPE U__a_2e_b untyped\nU__a_2e_b{U__k_2d_8=\"q\\\"\\\\\\n\"} 1 T\n",
        ),
        (
            Escaping::AllowUtf8,
            "# TYPE \"9\" untyped\n{\"9\"} 3 T\n# TYPE \"a.b\" untyped\n{\"a.b\",\"k-8\"=\"q\\\"\\\\\\n\"} 1 T\n",
        ),
    ] {
        let expected = expected.replace('T', "1700000000000").replace("# 1700000000000YPE", "# TYPE");
        assert_eq!(selected_under(escaping, &store, NOW_MS, everything), expected, "{escaping:?}");
    }
}

#[test]
fn two_series_never_become_one_line() {
    let store = store(1 << 20);
    append(
        &store,
        "c",
        &[
            // Metrics that would be one, and labels: of one series, and of two.
            ("a.b", &[], 1.0),
            ("a_b", &[], 2.0),
            ("a-b", &[], 3.0),
            ("m", &[("k.1", "x"), ("k_1", "x")], 4.0),
            ("n", &[("k.1", "x")], 5.0),
            ("n", &[("k_1", "x")], 6.0),
            // One that would become the name of the metric.
            ("o", &[("._name__", "x")], 7.0),
        ],
        NOW_MS,
    );
    assert_eq!(
        selected(&store, NOW_MS, everything).replace(" 1700000000000", ""),
        "# TYPE U__a_2d_b untyped\nU__a_2d_b 3\n# TYPE U__a_2e_b untyped\nU__a_2e_b 1\n# TYPE a_b untyped\na_b 2\n\
         # TYPE m untyped\nm{U__k_2e_1=\"x\",k_1=\"x\"} 4\n# TYPE n untyped\nn{U__k_2e_1=\"x\"} 5\nn{k_1=\"x\"} 6\n\
         # TYPE o untyped\no{U___2e___name____=\"x\"} 7\n"
    );
    // Without the others, nothing is in its way.
    let one = |labels: &[Label<'_>]| labels[0].value == "a.b";
    assert_eq!(selected(&store, NOW_MS, one), "# TYPE a_b untyped\na_b 1 1700000000000\n");
}

#[test]
fn what_cannot_be_told_apart_is_left_out_and_counted() {
    let store = store(1 << 20);
    let values = ("U__a_2e_b", &[][..], 1.0);
    append(
        &store,
        "c",
        &[("a.b", &[], 2.0), values, ("m", &[("k.1", "")], 3.0), ("m", &[("k.1", "x"), ("U__k_2e_1", "x")], 4.0)],
        NOW_MS,
    );
    assert_eq!(
        selected_under(Escaping::Values, &store, NOW_MS, |labels| labels[0].value != "m"),
        "# TYPE U__a_2e_b untyped\nU__a_2e_b 1 1700000000000\n\
         # 1 series are left out: under escaping=values, their names are those of others\n"
    );
    let text = selected_under(Escaping::Values, &store, NOW_MS, everything);
    assert!(
        text.ends_with("# 3 series are left out: under escaping=values, their names are those of others\n"),
        "{text}"
    );
}

#[test]
fn a_series_without_a_recent_sample_or_with_a_stale_marker_has_no_current_value() {
    let store = store(1 << 20);
    append(&store, "c", &[("up", &[], 1.0), ("ended", &[], 1.0)], NOW_MS);
    append(&store, "c", &[("ended", &[], f64::from_bits(0x7ff0_0000_0000_0002))], NOW_MS + 1000);
    assert_eq!(selected(&store, NOW_MS + 600_000, everything), "# TYPE up untyped\nup 1 1700000000000\n");
    assert_eq!(selected(&store, NOW_MS + 600_001, everything), "");
    assert_eq!(points(&store, "c", NOW_MS)["ended"].len(), 2);
}

#[test]
fn a_large_selection_comes_in_pieces_and_can_be_ended() {
    let store = store(64 << 20);
    let long = "x".repeat(500);
    for cluster in 0..600 {
        let id = format!("cluster-{cluster}");
        let up: Vec<_> =
            ["a", "b", "c", "d", "e"].map(|job| [("_id", id.as_str()), ("job", job), ("long", &long)]).into();
        let mut series: Vec<_> = up.iter().map(|labels| ("up", &labels[..], 1.0)).collect();
        series.push(("alerts", &up[0][..1], 1.0));
        append(&store, &id, &series, NOW_MS);
    }
    let (mut pieces, mut text) = (0, Vec::new());
    let _ = store.select(NOW_MS, Escaping::Underscores, everything, |piece| {
        assert!(piece.len() <= 64 * 1024 && !piece.is_empty());
        pieces += 1;
        text.extend_from_slice(&piece);
        ControlFlow::Continue(())
    });
    let text = String::from_utf8(text).unwrap();
    assert!(pieces > 20, "{pieces}");
    assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), 2);
    assert_eq!(text.lines().filter(|line| line.starts_with("up{")).count(), 3000);
    assert_eq!(text.lines().filter(|line| line.starts_with("alerts{")).count(), 600);
    let mut pieces = 0;
    let ended = store.select(NOW_MS, Escaping::Underscores, everything, |_| {
        pieces += 1;
        ControlFlow::Break(())
    });
    assert_eq!((ended, pieces), (ControlFlow::Break(()), 1));
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
    let histogram = Encoded { payload: &[0x22, 0], whole: None, samples: 1, newest_ms: Some(NOW_MS) };
    set.push(&[Label::new("__name__", "native")], MetricType::Untyped, Points::Encoded(histogram));
    assert_eq!(store.append("c", &set, NOW_MS), AppendCounts { series: 0, samples: 0, late: 0, histograms: 1 });
    let detail = store.cluster("c", NOW_MS, everything, 0..10).unwrap();
    assert_eq!((detail.histograms, detail.cluster.series, detail.cluster.samples), (1, 1, 1));
    let old = Points::Sample(Sample { value: 1.0, timestamp_ms: Some(NOW_MS - 7_200_001) });
    set.push(&[Label::new("__name__", "old")], MetricType::Untyped, old);
    assert_eq!(store.append("c", &set, NOW_MS).late, 1);
}

#[test]
fn the_window_passes() {
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
fn over_the_bound_the_one_that_wrote_longest_ago_goes_first() {
    let store = store(40_000);
    let value = "v".repeat(1000);
    let mut pushed = 0;
    while store.evictions() == 0 {
        let id = format!("{pushed}");
        append(&store, &id, &[("up", &[("_id", &id), ("value", &format!("{pushed}{value}"))], 1.0)], NOW_MS + pushed);
        // The first writes again each time: it is never the oldest.
        append(&store, "0", &[("up", &[("_id", "0"), ("value", &format!("0{value}"))], 1.0)], NOW_MS + pushed);
        pushed += 1;
        assert!(pushed < 100 && store.bytes() <= 40_000);
    }
    // A table that grows may take more room than one cluster gives.
    let evicted = 1..=i64::try_from(store.evictions()).unwrap();
    for id in 0..pushed {
        let is_held = store.cluster(&id.to_string(), NOW_MS, everything, 0..1).is_some();
        assert_eq!(is_held, !evicted.contains(&id), "{id} of {pushed}, evicted {evicted:?}");
    }
    assert!(store.cluster("0", NOW_MS, everything, 0..1).is_some() && *evicted.end() < pushed - 1);
}

#[test]
fn one_that_is_alone_loses_its_older_samples() {
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
fn what_can_never_fit_is_dropped() {
    let store = store(500);
    append(&store, "c", &[("a", &[("k", &"v".repeat(1000))], 1.0)], NOW_MS);
    assert_eq!((store.bytes(), store.totals(NOW_MS).clusters), (0, 0));
}

/// A request of one series of each name, and where its series stand.
fn request(names: &[&str], value: f64, ms: i64) -> (Vec<u8>, Layout) {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    for name in names {
        let point = Points::Sample(Sample { value, timestamp_ms: Some(ms) });
        set.push(&[Label::new("__name__", name), Label::new("_id", "c")], MetricType::Counter, point);
    }
    let (mut message, mut layout) = (Vec::new(), Layout::default());
    remote_write::encode_placed(&set, &mut message, &mut layout);
    (message, layout)
}

#[test]
fn what_is_staged_is_kept_once_it_is_committed() {
    let store = store(1 << 20);
    let (message, layout) = request(&["up", "build_info"], 4.0, NOW_MS);
    let staged = store.stage("c", layout.series(&message));
    assert_eq!((store.bytes(), selected(&store, NOW_MS, everything).len()), (0, 0), "the store has not answered");
    assert_eq!(store.commit("c", &staged, NOW_MS), AppendCounts { series: 2, samples: 2, ..AppendCounts::default() });
    assert!(selected(&store, NOW_MS, everything).ends_with("up{_id=\"c\"} 4 1700000000000\n"));
    let row = store.cluster("c", NOW_MS, everything, 0..1).unwrap().found.rows.remove(0);
    assert_eq!(row.kind, MetricType::Counter);
    // One that the store refused.
    let (message, layout) = request(&["up", "other"], 5.0, NOW_MS + 1);
    drop(store.stage("c", layout.series(&message)));
    assert_eq!(points(&store, "c", NOW_MS)["up"], [(NOW_MS, 4_f64.to_bits())]);
    assert_eq!(store.cluster("c", NOW_MS, everything, 0..9).unwrap().cluster.series, 2);
}

#[test]
fn what_happens_between_staging_and_committing() {
    let store = store(1 << 20);
    let stage = |names: &[&str], value, ms| {
        let (message, layout) = request(names, value, ms);
        store.stage("c", layout.series(&message))
    };
    // Two bring the same new series at once.
    let (one, other) = (stage(&["a", "b"], 1.0, NOW_MS), stage(&["b", "a"], 2.0, NOW_MS + 1));
    assert_eq!(store.commit("c", &one, NOW_MS).samples + store.commit("c", &other, NOW_MS).samples, 4);
    assert_eq!(store.cluster("c", NOW_MS, everything, 0..9).unwrap().cluster.series, 2);
    // Others move meanwhile.
    let late = stage(&["b"], 3.0, NOW_MS + 7_200_001);
    let fresh = stage(&["b", "c"], 4.0, NOW_MS + 7_200_002);
    assert_eq!(store.commit("c", &stage(&["b"], 2.5, NOW_MS + 2), NOW_MS).samples, 1);
    store.sweep(NOW_MS + 7_200_002);
    assert_eq!(points(&store, "c", NOW_MS), BTreeMap::from([("b".into(), vec![(NOW_MS + 2, 2.5_f64.to_bits())])]));
    assert_eq!(store.commit("c", &late, NOW_MS + 7_200_002).samples, 1);
    // Or go: then the next request brings them again.
    store.sweep(NOW_MS + 20_000_000);
    assert_eq!(
        store.commit("c", &fresh, NOW_MS + 7_200_002),
        AppendCounts { series: 1, samples: 1, late: 1, histograms: 0 }
    );
    assert_eq!(store.commit("c", &stage(&["b"], 5.0, NOW_MS + 7_200_003), NOW_MS + 7_200_003).samples, 1);
}

#[test]
fn another_spelling_of_the_same_labels_is_the_same_series() {
    let store = store(1 << 20);
    // {__name__="up"} with a sample; the length of the label takes two bytes where one is enough.
    let label = [&[0x0a, 8][..], b"__name__", &[0x12, 2], b"up"].concat();
    let sample = |ms: u8| vec![0x12, 11, 0x09, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x10, ms];
    for (length, ms) in [(vec![14], 1), (vec![0x8e, 0], 2), (vec![0x8e, 0], 3), (vec![14], 4)] {
        let labels = [&[0x0a][..], &length, &label].concat();
        let message = [labels.clone(), sample(ms)].concat();
        let mut layout = Layout::default();
        layout.push(0..labels.len(), message.len(), MetricType::Untyped);
        let staged = store.stage("c", layout.series(&message));
        assert_eq!(store.commit("c", &staged, 5).samples, 1, "{ms}");
    }
    let seen = points(&store, "c", 5);
    assert_eq!(seen["up"].iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(store.cluster("c", 5, everything, 0..9).unwrap().cluster.series, 1);
}

#[test]
fn lists_are_sorted_filtered_and_paged() {
    let store = store(1 << 20);
    for (id, series) in [("b", 3), ("a", 1), ("c", 2)] {
        let labels = ["1", "2", "3"].map(|n| [("n", n)]);
        let all: Vec<_> = labels[..series].iter().map(|labels| ("up", &labels[..], 1.0)).collect();
        append(&store, id, &all, NOW_MS + series as i64);
    }
    append(&store, "c", &[("alerts", &[], 1.0)], NOW_MS + 9);
    let ids = |by, order, page| {
        let found = store.clusters(NOW_MS, |_| true, by, order, page);
        assert_eq!(found.matched, 3);
        found.rows.iter().map(|row| row.id.to_string()).collect::<String>()
    };
    assert_eq!(ids(ClusterOrder::Id, SortOrder::Ascending, 0..9), "abc");
    assert_eq!(ids(ClusterOrder::Id, SortOrder::Descending, 0..9), "cba");
    assert_eq!(ids(ClusterOrder::Id, SortOrder::Ascending, 1..2), "b");
    assert_eq!(ids(ClusterOrder::Id, SortOrder::Ascending, 7..9), "");
    assert_eq!(ids(ClusterOrder::Series, SortOrder::Ascending, 0..9), "abc");
    assert_eq!(ids(ClusterOrder::Seen, SortOrder::Descending, 0..9), "cba");
    assert_eq!(store.clusters(NOW_MS, |id| id == "b", ClusterOrder::Id, SortOrder::Ascending, 0..9).matched, 1);
    let families = store.families(|_| true, FamilyOrder::Series, SortOrder::Descending, 0..9).rows;
    assert_eq!(families[0], FamilyRow { name: "up".into(), clusters: 3, series: 6 });
    assert_eq!(families[1], FamilyRow { name: "alerts".into(), clusters: 1, series: 1 });
    let names =
        |by, order| store.families(|_| true, by, order, 0..9).rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(names(FamilyOrder::Name, SortOrder::Descending), ["up", "alerts"]);
    append(&store, "c", &[("zero", &[], 1.0)], NOW_MS + 9);
    assert_eq!(names(FamilyOrder::Clusters, SortOrder::Descending), ["up", "alerts", "zero"]);
    assert!(store.cluster("nobody", NOW_MS, everything, 0..1).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a model: a map of all that was appended and is in the window.
    #[test]
    fn what_was_appended_within_the_window_comes_back(
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
    fn the_bound_holds_whatever_comes(
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
                        11 => drop(store.families(|_| true, FamilyOrder::Name, SortOrder::Ascending, 0..9)),
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

proptest! {
    /// Whatever the names are: the answer is read again, and has as many different series as the store, but for those that
    /// it says are left out.
    #[test]
    fn every_series_is_one_line(
        series in proptest::collection::vec(("[ab_.:-]{1,3}", proptest::collection::btree_map("[ab_.:-]{1,3}|[.]_name__|U__a_2e_b", "[xy]", 0..3)), 0..12)
    ) {
        let store = store(1 << 20);
        let mut expected = std::collections::BTreeSet::new();
        for (name, labels) in &series {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            append(&store, "c", &[(name, &labels, 1.0)], NOW_MS);
            expected.insert((name, labels));
        }
        for escaping in [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values] {
            let text = selected_under(escaping, &store, NOW_MS, everything);
            let left_out = text.lines().rfind(|line| line.contains("left out"));
            let left_out: usize = left_out.map_or(0, |line| line.split(' ').nth(1).unwrap().parse().unwrap());
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            exposition::decode(ExpositionFormat::Text, text.as_bytes(), &DecodeLimits::default(), &mut set).expect("what a reader takes");
            let different: std::collections::BTreeSet<_> = set
                .iter()
                .map(|series| {
                    let mut labels = series.labels.to_vec();
                    labels.sort_unstable();
                    labels
                })
                .collect();
            prop_assert_eq!(different.len(), set.len(), "{}", text);
            prop_assert_eq!(set.len() + left_out, expected.len(), "{}", text);
        }
    }
}
