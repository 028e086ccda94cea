use proptest::prelude::*;

use super::*;
use crate::series::Arena;

/// What a body decodes to, a line a series: type, labels, value, timestamp.
fn decoded(body: &str) -> Result<Vec<String>, Error> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(body.as_bytes(), &Limits::default(), &mut set)?;
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

#[test]
fn decodes_samples() {
    fn check(body: &str, expected: &[&str]) {
        assert_eq!(decoded(body).expect(body), expected, "{body}");
    }
    check("", &[]);
    check("\n\n# a comment\n#\n# EOF\n", &[]);
    check("up 1", &["Untyped __name__=\"up\" 1 None"]);
    check("up 1 1562168610163\n", &["Untyped __name__=\"up\" 1 Some(1562168610163)"]);
    check("up{} 1\r\n", &["Untyped __name__=\"up\" 1 None"]);
    check("  up \t {a=\"b\" , c = \"d\" , }\t-2.5e3  -7 ", &["Untyped __name__=\"up\",a=\"b\",c=\"d\" -2500 Some(-7)"]);
    check("up{a=\"\"} NaN", &["Untyped __name__=\"up\",a=\"\" NaN None"]);
    check(
        "up +Inf\nup -Inf\nup inf",
        &["Untyped __name__=\"up\" inf None", "Untyped __name__=\"up\" -inf None", "Untyped __name__=\"up\" inf None"],
    );
    check(r#"a{p="C:\\d\n\"q\"",q="}, "} 1"#, &[r#"Untyped __name__="a",p="C:\\d\n\"q\"",q="}, " 1 None"#]);
    check(
        "# TYPE up gauge\nup 1\nother 2\n# TYPE c counter\nc 3",
        &["Gauge __name__=\"up\" 1 None", "Untyped __name__=\"other\" 2 None", "Counter __name__=\"c\" 3 None"],
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1",
        &[
            "Untyped __name__=\"h_bucket\",le=\"+Inf\" 1 None",
            "Untyped __name__=\"h_sum\" 2 None",
            "Untyped __name__=\"h_count\" 1 None",
        ],
    );
    check("{\"my.metric\",\"a.b\"=\"c\"} 1", &["Untyped __name__=\"my.metric\",a.b=\"c\" 1 None"]);
    check("{a=\"b\",\"my.metric\"} 1", &["Untyped __name__=\"my.metric\",a=\"b\" 1 None"]);
    check("cluster:usage:sum{a=\"ü\"} 1", &["Untyped __name__=\"cluster:usage:sum\",a=\"ü\" 1 None"]);
}

#[test]
fn refuses_other_text() {
    fn check(body: &str, line: usize, reason: &'static str) {
        assert_eq!(decoded(body), Err(Error::Text { line, reason }), "{body}");
    }
    check("up", 1, "a sample without a value");
    check("\n\nup x", 3, "a value that is no number");
    check("up 1 2 3", 1, "more than a value and a timestamp");
    check("up 1 2.5", 1, "a timestamp that is no whole number of milliseconds");
    check("{a=\"b\"} 1", 1, "a sample without a metric name");
    check("1up 1", 1, "a metric name begins with a digit");
    check("-up 1", 1, "a metric name was expected");
    check("a-b 1", 1, "a metric name holds a character that it may not hold");
    check("up{a=\"b} 1", 1, "a quote that is not closed");
    check("up{a=\"\\x\"} 1", 1, "an escape that does not exist");
    check("up{a=\"b\" c=\"d\"} 1", 1, "a comma or a closing brace was expected");
    check("up{a} 1", 1, "a label without a value");
    check("up{a=b} 1", 1, "a label value without its quote");
    check("up{1a=\"b\"} 1", 1, "a label name was expected");
    check("up{a=\"b\"", 1, "a comma or a closing brace was expected");
    check("# TYPE up", 1, "a TYPE line without name and type");
    check("# TYPE up nonsense", 1, "a TYPE line with a type that does not exist");
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let body = b"up 1\n\nup{a=\"\xff\"} 1";
    let result = decode(body, &Limits::default(), &mut set);
    assert_eq!(result, Err(Error::Text { line: 3, reason: "text that is not UTF-8" }));
}

#[test]
fn holds_the_limits() {
    fn check(body: &str, what: &'static str, limit: usize) {
        let limits = Limits {
            series: 2,
            labels: 5,
            text_bytes: 1 << 20,
            labels_per_series: 3,
            label_name_bytes: 8,
            label_value_bytes: 6,
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
    decode(body.as_bytes(), &Limits::default(), &mut set).expect("a body");
    assert_eq!(encoded(&set), body);
}

proptest! {
    #[test]
    fn any_series_survives_the_text(
        series in proptest::collection::vec(
            (".{1,12}", proptest::collection::vec((".{1,6}", ".{0,12}"), 0..5), any::<f64>(), any::<Option<i64>>()), 0..8)
    ) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for (name, pairs, value, timestamp_ms) in &series {
            let mut labels = vec![Label::new(NAME_LABEL, name)];
            labels.extend(pairs.iter().map(|(name, value)| Label::new(name, value)).filter(|label| label.name != NAME_LABEL));
            let sample = Sample { value: *value, timestamp_ms: *timestamp_ms };
            set.push(&labels, MetricType::Gauge, Points::Sample(sample));
        }
        let text = encoded(&set);
        let again_arena = Arena::new();
        let mut again = SeriesSet::new_in(&again_arena);
        decode(text.as_bytes(), &Limits::default(), &mut again).expect("our own text");
        prop_assert_eq!(set.len(), again.len());
        for (one, other) in set.iter().zip(again.iter()) {
            prop_assert_eq!(one.labels, other.labels);
            let (one, other) = (one.samples().next().expect("one"), other.samples().next().expect("one"));
            prop_assert_eq!(one.timestamp_ms, other.timestamp_ms);
            prop_assert!(one.value == other.value || one.value.is_nan() && other.value.is_nan());
        }
    }

    #[test]
    fn no_text_makes_it_panic(body in "(?s)([a-c_:{}=\"\\\\,# \\t\\n0-9.-]|TYPE|.){0,80}") {
        let _ = decoded(&body);
    }
}
