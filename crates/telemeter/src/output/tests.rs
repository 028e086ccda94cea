#![allow(clippy::unwrap_used)]
use super::*;

const NOW: i64 = 1_795_657_923_000;

fn fleet() -> Table {
    let mut table = Table::new([
        Column::text("cluster"),
        Column::text("status"),
        Column::number("series"),
        Column::time("last report"),
        Column::text("why").wrapping(),
        Column::text("client").optional(),
        Column::text("peer").optional(),
    ]);
    table.row([
        TableCell::text("9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11"),
        TableCell::text("refused").tone(Tone::Warning),
        TableCell::count(1_234_567),
        TableCell::time(NOW - 11_520_000, NOW),
        TableCell::text("the token is not known to the authority"),
        TableCell::text("telemeter/0.1.0"),
        TableCell::text("192.0.2.7"),
    ]);
    table.row([
        TableCell::text("=c,\"2\"\x1b[2J"),
        TableCell::text("silent").tone(Tone::Bad),
        TableCell::count(7),
        TableCell::none(),
    ]);
    table
}

fn printed(format: OutputFormat, width: Option<u16>, colour: bool) -> String {
    let (mut printer, written) = Printer::to_memory(width, colour);
    printer.print(format, &fleet()).unwrap();
    written.text()
}

#[test]
fn a_file_gets_every_column_on_one_line() {
    let expected = "\
CLUSTER                               STATUS      SERIES  LAST REPORT  WHY                                      CLIENT           PEER
9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11  refused  1,234,567  3h 12m ago   the token is not known to the authority  telemeter/0.1.0  192.0.2.7
=c,\"2\"\\u{1b}[2J                       silent           7  -            -                                        -                -
";
    assert_eq!(printed(OutputFormat::Table, None, false), expected);
}

#[test]
fn a_narrow_terminal_loses_what_is_optional_and_wraps_what_may_wrap() {
    let text = printed(OutputFormat::Table, Some(100), false);
    let expected = "\
CLUSTER                               STATUS      SERIES  LAST REPORT  WHY
9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11  refused  1,234,567  3h 12m ago   the token is not known to the
                                                                       authority
=c,\"2\"\\u{1b}[2J                       silent           7  -            -
";
    assert_eq!(text, expected);
    let wider = printed(OutputFormat::Table, Some(120), false);
    assert!(wider.contains("CLIENT") && !wider.contains("PEER"), "{wider}");
    for width in [90, 100, 120, 160] {
        let text = printed(OutputFormat::Table, Some(width), false);
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= usize::from(width), "{longest} in {width}:\n{text}");
        assert!(text.contains("9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11"), "an ID stays whole:\n{text}");
    }
}

#[test]
fn colour_is_asked_for() {
    let (plain, coloured) =
        (printed(OutputFormat::Table, Some(100), false), printed(OutputFormat::Table, Some(100), true));
    assert!(!plain.contains('\x1b'), "{plain:?}");
    // The library for terminals holds to it, too.
    let off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    assert_eq!(coloured.contains("\x1b[38;5;1msilent"), !off, "{coloured:?}");
    let (printer, _) = Printer::to_memory(Some(80), true);
    assert_eq!(printer.toned(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    assert_eq!(Printer::to_memory(None, false).0.toned(Tone::Bad, "x"), "x");
}

#[test]
fn programs_get_values() {
    let json: serde_json::Value = serde_json::from_str(&printed(OutputFormat::Json, None, false)).unwrap();
    assert_eq!(json[0]["series"], 1_234_567);
    assert_eq!(json[0]["last_report"], "2026-11-25T22:40:03Z");
    assert_eq!((&json[1]["why"], &json[1]["cluster"]), (&serde_json::Value::Null, &"=c,\"2\"\x1b[2J".into()));
    let csv = printed(OutputFormat::Csv, Some(40), true);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[0], "cluster,status,series,last_report,why,client,peer");
    assert!(lines[1].contains(",refused,1234567,2026-11-25T22:40:03Z,the token"), "{csv}");
    assert_eq!(lines[2], "\"'=c,\"\"2\"\"\x1b[2J\",silent,7,,,,");
}

#[test]
fn only_a_terminal_is_cleared() {
    for (width, expected) in [(Some(80), true), (None, false)] {
        let (mut printer, written) = Printer::to_memory(width, false);
        printer.clear().unwrap();
        assert_eq!(written.text().contains("\x1b[2J"), expected);
    }
}

#[test]
fn numbers_and_sizes() {
    assert_eq!([0, 999, 1000, 1_234_567].map(human::count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([0, 1023, 1536, 268_435_456].map(human::bytes), ["0 B", "1023 B", "1.5 KiB", "256 MiB"]);
    let numbers = [0.0, 0.123, 1.0, 51.56, -0.9, 1500.4, -1500.0].map(human::number);
    assert_eq!(numbers, ["0", "0.12", "1.0", "51.6", "-0.90", "1,500", "-1,500"]);
}

#[test]
fn lengths_of_time() {
    let shown = [0.0, 0.0042, -0.9, 1.5, 270.0, -90.0].map(|seconds| TableCell::seconds(seconds).shown());
    assert_eq!(shown, ["0s", "4.2ms", "-900.0ms", "1.5s", "4m 30s", "-1m 30s"]);
}

#[test]
fn ages_and_times() {
    for (seconds, expected) in [
        (0, "0s"),
        (45, "45s"),
        (60, "1m"),
        (270, "4m 30s"),
        (11_520, "3h 12m"),
        (7200, "2h"),
        (187_200, "2d 4h"),
        (86_430, "1d"),
    ] {
        assert_eq!(human::duration(seconds), expected);
    }
    for (seconds, expected) in [(11_520, "3h 12m ago"), (1, "just now"), (-3, "just now"), (-120, "in 2m")] {
        assert_eq!(human::age(0, seconds * 1000), expected);
    }
}

#[test]
fn foreign_text_cannot_steer_a_terminal() {
    assert_eq!(human::safe("ä\n\x1b]0;x\x07\u{202e}"), "ä\\n\\u{1b}]0;x\\u{7}\\u{202e}");
}
