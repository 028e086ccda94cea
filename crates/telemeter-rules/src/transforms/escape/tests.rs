use proptest::prelude::*;
use telemeter_wire::{MetricType, Points, Sample, SeriesSet};

use super::*;
use crate::{canonical::is_canonical, testing::text_of, transform::run, transform::run_partial};

/// A series as labels with `=` between name and value, the metric's name first.
fn push<'a>(set: &mut SeriesSet<'a>, series: &[&'a str]) {
    let labels = series.iter().map(|text| text.split_once('=').unwrap_or(("__name__", text)));
    let mut labels: Vec<_> = labels.map(|(name, value)| Label::new(name, value)).collect();
    labels.sort_unstable();
    set.push(&labels, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: None }));
}

fn check(escaping: Option<Escaping>, series: &[&[&str]], expected: Result<&str, &str>) {
    let (step, arena) = (EscapeNames::new(escaping), Arena::new());
    let mut set = SeriesSet::new_in(&arena);
    series.iter().for_each(|series| push(&mut set, series));
    let result = run(&mut set, &[&step], &mut StepCounts::default());
    let result = result.map(|()| text_of(&set)).map_err(|refusal| refusal.to_string());
    assert_eq!(result, expected.map(str::to_owned).map_err(str::to_owned), "{series:?}");
    assert!(expected.is_err() || set.iter().all(|series| is_canonical(series.labels)));
}

/// As `EscapeMetricFamily` and `EscapeName` of Go's `github.com/prometheus/common/model` have it, but for what
/// [`Escaping::escape`] says.
#[test]
fn names_are_escaped_and_values_stay() {
    let series: &[&[&str]] = &[&["up", "job=a.b"], &["http.status", "a_b=1", "k8s.pod=x.y"]];
    let text = "up{job=\"a.b\"} 1\n";
    let with = |line: &str| format!("{text}{line}");
    check(Some(Escaping::Underscores), series, Ok(&with("http_status{a_b=\"1\",k8s_pod=\"x.y\"} 1\n")));
    check(Some(Escaping::Dots), series, Ok(&with("http_dot_status{a_b=\"1\",k8s_dot_pod=\"x.y\"} 1\n")));
    check(Some(Escaping::Values), series, Ok(&with("U__http_2e_status{U__k8s_2e_pod=\"x.y\",a_b=\"1\"} 1\n")));
    for escaping in [None, Some(Escaping::AllowUtf8)] {
        check(escaping, series, Ok(&with("{\"http.status\",a_b=\"1\",\"k8s.pod\"=\"x.y\"} 1\n")));
    }
    // Colons are for metric names.
    check(Some(Escaping::Underscores), &[&["a:b", "c:d=1"]], Ok("a:b{c_d=\"1\"} 1\n"));
    check(Some(Escaping::Underscores), &[&["9l\u{f6}ves"]], Ok("_l_ves 1\n"));
}

#[test]
fn series_that_would_become_one_are_refused_in_any_order() {
    let under = Some(Escaping::Underscores);
    let text = "two series would become one with escaped names: ";
    let (dot, plain, dash): (&[&str], &[&str], &[&str]) =
        (&["http.status", "job=a"], &["http_status", "job=a"], &["http-status", "job=a"]);
    check(under, &[dot, plain], Err(&format!("{text}http.status{{job}} and http_status{{job}}")));
    check(under, &[plain, dot], Err(&format!("{text}http_status{{job}} and http.status{{job}}")));
    check(under, &[dot, dash], Err(&format!("{text}http.status{{job}} and http-status{{job}}")));
    check(under, &[&["up", "a.b=1"], &["up", "a_b=1"]], Err(&format!("{text}up{{a.b}} and up{{a_b}}")));
    // Other values, another series; one series twice is one.
    check(under, &[dot, &["http_status", "job=b"]], Ok("http_status{job=\"a\"} 1\nhttp_status{job=\"b\"} 1\n"));
    check(under, &[dot, dot], Ok("http_status{job=\"a\"} 1\nhttp_status{job=\"a\"} 1\n"));
    check(under, &[plain, plain], Ok("http_status{job=\"a\"} 1\nhttp_status{job=\"a\"} 1\n"));
    // These names stay apart.
    check(Some(Escaping::Dots), &[dot, plain], Ok("http_dot_status{job=\"a\"} 1\nhttp_status{job=\"a\"} 1\n"));
    let long = format!("a.{}", "b".repeat(300));
    let other = long.replace('.', "_");
    let cut = |name: &str| format!("{name}{{}}").chars().take(128).collect::<String>();
    check(under, &[&[&long], &[&other]], Err(&format!("{text}{} and {}", cut(&long), cut(&other))));
}

#[test]
fn labels_that_would_become_one_are_refused() {
    let under = Some(Escaping::Underscores);
    let text = "two labels of one series would become one with escaped names: ";
    check(under, &[&["up", "a.b=1", "a_b=2"]], Err(&format!("{text}a.b and a_b")));
    check(under, &[&["up", "a.b=1", "a-b=1"]], Err(&format!("{text}a-b and a.b")));
}

#[test]
fn in_a_partial_write_the_first_of_both_is_kept() {
    let (step, arena) = (EscapeNames::new(Some(Escaping::Underscores)), Arena::new());
    let mut set = SeriesSet::new_in(&arena);
    for series in [&["a.b"][..], &["a_b"], &["c"], &["a.b"]] {
        push(&mut set, series);
    }
    let mut refused = 0;
    run_partial(&mut set, &[&step], &mut StepCounts::default(), |_, _| refused += 1);
    assert_eq!((refused, text_of(&set)), (1, "a_b 1\nc 1\na_b 1\n".to_owned()));
}

proptest! {
    /// What is sent is of the old alphabet and canonical, and no two series that differed are one.
    #[test]
    fn nothing_is_merged(
        all in prop::collection::vec((".{1,3}|[a._-]{1,3}", prop::collection::btree_map("[ab._-]{1,3}", "[xy]", 0..3)), 1..6),
        escaping in prop::sample::select(vec![Escaping::Underscores, Escaping::Dots, Escaping::Values]),
    ) {
        let (step, arena) = (EscapeNames::new(Some(escaping)), Arena::new());
        let mut set = SeriesSet::new_in(&arena);
        let mut different = std::collections::BTreeSet::new();
        for (name, labels) in &all {
            let mut labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
            labels.push(Label::new("__name__", name));
            labels.sort_unstable();
            set.push(&labels, MetricType::Untyped, Points::Absent);
            different.insert(labels);
        }
        if run(&mut set, &[&step], &mut StepCounts::default()).is_ok() {
            prop_assert!(set.iter().all(|series| is_canonical(series.labels) && series.labels.iter().all(is_known)));
            let sent: std::collections::BTreeSet<Vec<_>> = set.iter().map(|series| series.labels.to_vec()).collect();
            prop_assert_eq!(sent.len(), different.len());
        }
    }
}
