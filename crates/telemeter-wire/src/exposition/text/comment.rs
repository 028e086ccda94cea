//! Parses comment lines: the type of a metric family, its help text, or any other comment.

use super::{BAD_ESCAPE, LineProblem, TextFamilies, is_blank, plain_name, quoted, skip_blanks, token};
use crate::series::{MetricType, SeriesSet};

/// Parses a comment line, of which the `#` was read.
///
/// A `TYPE` or `HELP` line without a name, or with nothing after the name, is ignored, and is not an error.
pub(super) fn read<'a>(text: &'a str, set: &SeriesSet<'a>, families: &mut TextFamilies) -> Result<(), LineProblem> {
    let (keyword, rest) = token(skip_blanks(text));
    let is_type = match keyword {
        "TYPE" => true,
        "HELP" => false,
        _ => return Ok(()),
    };
    let rest = skip_blanks(rest);
    let (name, rest) = match rest.strip_prefix('"') {
        Some(inside) => quoted(inside, set)?,
        None if rest.starts_with(|first: char| first.is_ascii_digit()) => ("", rest),
        None => plain_name(rest),
    };
    let Some(&behind) = rest.as_bytes().first() else { return Ok(()) };
    if !is_blank(behind) {
        return Err(LineProblem::Reason("a TYPE or HELP line in which no metric name stands"));
    }
    let family = families.find_or_add(name);
    let rest = skip_blanks(rest);
    if rest.is_empty() {
        return Ok(());
    }
    if is_type {
        if family.kind.is_some() {
            return Err(LineProblem::Reason("a second TYPE line of one metric, or one behind its samples"));
        }
        family.kind = Some(kind(rest).ok_or(LineProblem::Reason("a TYPE line with a type that does not exist"))?);
    } else {
        if std::mem::replace(&mut family.has_help, true) {
            return Err(LineProblem::Reason("a second HELP line of one metric"));
        }
        check_escapes(rest)?;
    }
    Ok(())
}

/// Whether a line is the type or the help text of a metric family.
pub(crate) fn heads_family(line: &[u8]) -> bool {
    let Some(text) = line.trim_ascii_start().strip_prefix(b"#") else { return false };
    let text = text.trim_ascii_start();
    let behind = text.strip_prefix(b"TYPE").or_else(|| text.strip_prefix(b"HELP"));
    behind.and_then(|behind| behind.first()).is_some_and(|byte| is_blank(*byte))
}

/// The type with this name, in lower or upper case; `name` is all of the rest of the line. `None` for an unknown type.
fn kind(name: &str) -> Option<MetricType> {
    const KINDS: [(&str, MetricType); 7] = [
        ("counter", MetricType::Counter),
        ("gauge", MetricType::Gauge),
        ("untyped", MetricType::Untyped),
        ("histogram", MetricType::Histogram),
        ("summary", MetricType::Summary),
        ("gaugehistogram", MetricType::GaugeHistogram),
        ("gauge_histogram", MetricType::GaugeHistogram),
    ];
    KINDS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
}

/// Checks the escapes of a help text, which is not kept.
fn check_escapes(help: &str) -> Result<(), LineProblem> {
    let mut rest = help.as_bytes();
    while let Some(at) = memchr::memchr(b'\\', rest) {
        match rest.get(at + 1) {
            Some(b'\\' | b'n' | b'"') => rest = &rest[at + 2..],
            _ => return Err(LineProblem::Reason(BAD_ESCAPE)),
        }
    }
    Ok(())
}
