//! Lines of samples: names, labels, values, timestamps.

use super::{check_refused, check_taken, decoded};
use crate::error::Error;

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
        // No blank is needed between a brace, or a name, and the value.
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
        // Escapes in a value; it may also have a tab or a carriage return.
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
        // A plain name may also be quoted in the braces.
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
        // No blank after the last word.
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
