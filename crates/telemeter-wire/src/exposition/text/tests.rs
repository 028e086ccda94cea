mod families;
mod numbers;
mod other_bytes;
mod samples;

use proptest::prelude::*;

use super::*;
use crate::series::Arena;

/// The series of a body, one per line: type, labels, value, timestamp.
fn decoded(body: &str) -> Result<Vec<String>, Error> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(body.as_bytes(), &DecodeLimits::default(), &mut set)?;
    Ok(set
        .iter()
        .map(|series| {
            let labels: Vec<_> =
                series.labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
            let sample = series.samples().next().expect("a sample");
            format!("{:?} {} {} {:?}", series.kind, labels.join(","), sample.value, sample.timestamp_ms)
        })
        .collect())
}

/// Each body, and its series, one per line.
fn check_taken(table: &[(&str, &[&str])]) {
    for (body, expected) in table {
        assert_eq!(decoded(body).as_deref().unwrap_or_else(|error| panic!("{body:?}: {error}")), *expected, "{body:?}");
    }
}

/// Each body, with the number of the line for which it is refused, and the reason.
fn check_refused(table: &[(&str, usize, &'static str)]) {
    for &(body, line, reason) in table {
        assert_eq!(decoded(body), Err(Error::Text { line, reason }), "{body:?}");
    }
}

#[test]
fn holds_the_limits() {
    fn check(body: &str, what: &'static str, limit: usize) {
        let limits = DecodeLimits {
            series: 2,
            labels: 5,
            text_bytes: 1 << 20,
            labels_per_series: 3,
            label_name_bytes: 8,
            label_value_bytes: 6,
            ..DecodeLimits::default()
        };
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        assert_eq!(decode(body.as_bytes(), &limits, &mut set), Err(Error::Limit { what, limit }), "{body}");
    }
    check("a 1\na 1\na 1", "series", 2);
    check("a{b=\"1\",c=\"1\",d=\"1\"} 1", "labels in one series", 3);
    check("a{b=\"1\",c=\"1\"} 1\na{b=\"1\",c=\"1\"} 1", "labels", 5);
    check("a{b23456789=\"1\"} 1", "bytes in a label name", 8);
    check("a{b=\"1234567\"} 1", "bytes in a label value", 6);
    check("a234567 1", "bytes in a label value", 6);
}

fn encoded(set: &SeriesSet<'_>) -> String {
    let mut out = Vec::new();
    encode(set, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn writes_what_it_reads() {
    let body = "# TYPE up gauge\nup{a=\"b\\\\\\n\\\"\",c=\"\"} 1e+06 1562168610163\nup 0.5\n# TYPE down untyped\ndown NaN\n\
                # TYPE \"my.metric\" counter\n{\"my.metric\",\"a.b\"=\"c\"} 3\n";
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(body.as_bytes(), &DecodeLimits::default(), &mut set).expect("a body");
    assert_eq!(encoded(&set), body);
}

proptest! {
    #[test]
    fn any_series_survives_the_text(
        series in proptest::collection::vec(
            (prop_oneof!["[ab](_sum|)", ".{1,12}"], proptest::collection::vec((".{1,6}", ".{0,12}"), 0..5), any::<f64>(), any::<Option<i64>>()), 0..8)
    ) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for (name, pairs, value, timestamp_ms) in &series {
            let mut labels = vec![Label::new(NAME_LABEL, name)];
            for (name, value) in pairs {
                if labels.iter().all(|label| label.name != name) {
                    labels.push(Label::new(name, value));
                }
            }
            let sample = Sample { value: *value, timestamp_ms: *timestamp_ms };
            set.push(&labels, MetricType::Gauge, Points::Sample(sample));
        }
        let text = encoded(&set);
        let again_arena = Arena::new();
        let mut again = SeriesSet::new_in(&again_arena);
        decode(text.as_bytes(), &DecodeLimits::default(), &mut again).expect("our own text");
        prop_assert_eq!(set.len(), again.len());
        for (one, other) in set.iter().zip(again.iter()) {
            prop_assert_eq!(one.labels, other.labels);
            let (one, other) = (one.samples().next().expect("one"), other.samples().next().expect("one"));
            prop_assert_eq!(one.timestamp_ms, other.timestamp_ms);
            prop_assert!(one.value == other.value || one.value.is_nan() && other.value.is_nan());
        }
    }

    /// A body that is cut between any lines is decoded like the whole.
    #[test]
    fn parts_are_read_as_the_whole(
        lines in proptest::collection::vec(
            (prop_oneof!["# (TYPE|HELP) [ab](_sum|_bucket|) (gauge|summary|histogram|)", "[ab](_sum|_bucket|)([{](le|a)=\"[1x]\"[}]|) [1x]( 5|)", "\n|.{0,3}"], any::<bool>()), 0..12)
    ) {
        let whole: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let expected = decode(whole.as_bytes(), &DecodeLimits::default(), &mut set);
        let mut parts = vec![String::new()];
        for (line, cut) in &lines {
            let part = parts.last_mut().expect("one");
            part.push_str(line);
            part.push('\n');
            if *cut {
                parts.push(String::new());
            }
        }
        let (other_arena, mut families) = (Arena::new(), TextFamilies::default());
        let mut other = SeriesSet::new_in(&other_arena);
        let result = parts.iter().try_for_each(|part| decode_part(part.as_bytes(), &DecodeLimits::default(), &mut other, &mut families));
        prop_assert_eq!(result, expected);
        prop_assert!(set.iter().eq(other.iter()));
    }

    #[test]
    fn no_bytes_make_it_panic(
        body in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'"'), Just(b'{'), Just(b'\\'), Just(b'='), Just(0xff), Just(0xc3), b'a'..=b'c', any::<u8>()], 0..60)
    ) {
        let arena = Arena::new();
        let _ = decode(&body, &DecodeLimits::default(), &mut SeriesSet::new_in(&arena));
    }

    #[test]
    fn no_text_makes_it_panic(body in "(?s)([a-c_:{}=\"\\\\,# \\t\\n0-9.-]|TYPE|.){0,80}") {
        let _ = decoded(&body);
    }
}
