//! Bytes that are not UTF-8.

use crate::{
    error::{DecodeLimits, Error},
    exposition::text::decode,
    series::{Arena, SeriesSet},
};

#[test]
fn text_that_is_not_utf_8_is_named() {
    fn check(body: &[u8], expected: &str) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let error = decode(body, &DecodeLimits::default(), &mut set).expect_err(expected);
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
    // Long names are truncated.
    let long = [&b"u"[..], &[b'p'; 200], &b"{a=\"\xff\"} 1"[..]].concat();
    let cut = format!("u{}...", "p".repeat(127));
    check(
        &long,
        &format!(
            "not valid text format: line 1: text that is not UTF-8 in the value of label \"a\" of metric \"{cut}\""
        ),
    );
    // An earlier error comes first.
    check(b"up x\nup{a=\"\xff\"} 1", "not valid text format: line 1: a value that is no number");
}

#[test]
fn a_comment_may_hold_any_bytes() {
    fn check(body: &[u8], expected: Result<usize, (usize, &'static str)>) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let result = decode(body, &DecodeLimits::default(), &mut set).map(|()| set.len());
        assert_eq!(result, expected.map_err(|(line, reason)| Error::Text { line, reason }), "{}", body.escape_ascii());
    }
    check(b"# \xff\xfe\n # HELP up \xc3 text\n# TYPE up gauge\nup{a=\"\xc3\xbc\"} 1\n", Ok(1));
    check(b"# TYPE up\xff gauge\nup 1\n", Err((1, "a TYPE or HELP line in which no metric name stands")));
    check(b"# TYPE up gauge\xff\nup 1\n", Err((1, "a TYPE line with a type that does not exist")));
    check(b"# HELP up \\\xff\nup 1\n", Err((1, "an escape that does not exist")));
}
