//! Comment lines: types and help texts, and the samples that a type allows.

use super::{check_refused, check_taken, decoded};
use crate::error::Error;

#[test]
fn takes_the_types_that_go_takes() {
    // The type of a family, and that of a sample with the same name.
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
        // In the middle of the samples of another family.
        (
            "a 1\n# TYPE b counter\na 2\nb 3",
            &["Untyped __name__=\"a\" 1 None", "Untyped __name__=\"a\" 2 None", "Counter __name__=\"b\" 3 None"],
        ),
        // The suffixes have no meaning for a gauge.
        (
            "# TYPE a gauge\na_sum 1\na_bucket{le=\"x\"} 2\n# TYPE a_count counter\na_count 3",
            &[
                "Untyped __name__=\"a_sum\" 1 None",
                "Untyped __name__=\"a_bucket\",le=\"x\" 2 None",
                "Counter __name__=\"a_count\" 3 None",
            ],
        ),
        // A suffix alone is a name; a name that came before its summary keeps its own type.
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
        // Without a name, or without anything after it, they are ignored.
        ("# TYPE\n# TYPE \n# TYPE up\n# TYPE up\n# TYPE up \n# TYPE up\t\nup 1", &["Untyped __name__=\"up\" 1 None"]),
        ("# HELP\n# HELP \n# HELP up\n# HELP up\n# HELP up \nup 1", &["Untyped __name__=\"up\" 1 None"]),
        // A help text may follow samples, and two metrics may have the same one.
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
        // Elsewhere they are ordinary labels.
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
