//! Eviction is fair: clusters that send much lose data before those that send little.

use super::*;

/// Appends `series` series of a cluster with one sample each; their names are numbered from `first` on.
fn push(store: &RecentStore, cluster: &str, first: usize, series: usize, ms: i64) {
    let names: Vec<String> = (first..first + series).map(|at| format!("metric_number_{at}")).collect();
    let labels = [("_id", cluster), ("namespace", "openshift-monitoring")];
    let all: Vec<Given<'_>> = names.iter().map(|name| (name.as_str(), &labels[..], ms as f64 / 7.0)).collect();
    append(store, cluster, &all, ms);
}

fn bytes_of(store: &RecentStore, cluster: &str) -> usize {
    store.cluster(cluster, NOW_MS, everything, 0..1).map_or(0, |detail| detail.bytes)
}

#[test]
fn a_cluster_that_sends_much_does_not_evict_quiet_ones() {
    let store = store(400_000);
    let quiet: Vec<String> = (0..20).map(|at| format!("quiet-{at}")).collect();
    for (at, cluster) in quiet.iter().enumerate() {
        for round in 0..3 {
            push(&store, cluster, 0, 20, NOW_MS + round * 270_000 + at as i64);
        }
    }
    let before: Vec<_> = quiet.iter().map(|cluster| points(&store, cluster, NOW_MS)).collect();
    assert_eq!(store.evictions(), 0);
    // All series of each push are new, like those of short-lived pods.
    for round in 0..200 {
        push(&store, "loud", round * 100, 100, NOW_MS + 600_000 + round as i64 * 15_000);
        assert!(store.bytes() <= 400_000);
    }
    assert!(store.evictions() > 3, "{}", store.evictions());
    let after: Vec<_> = quiet.iter().map(|cluster| points(&store, cluster, NOW_MS)).collect();
    assert_eq!(before, after, "the quiet clusters have all samples that they sent");
    let loud = points(&store, "loud", NOW_MS);
    assert!(
        loud.contains_key("metric_number_19999") && !loud.contains_key("metric_number_0"),
        "it has the series that it sent last"
    );
    assert!(bytes_of(&store, "loud") > 100_000, "it has the memory that the others do not use");
}

#[test]
fn long_texts_count_for_the_cluster_that_sends_them() {
    let store = store(400_000);
    for at in 0..10 {
        push(&store, &format!("quiet-{at}"), 0, 20, NOW_MS);
    }
    for round in 0..100 {
        let value = format!("{round}{}", "x".repeat(10_000));
        append(&store, "loud", &[("up", &[("_id", "loud"), ("text", &value)], 1.0)], NOW_MS + 1 + round);
        assert!(store.bytes() <= 400_000);
    }
    for at in 0..10 {
        assert_eq!(points(&store, &format!("quiet-{at}"), NOW_MS).len(), 20, "quiet-{at}");
    }
}

#[test]
fn the_largest_cluster_keeps_its_newest_samples() {
    let store = store(300_000);
    push(&store, "quiet", 0, 5, NOW_MS);
    for round in 0..2000 {
        push(&store, "long", 0, 100, NOW_MS + round * 1000);
        push(&store, "wide", 0, 600, NOW_MS + round / 100);
    }
    let long = points(&store, "long", NOW_MS);
    assert_eq!(long.len(), 100);
    assert!(long.values().all(|held| held.last().is_some_and(|last| last.0 == NOW_MS + 1_999_000)));
    assert!(long.values().all(|held| (1..2000).contains(&held.len())), "its older samples made room");
    assert_eq!(points(&store, "wide", NOW_MS).len(), 600);
    assert_eq!(points(&store, "quiet", NOW_MS).len(), 5);
}

#[test]
fn of_many_equal_clusters_those_with_the_oldest_write_are_evicted() {
    let store = store(200_000);
    for at in 0..200_i64 {
        push(&store, &format!("c{at:03}"), 0, 40, NOW_MS + at);
        assert!(store.bytes() <= 200_000);
    }
    let held: Vec<bool> = (0..200).map(|at| bytes_of(&store, &format!("c{at:03}")) > 0).collect();
    let first = held.iter().position(|held| *held).unwrap();
    assert!((100..199).contains(&first), "{first}");
    assert!(held[first..].iter().all(|held| *held), "{held:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Compares a bounded store with one that is large enough for all samples: a cluster with less than a quarter of its
    /// share in the large one has lost nothing in the bounded one.
    #[test]
    fn a_small_cluster_keeps_all_samples(
        max_bytes in 100_000..400_000_usize,
        pushes in prop::collection::vec((0..12_usize, 0..40_usize, 1..500_usize, 0..30_000_i64), 50..200),
        loud in prop::collection::vec(any::<bool>(), 12),
    ) {
        let (bounded, roomy) = (store(max_bytes), store(1 << 30));
        let mut now = NOW_MS;
        for (at, &(cluster, first, series, step)) in pushes.iter().enumerate() {
            now += step.min(7_000_000 / pushes.len() as i64);
            let (first, series) = if loud[cluster] { (first + at * 20, series) } else { (first % 4, series % 8 + 1) };
            for store in [&bounded, &roomy] {
                push(store, &format!("c{cluster}"), first, series, now);
            }
            prop_assert!(bounded.bytes() <= max_bytes);
        }
        for cluster in 0..12 {
            let id = format!("c{cluster}");
            if bytes_of(&roomy, &id) <= max_bytes / 12 / 4 {
                prop_assert_eq!(points(&bounded, &id, now), points(&roomy, &id, now), "{}", id);
            }
        }
    }
}
