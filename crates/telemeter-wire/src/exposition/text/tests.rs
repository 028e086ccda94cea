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

/// Each body, and what it decodes to: a line a series.
fn check_taken(table: &[(&str, &[&str])]) {
    for (body, expected) in table {
        assert_eq!(decoded(body).as_deref().unwrap_or_else(|error| panic!("{body:?}: {error}")), *expected, "{body:?}");
    }
}

/// Each body, with the line that it is refused for, and why.
fn check_refused(table: &[(&str, usize, &'static str)]) {
    for &(body, line, reason) in table {
        assert_eq!(decoded(body), Err(Error::Text { line, reason }), "{body:?}");
    }
}

#[test]
fn takes_the_samples_that_go_takes() {
    check_taken(&[
        ("", &[]),
        ("\n\n \t\n", &[]),
        ("up 1", &["Untyped __name__=\"up\" 1 None"]),
        ("up 1\r\nup 2\r", &["Untyped __name__=\"up\" 1 None", "Untyped __name__=\"up\" 2 None"]),
        ("\r\n\nup 1\n", &["Untyped __name__=\"up\" 1 None"]),
        ("up 1 1562168610163\n", &["Untyped __name__=\"up\" 1 Some(1562168610163)"]),
        ("up 1 -9223372036854775808", &["Untyped __name__=\"up\" 1 Some(-9223372036854775808)"]),
        ("up 1 +9223372036854775807", &["Untyped __name__=\"up\" 1 Some(9223372036854775807)"]),
        ("up{} 1\r\n", &["Untyped __name__=\"up\" 1 None"]),
        ("up { } 1\r\n", &["Untyped __name__=\"up\" 1 None"]),
        (
            " \tup \t {\ta=\"b\" , c = \"d\" , }\t-2.5e3  \t-7",
            &["Untyped __name__=\"up\",a=\"b\",c=\"d\" -2500 Some(-7)"],
        ),
        // Nothing has to stand between a name, or a brace, and the value.
        ("up-1", &["Untyped __name__=\"up\" -1 None"]),
        ("up{a=\"b\"}-Inf", &["Untyped __name__=\"up\",a=\"b\" -inf None"]),
        ("up.5 7", &["Untyped __name__=\"up\" 0.5 Some(7)"]),
        ("up{a=\"\"} NaN", &["Untyped __name__=\"up\",a=\"\" NaN None"]),
        (":a:9 1", &["Untyped __name__=\":a:9\" 1 None"]),
        ("_ 1", &["Untyped __name__=\"_\" 1 None"]),
        ("cluster:usage:sum{a=\"\u{fc}\"} 1", &["Untyped __name__=\"cluster:usage:sum\",a=\"\u{fc}\" 1 None"]),
        // Labels in any order.
        (
            "up{c=\"1\",b=\"2\",bb=\"3\",a=\"4\"} 1",
            &["Untyped __name__=\"up\",c=\"1\",b=\"2\",bb=\"3\",a=\"4\" 1 None"],
        ),
        // Escapes in a value; a tab or a carriage return may stand in it.
        (r#"a{p="C:\\d\n\"q\"",q="}, "} 1"#, &[r#"Untyped __name__="a",p="C:\\d\n\"q\"",q="}, " 1 None"#]),
        ("a{p=\"1\t\r2\"} 1", &["Untyped __name__=\"a\",p=\"1\\t\\r2\" 1 None"]),
        ("a{p=\"#\"} 1", &["Untyped __name__=\"a\",p=\"#\" 1 None"]),
    ]);
}

#[test]
fn takes_names_in_quotes() {
    check_taken(&[
        ("{\"my.metric\",\"a.b\"=\"c\"} 1", &["Untyped __name__=\"my.metric\",a.b=\"c\" 1 None"]),
        ("{a=\"b\", \"my.metric\"} 1", &["Untyped __name__=\"my.metric\",a=\"b\" 1 None"]),
        ("{ \"my.metric\" , } 1", &["Untyped __name__=\"my.metric\" 1 None"]),
        ("  {\"my.metric\"}1 2", &["Untyped __name__=\"my.metric\" 1 Some(2)"]),
        (r#"{"m\"\\\n","l\"\\\n"="v"} 1"#, &["Untyped __name__=\"m\\\"\\\\\\n\",l\"\\\n=\"v\" 1 None"]),
        // A plain name may have quotes, and stand in the braces.
        ("up{\"a\"=\"b\"} 1", &["Untyped __name__=\"up\",a=\"b\" 1 None"]),
        ("{\"up\"} 1", &["Untyped __name__=\"up\" 1 None"]),
        ("{up,a=\"b\"} 1", &["Untyped __name__=\"up\",a=\"b\" 1 None"]),
        ("{\"9\",\"8\"=\"b\"} 1", &["Untyped __name__=\"9\",8=\"b\" 1 None"]),
        (
            "# TYPE \"my.metric\" counter\n# HELP \"my.metric\" text\n{\"my.metric\"} 1",
            &["Counter __name__=\"my.metric\" 1 None"],
        ),
    ]);
    check_refused(&[
        ("{a=\"b\"} 1", 1, "a sample without a metric name"),
        ("{} 1", 1, "a sample without a metric name"),
        ("up 1\n{a=\"b\",} 1", 2, "a sample without a metric name"),
        ("{\"a\",\"b\"} 1", 1, "a label without a value"),
        ("up{\"a.b\"} 1", 1, "a label without a value"),
        ("{\"\"} 1", 1, "a label name was expected"),
        ("up{\"\"=\"a\"} 1", 1, "a label name was expected"),
        ("{\"a\".b=\"c\"} 1", 1, "a comma or a closing brace was expected"),
        ("{a:b} 1", 1, "a comma or a closing brace was expected"),
        ("{\"a\\t\"} 1", 1, "an escape that does not exist"),
        ("{\"a\nb\"} 1", 1, "a quote that is not closed"),
        ("\"a\" 1", 1, "a metric name was expected"),
        ("up\"a\" 1", 1, "a value that is no number"),
        ("# TYPE \"a\\t\" counter", 1, "an escape that does not exist"),
        ("# TYPE \"a\nb\" counter", 1, "a quote that is not closed"),
        ("# TYPE \"a\"b counter", 1, "a TYPE or HELP line in which no metric name stands"),
    ]);
}

#[test]
fn refuses_what_go_refuses() {
    check_refused(&[
        ("up", 1, "a value that is no number"),
        ("up ", 1, "a value that is no number"),
        ("up{} ", 1, "a value that is no number"),
        ("\n\nup x", 3, "a value that is no number"),
        // No blank behind the last word.
        ("up 1 ", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1\t\r\n", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1 2 ", 1, "more than a value and a timestamp"),
        ("up 1 2 3", 1, "more than a value and a timestamp"),
        ("up 1 2.5", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1 1e3", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1 -", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1 1_0", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1 9223372036854775808", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("up 1 -9223372036854775809", 1, "a timestamp that is no whole number of milliseconds in 64 bits"),
        ("1up 1", 1, "a metric name begins with a digit"),
        ("-up 1", 1, "a metric name was expected"),
        ("@up{a=\"b\"} 1", 1, "a metric name was expected"),
        ("\u{feff}up 1", 1, "a metric name was expected"),
        ("\u{fc} 1", 1, "a metric name was expected"),
        ("\u{b}up 1", 1, "a metric name was expected"),
        ("a-b 1", 1, "a value that is no number"),
        ("a.b 1", 1, "a value that is no number"),
        ("up{a=\"b} 1", 1, "a quote that is not closed"),
        ("up{a=\"b\nc\"} 1", 1, "a quote that is not closed"),
        ("up{a=\"b\\\"} 1", 1, "a quote that is not closed"),
        ("up{a=\"\\x\"} 1", 1, "an escape that does not exist"),
        ("up{a=\"\\t\"} 1", 1, "an escape that does not exist"),
        ("up{a=\"b\" c=\"d\"} 1", 1, "a comma or a closing brace was expected"),
        ("up{a=\"b\"+} 1", 1, "a comma or a closing brace was expected"),
        ("up{a=\"b\"", 1, "a comma or a closing brace was expected"),
        ("up{a} 1", 1, "a label without a value"),
        ("up{a+=\"b\"} 1", 1, "a label without a value"),
        ("up{a=b} 1", 1, "a label value without its quote"),
        ("up{a=} 1", 1, "a label value without its quote"),
        ("up{1a=\"b\"} 1", 1, "a label name was expected"),
        ("up{@=\"b\"} 1", 1, "a label name was expected"),
        ("up{,} 1", 1, "a label name was expected"),
        ("up{,a=\"b\"} 1", 1, "a label name was expected"),
        ("up{a=\"b\",,} 1", 1, "a label name was expected"),
        ("up{:a=\"b\"} 1", 1, "a label name was expected"),
        ("up{a:b=\"b\"} 1", 1, "a label without a value"),
        ("up{__name__=\"down\"} 1", 1, "the label name __name__ is reserved"),
        ("up{\"__name__\"=\"up\"} 1", 1, "the label name __name__ is reserved"),
        ("{__name__=\"up\"} 1", 1, "the label name __name__ is reserved"),
        ("up 1\n# a\nup 1 x y\nup", 3, "more than a value and a timestamp"),
    ]);
}

#[test]
fn a_duplicate_label_is_named() {
    for (body, line, label) in [
        ("up{a=\"1\",a=\"1\"} 1", 1, "a"),
        ("up 1\nup{b=\"1\",a=\"2\",b=\"3\"} 1", 2, "b"),
        ("up{a=\"1\",b=\"2\",\"a\"=\"3\"} 1", 1, "a"),
        ("{a=\"1\",\"up\",a=\"3\"} 1", 1, "a"),
        ("# TYPE h histogram\nh_bucket{le=\"1\",le=\"2\"} 1", 2, "le"),
    ] {
        assert_eq!(decoded(body), Err(Error::DuplicateLabel { line, label: label.to_owned() }), "{body:?}");
    }
}

#[test]
fn takes_the_types_that_go_takes() {
    // The type of a family, and what a sample of that very name then is.
    for (kind, expected) in [
        ("counter", "Counter"),
        ("gauge", "Gauge"),
        ("untyped", "Untyped"),
        ("summary", "Untyped"),
        ("histogram", "Untyped"),
        ("gaugehistogram", "Untyped"),
        ("gauge_histogram", "Untyped"),
    ] {
        let expected = format!("{expected} __name__=\"up\" 1 None");
        let mut mixed = kind.to_owned();
        mixed[1..].make_ascii_uppercase();
        for kind in [kind.to_owned(), kind.to_ascii_uppercase(), mixed] {
            for body in [
                format!("# TYPE up {kind}\nup 1"),
                format!("# TYPE up {kind}\r\nup 1"),
                format!(" \t# \tTYPE \tup \t{kind}\nup 1"),
                format!("#TYPE up {kind}\nup 1"),
                format!("# HELP up text\n# TYPE up {kind}\nup 1"),
                format!("# TYPE up {kind}\n# HELP up text\nup 1"),
                format!("# TYPE other gauge\n# TYPE up {kind}\n# TYPE next gauge\nup 1"),
                format!("# TYPE up \n# TYPE up {kind}\nup 1"),
            ] {
                assert_eq!(decoded(&body).expect(&body), [&expected[..]], "{body:?}");
            }
        }
    }
    for kind in ["unknown", "info", "stateset", "nonsense", "gauge ", "gauge\t", "gauge x", "\"gauge\"", "\u{fc}"] {
        let expected = Err(Error::Text { line: 2, reason: "a TYPE line with a type that does not exist" });
        assert_eq!(decoded(&format!("up 1\n# TYPE a {kind}\na 1")), expected, "{kind:?}");
    }
}

#[test]
fn a_type_counts_for_its_metric_wherever_it_stands() {
    check_taken(&[
        ("# TYPE up gauge\nother 2\nup 1", &["Untyped __name__=\"other\" 2 None", "Gauge __name__=\"up\" 1 None"]),
        (
            "# TYPE a gauge\n# TYPE b counter\na 1\nb 2\na 3",
            &["Gauge __name__=\"a\" 1 None", "Counter __name__=\"b\" 2 None", "Gauge __name__=\"a\" 3 None"],
        ),
        // In the middle of another's samples.
        (
            "a 1\n# TYPE b counter\na 2\nb 3",
            &["Untyped __name__=\"a\" 1 None", "Untyped __name__=\"a\" 2 None", "Counter __name__=\"b\" 3 None"],
        ),
        // Beside a gauge, its suffixes are names like others.
        (
            "# TYPE a gauge\na_sum 1\na_bucket{le=\"x\"} 2\n# TYPE a_count counter\na_count 3",
            &[
                "Untyped __name__=\"a_sum\" 1 None",
                "Untyped __name__=\"a_bucket\",le=\"x\" 2 None",
                "Counter __name__=\"a_count\" 3 None",
            ],
        ),
        // A suffix alone is a name, and one that was there before its summary keeps its own type.
        (
            "# TYPE s_sum gauge\n# TYPE s summary\n# TYPE _sum counter\ns_sum 1\n_sum 2",
            &["Gauge __name__=\"s_sum\" 1 None", "Counter __name__=\"_sum\" 2 None"],
        ),
        // A summary has no buckets.
        (
            "# TYPE s summary\n# TYPE s_bucket gauge\ns_bucket{le=\"x\"} 1",
            &["Gauge __name__=\"s_bucket\",le=\"x\" 1 None"],
        ),
    ]);
    let second = "a second TYPE line of one metric, or one behind its samples";
    check_refused(&[
        ("# TYPE up gauge\n# TYPE up gauge", 2, second),
        ("# TYPE up gauge\nup 1\n# TYPE b gauge\n# TYPE up counter\n", 4, second),
        ("up 1\n# TYPE up gauge\n", 2, second),
        ("up{a=\"b\"} 1\ndown 1\n# TYPE down gauge\n", 3, second),
        ("{\"a.b\"} 1\n# TYPE \"a.b\" gauge", 2, second),
        ("{\"up\"} 1\n# TYPE up gauge", 2, second),
        ("up 1\n# TYPE up nonsense", 2, second),
        ("# TYPE s summary\n# TYPE s_sum gauge", 2, second),
        ("# TYPE s summary\n# TYPE s_count gauge", 2, second),
        ("# TYPE h histogram\n# TYPE h_bucket gauge", 2, second),
        ("# TYPE h gaugehistogram\n# TYPE h_count gauge", 2, second),
    ]);
}

#[test]
fn takes_the_comments_that_go_takes() {
    check_taken(&[
        ("# a comment\n#\n#  \n# EOF\n#TYPE\n# TYPEs a b c\n# type up x\n# UNIT a b\n## TYPE a x", &[]),
        // Without a name, or without anything behind it, they say nothing.
        ("# TYPE\n# TYPE \n# TYPE up\n# TYPE up\n# TYPE up \n# TYPE up\t\nup 1", &["Untyped __name__=\"up\" 1 None"]),
        ("# HELP\n# HELP \n# HELP up\n# HELP up\n# HELP up \nup 1", &["Untyped __name__=\"up\" 1 None"]),
        // A help text may stand behind samples, and twice for two metrics.
        ("up 1\n# HELP up text\n# HELP down text \\\\ \\n \\\" \"x\" \n", &["Untyped __name__=\"up\" 1 None"]),
        ("# HELP s a\n# TYPE s summary\n# HELP t b\ns 1", &["Untyped __name__=\"s\" 1 None"]),
    ]);
    let (second, no_name) = ("a second HELP line of one metric", "a TYPE or HELP line in which no metric name stands");
    check_refused(&[
        ("# HELP up one\n# HELP up one\n", 2, second),
        ("# HELP up one\nup 1\n# HELP up two\n", 3, second),
        ("# TYPE s summary\n# HELP s one\n# HELP s_sum two\n", 3, second),
        ("# HELP up \\x", 1, "an escape that does not exist"),
        ("# HELP up text\\", 1, "an escape that does not exist"),
        ("# HELP met-ric text", 1, no_name),
        ("# TYPE met-ric", 1, no_name),
        ("# TYPE 1up gauge", 1, no_name),
        ("# TYPE 1", 1, no_name),
        ("# TYPE {up} gauge", 1, no_name),
    ]);
}

#[test]
fn bounds_and_quantiles_are_numbers() {
    let (le, quantile) = ("a label le that is no number", "a label quantile that is no number");
    check_taken(&[
        (
            "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1",
            &[
                "Untyped __name__=\"h_bucket\",le=\"1.0\" 1 None",
                "Untyped __name__=\"h_bucket\",le=\"+Inf\" 1 None",
                "Untyped __name__=\"h_sum\" 2 None",
                "Untyped __name__=\"h_count\" 1 None",
            ],
        ),
        (
            "# TYPE s summary\ns{quantile=\"NaN\",le=\"x\"} 1\ns_sum 2",
            &["Untyped __name__=\"s\",quantile=\"NaN\",le=\"x\" 1 None", "Untyped __name__=\"s_sum\" 2 None"],
        ),
        // They are labels like others elsewhere.
        ("# TYPE g gauge\ng{le=\"x\",quantile=\"y\"} 1", &["Gauge __name__=\"g\",le=\"x\",quantile=\"y\" 1 None"]),
        ("h_bucket{le=\"x\"} 1", &["Untyped __name__=\"h_bucket\",le=\"x\" 1 None"]),
    ]);
    check_refused(&[
        ("# TYPE h histogram\nh_bucket{le=\"x\"} 1", 2, le),
        ("# TYPE h histogram\nh_sum{le=\"\"} 1", 2, le),
        ("# TYPE h histogram\nh{le=\"0x1p-3\"} 1", 2, le),
        ("# TYPE h GaugeHistogram\nh_bucket{le=\"1e400\"} 1", 2, le),
        ("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1_0\"} 1", 3, le),
        ("# TYPE s summary\ns{quantile=\"x\"} 1", 2, quantile),
        ("# TYPE s summary\ns_count{quantile=\"x\"} 1", 2, quantile),
        ("# TYPE \"a.s\" summary\n{quantile=\"x\",\"a.s\"} 1", 2, quantile),
    ]);
}

#[test]
fn reads_numbers_as_go_does() {
    for (text, expected) in [
        ("0", 0.0),
        ("-0", -0.0),
        ("+5", 5.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("-.5e-3", -0.0005),
        ("5.e1", 50.0),
        ("1E5", 1e5),
        ("1e+05", 1e5),
        ("007", 7.0),
        ("1e-400", 0.0),
        ("-1e-400", -0.0),
        ("0e999999999999", 0.0),
        ("0e99999999999999999999999", 0.0),
        ("4.9e-324", 5e-324),
        ("1.7976931348623157e308", f64::MAX),
        // The last that is rounded down to the largest.
        ("1.797693134862315807e308", f64::MAX),
        ("inf", f64::INFINITY),
        ("Inf", f64::INFINITY),
        ("+iNF", f64::INFINITY),
        ("-Inf", f64::NEG_INFINITY),
        ("infinity", f64::INFINITY),
        ("-INFINITY", f64::NEG_INFINITY),
        ("nan", f64::NAN),
        ("NaN", f64::NAN),
        ("NAN", f64::NAN),
    ] {
        let value = number::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{text}: {value}");
    }
    for text in ["1e309", "1e400", "-1e400", "1.797693134862315808e308", "1e99999999999999999999", "-2e308"] {
        assert_eq!(number::parse(text), Err("a value over the range of a 64-bit float"), "{text}");
    }
    for text in [
        "",
        "+",
        "-",
        ".",
        "e5",
        ".e5",
        "1e",
        "1e+",
        "1e5.0",
        "--1",
        "+-1",
        "1_2",
        "0x1",
        "0x1p-3",
        "0X1P3",
        "0b1",
        "0o1",
        "1p3",
        "+nan",
        "-nan",
        "in",
        "infi",
        "infinit",
        "infinityy",
        "nano",
        "1,0",
        "1f",
        "\u{0661}",
        "1\u{0}",
        "1\r",
    ] {
        assert_eq!(number::parse(text), Err("a value that is no number"), "{text}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_named() {
    fn check(body: &[u8], expected: &str) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let error = decode(body, &Limits::default(), &mut set).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    check(
        b"up 1\n\nup{a=\"\xff\"} 1",
        "not valid text format: line 3: text that is not UTF-8 in the value of label \"a\" of metric \"up\"",
    );
    check(
        b"up { a = \"}\\\",\", b\t= \"1\xc3\" , c=\"\xff\"} 1",
        "not valid text format: line 1: text that is not UTF-8 in the value of label \"b\" of metric \"up\"",
    );
    check(
        b"{\"a.b\xff\",c=\"d\"} 1\n",
        "not valid text format: line 1: text that is not UTF-8 in the name of metric \"a.b\\xff\"",
    );
    check(b"u\xc3p 1", "not valid text format: line 1: text that is not UTF-8 in the name of metric \"u\\xc3p\"");
    check(
        b"{a=\"\xff\",\"m\"} 1",
        "not valid text format: line 1: text that is not UTF-8 in the value of label \"a\" of metric \"m\"",
    );
    check(
        b"up{\"l\xe9\"=\"v\"} 1",
        "not valid text format: line 1: text that is not UTF-8 in the name of label \"l\\xe9\" of metric \"up\"",
    );
    check(
        b"up{l\xe9=\"v\"} 1",
        "not valid text format: line 1: text that is not UTF-8 in the name of label \"l\\xe9\" of metric \"up\"",
    );
    check(b"up{l=\"v\"} 1\xff", "not valid text format: line 1: text that is not UTF-8 in metric \"up\"");
    check(
        b"up{l=\xff} 1",
        "not valid text format: line 1: text that is not UTF-8 in the value of label \"l\" of metric \"up\"",
    );
    // Long ones are cut.
    let long = [&b"u"[..], &[b'p'; 200], &b"{a=\"\xff\"} 1"[..]].concat();
    let cut = format!("u{}...", "p".repeat(127));
    check(
        &long,
        &format!(
            "not valid text format: line 1: text that is not UTF-8 in the value of label \"a\" of metric \"{cut}\""
        ),
    );
    // What is wrong before it is said first.
    check(b"up x\nup{a=\"\xff\"} 1", "not valid text format: line 1: a value that is no number");
}

#[test]
fn a_comment_may_hold_any_bytes() {
    fn check(body: &[u8], expected: Result<usize, (usize, &'static str)>) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let result = decode(body, &Limits::default(), &mut set).map(|()| set.len());
        assert_eq!(result, expected.map_err(|(line, reason)| Error::Text { line, reason }), "{}", body.escape_ascii());
    }
    check(b"# \xff\xfe\n # HELP up \xc3 text\n# TYPE up gauge\nup{a=\"\xc3\xbc\"} 1\n", Ok(1));
    check(b"# TYPE up\xff gauge\nup 1\n", Err((1, "a TYPE or HELP line in which no metric name stands")));
    check(b"# TYPE up gauge\xff\nup 1\n", Err((1, "a TYPE line with a type that does not exist")));
    check(b"# HELP up \\\xff\nup 1\n", Err((1, "an escape that does not exist")));
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
            ..Limits::default()
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
        decode(text.as_bytes(), &Limits::default(), &mut again).expect("our own text");
        prop_assert_eq!(set.len(), again.len());
        for (one, other) in set.iter().zip(again.iter()) {
            prop_assert_eq!(one.labels, other.labels);
            let (one, other) = (one.samples().next().expect("one"), other.samples().next().expect("one"));
            prop_assert_eq!(one.timestamp_ms, other.timestamp_ms);
            prop_assert!(one.value == other.value || one.value.is_nan() && other.value.is_nan());
        }
    }

    /// A body that is cut between any lines is read as if it had not been cut.
    #[test]
    fn parts_are_read_as_the_whole(
        lines in proptest::collection::vec(
            (prop_oneof!["# (TYPE|HELP) [ab](_sum|_bucket|) (gauge|summary|histogram|)", "[ab](_sum|_bucket|)([{](le|a)=\"[1x]\"[}]|) [1x]( 5|)", "\n|.{0,3}"], any::<bool>()), 0..12)
    ) {
        let whole: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let expected = decode(whole.as_bytes(), &Limits::default(), &mut set);
        let mut parts = vec![String::new()];
        for (line, cut) in &lines {
            let part = parts.last_mut().expect("one");
            part.push_str(line);
            part.push('\n');
            if *cut {
                parts.push(String::new());
            }
        }
        let (other_arena, mut families) = (Arena::new(), Families::default());
        let mut other = SeriesSet::new_in(&other_arena);
        let result = parts.iter().try_for_each(|part| decode_part(part.as_bytes(), &Limits::default(), &mut other, &mut families));
        prop_assert_eq!(result, expected);
        prop_assert!(set.iter().eq(other.iter()));
    }

    #[test]
    fn no_bytes_make_it_panic(
        body in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'"'), Just(b'{'), Just(b'\\'), Just(b'='), Just(0xff), Just(0xc3), b'a'..=b'c', any::<u8>()], 0..60)
    ) {
        let arena = Arena::new();
        let _ = decode(&body, &Limits::default(), &mut SeriesSet::new_in(&arena));
    }

    #[test]
    fn no_text_makes_it_panic(body in "(?s)([a-c_:{}=\"\\\\,# \\t\\n0-9.-]|TYPE|.){0,80}") {
        let _ = decoded(&body);
    }
}
