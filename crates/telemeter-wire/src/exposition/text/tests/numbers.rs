//! Numbers, as Go reads them.

use crate::exposition::text::number;

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
        // The largest number that is rounded down to the largest float.
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
