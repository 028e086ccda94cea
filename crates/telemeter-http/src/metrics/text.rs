//! The text formats of metrics, converted from the output of the metrics library: OpenMetrics without escapes in help
//! texts.

use std::fmt::Write as _;

/// Converts to Prometheus text 0.0.4: a counter's `_total` is part of its family's name; there is no unit, exemplar or
/// end mark; and `le` is written as Go writes a float, since stores already have series with these labels.
pub(super) fn to_prometheus_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    families(text, |item| match item {
        ExpositionItem::Family { name, help, kind } => {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            let help = escaped(help, false);
            let _ = writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        }
        ExpositionItem::Unit(_) | ExpositionItem::End => {}
        ExpositionItem::Sample(line) => sample(line, &mut out),
    });
    out
}

/// Converts to valid OpenMetrics 1.0.0, with escapes in the help texts.
pub(super) fn to_valid_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    families(text, |item| {
        let _ = match item {
            ExpositionItem::Family { name, help, kind } => {
                writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(help, true))
            }
            ExpositionItem::Unit(line) | ExpositionItem::Sample(line) => writeln!(out, "{line}"),
            ExpositionItem::End => writeln!(out, "# EOF"),
        };
    });
    out
}

enum ExpositionItem<'a> {
    Family { name: &'a str, help: &'a str, kind: &'a str },
    Unit(&'a str),
    Sample(&'a str),
    End,
}

/// Splits `text` into items; a help text continues, over line ends, until its family's `# TYPE`.
fn families<'a>(mut text: &'a str, mut each: impl FnMut(ExpositionItem<'a>)) {
    while !text.is_empty() {
        if let Some((name, help, kind, rest)) = text.strip_prefix("# HELP ").and_then(family) {
            each(ExpositionItem::Family { name, help, kind });
            text = rest;
            continue;
        }
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        text = rest;
        match line {
            "" => {}
            "# EOF" => each(ExpositionItem::End),
            _ if line.starts_with("# UNIT ") => each(ExpositionItem::Unit(line)),
            _ => each(ExpositionItem::Sample(line)),
        }
    }
}

/// Splits off the first family of a text after its `# HELP `: its name, its help, its type, and the rest with its
/// samples. `None` where the text does not begin in this form.
fn family(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (name, rest) = text.split_once(' ')?;
    let marker = format!("\n# TYPE {name} ");
    let (help, rest) = rest.split_once(marker.as_str())?;
    let (kind, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    Some((name, help, kind, rest))
}

fn escaped(help: &str, quotes: bool) -> String {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { help.replace('"', "\\\"") } else { help }
}

/// Writes one sample: its `le` as Go writes it, and without its exemplar.
fn sample(line: &str, out: &mut String) {
    let labels_end = labels_end(line);
    let (labels, value) = line.split_at(labels_end);
    match le(labels) {
        Some((start, end, bound)) => {
            out.push_str(&labels[..start]);
            out.push_str(&go_float(bound));
            out.push_str(&labels[end..]);
        }
        None => out.push_str(labels),
    }
    out.push_str(value.split_once(" # ").map_or(value, |(value, _exemplar)| value));
    out.push('\n');
}

/// The index where the labels of a line end: after the first brace outside of quotes.
fn labels_end(line: &str) -> usize {
    let (mut quoted, mut escape) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escape => escape = false,
            b'\\' if quoted => escape = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return at + 1,
            b' ' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

/// The start, the end and the value of the label `le`; `None` where there is none, or it is not a number.
fn le(labels: &str) -> Option<(usize, usize, f64)> {
    let (mut quoted, mut escape) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escape => escape = false,
            b'\\' if quoted => escape = true,
            b'"' => quoted = !quoted,
            b'{' | b',' if !quoted => {
                if let Some(value) = labels[at + 1..].strip_prefix("le=\"") {
                    let start = at + 1 + "le=\"".len();
                    let end = start + value.find('"')?;
                    return Some((start, end, labels[start..end].parse().ok()?));
                }
            }
            _ => {}
        }
    }
    None
}

/// Formats a float as `strconv.FormatFloat(value, 'g', -1, 64)` does: with an exponent of at least two digits from
/// 1e+06 on and below 0.0001.
fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_writes_them() {
        let check = |value: f64, expected: &str| assert_eq!(go_float(value), expected);
        check(0.0, "0");
        check(1.0, "1");
        check(0.005, "0.005");
        check(2.5, "2.5");
        check(10.0, "10");
        check(524_288.0, "524288");
        check(1_048_576.0, "1.048576e+06");
        check(1_000_000.0, "1e+06");
        check(0.0001, "0.0001");
        check(0.000_01, "1e-05");
        check(-2_000_000.0, "-2e+06");
        check(1e100, "1e+100");
        check(f64::INFINITY, "+Inf");
    }

    #[test]
    fn text_0_0_4_out_of_open_metrics() {
        let open_metrics = "# HELP requests All \\ of\nthem.\n# TYPE requests counter\nrequests_total{a=\"}\\\" # \"} 1 # {id=\"x\"} 1\n\
                            # HELP size_bytes Size.\n# TYPE size_bytes histogram\n# UNIT size_bytes bytes\n\
                            size_bytes_bucket{x=\",le=\",le=\"1048576.0\"} 2\nsize_bytes_bucket{le=\"+Inf\"} 2 # {} 3\n\
                            # HELP build Which.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n\
                            # HELP odd Odd.\n# TYPE odd unknown\nodd 1\n# EOF\n";
        let expected = "# HELP requests_total All \\\\ of\\nthem.\n# TYPE requests_total counter\nrequests_total{a=\"}\\\" # \"} 1\n\
                        # HELP size_bytes Size.\n# TYPE size_bytes histogram\n\
                        size_bytes_bucket{x=\",le=\",le=\"1.048576e+06\"} 2\nsize_bytes_bucket{le=\"+Inf\"} 2\n\
                        # HELP build_info Which.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n\
                        # HELP odd Odd.\n# TYPE odd untyped\nodd 1\n";
        assert_eq!(to_prometheus_text(open_metrics), expected);
    }

    #[test]
    fn open_metrics_keeps_all_but_raw_help() {
        let raw = "# HELP a Say \"b\"\n\\.\n# TYPE a gauge\n# UNIT a a\na 1 # {} 2\n# EOF\n";
        let mended = "# HELP a Say \\\"b\\\"\\n\\\\.\n# TYPE a gauge\n# UNIT a a\na 1 # {} 2\n# EOF\n";
        assert_eq!(to_valid_open_metrics(raw), mended);
    }
}
