//! Selection for `/federate`: escaped names, stale series, and large results.

use telemeter_wire::{
    DecodeLimits,
    exposition::{self, ExpositionFormat},
};

use super::*;

pub(super) fn selected_under(
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
            // Metric names that would become equal, and label names: of one series, and of two.
            ("a.b", &[], 1.0),
            ("a_b", &[], 2.0),
            ("a-b", &[], 3.0),
            ("m", &[("k.1", "x"), ("k_1", "x")], 4.0),
            ("n", &[("k.1", "x")], 5.0),
            ("n", &[("k_1", "x")], 6.0),
            // A label that would become the metric name.
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
    // Without the others, the plain escaping is used.
    let one = |labels: &[Label<'_>]| labels[0].value == "a.b";
    assert_eq!(selected(&store, NOW_MS, one), "# TYPE a_b untyped\na_b 1 1700000000000\n");
}

#[test]
fn series_whose_names_cannot_be_distinguished_are_left_out_and_counted() {
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

proptest! {
    /// For any names: the text can be parsed, and has as many different series as the store, but for the number of series
    /// that its comment says are left out.
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
            exposition::decode(ExpositionFormat::Text, text.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text that can be parsed");
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
