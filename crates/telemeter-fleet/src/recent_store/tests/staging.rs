//! Requests are staged, and committed once the store behind us has accepted them.

use super::*;

/// A request with one series for each name, and the positions of its series.
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
fn staged_samples_are_added_by_the_commit() {
    let store = store(1 << 20);
    let (message, layout) = request(&["up", "build_info"], 4.0, NOW_MS);
    let staged = store.stage("c", layout.series(&message));
    assert_eq!((store.bytes(), selected(&store, NOW_MS, everything).len()), (0, 0), "the request is not committed");
    assert_eq!(store.commit("c", &staged, NOW_MS), AppendCounts { series: 2, samples: 2, ..AppendCounts::default() });
    assert!(selected(&store, NOW_MS, everything).ends_with("up{_id=\"c\"} 4 1700000000000\n"));
    let row = store.cluster("c", NOW_MS, everything, 0..1).unwrap().found.rows.remove(0);
    assert_eq!(row.kind, MetricType::Counter);
    // A request that the store behind us refused.
    let (message, layout) = request(&["up", "other"], 5.0, NOW_MS + 1);
    drop(store.stage("c", layout.series(&message)));
    assert_eq!(points(&store, "c", NOW_MS)["up"], [(NOW_MS, 4_f64.to_bits())]);
    assert_eq!(store.cluster("c", NOW_MS, everything, 0..9).unwrap().cluster.series, 2);
}

#[test]
fn the_store_may_change_between_stage_and_commit() {
    let store = store(1 << 20);
    let stage = |names: &[&str], value, ms| {
        let (message, layout) = request(names, value, ms);
        store.stage("c", layout.series(&message))
    };
    // Two requests have the same new series.
    let (one, other) = (stage(&["a", "b"], 1.0, NOW_MS), stage(&["b", "a"], 2.0, NOW_MS + 1));
    assert_eq!(store.commit("c", &one, NOW_MS).samples + store.commit("c", &other, NOW_MS).samples, 4);
    assert_eq!(store.cluster("c", NOW_MS, everything, 0..9).unwrap().cluster.series, 2);
    // Other series are removed meanwhile, so that indices change.
    let late = stage(&["b"], 3.0, NOW_MS + 7_200_001);
    let fresh = stage(&["b", "c"], 4.0, NOW_MS + 7_200_002);
    assert_eq!(store.commit("c", &stage(&["b"], 2.5, NOW_MS + 2), NOW_MS).samples, 1);
    store.sweep(NOW_MS + 7_200_002);
    assert_eq!(points(&store, "c", NOW_MS), BTreeMap::from([("b".into(), vec![(NOW_MS + 2, 2.5_f64.to_bits())])]));
    assert_eq!(store.commit("c", &late, NOW_MS + 7_200_002).samples, 1);
    // The series itself is removed: then the next request adds it again.
    store.sweep(NOW_MS + 20_000_000);
    assert_eq!(
        store.commit("c", &fresh, NOW_MS + 7_200_002),
        AppendCounts { series: 1, samples: 1, late: 1, histograms: 0 }
    );
    assert_eq!(store.commit("c", &stage(&["b"], 5.0, NOW_MS + 7_200_003), NOW_MS + 7_200_003).samples, 1);
}

#[test]
fn another_encoding_of_the_same_labels_is_the_same_series() {
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
