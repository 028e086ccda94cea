//! The decoder of the text format, version 0.0.4: one sample per line.
//!
//! It accepts what Go's `expfmt` accepts, and refuses what that refuses; the tables in `text/tests.rs` have the rules. There
//! are two exceptions: lines that end with CR and LF, and a last line without a line feed, are accepted.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>; Go:
//! `github.com/prometheus/common/expfmt/text_parse.go` (v0.45; names in quotes and gauge histograms as in later ones).

use std::str::Utf8Error;

use memchr::{memchr, memchr2};

use crate::{
    error::{DecodeLimits, Error, excerpt},
    series::{Label, MetricType, NAME_LABEL, Points, Sample, SeriesSet},
};

mod comment;
mod encode;
pub(crate) mod families;
mod not_utf8;
mod number;

pub(crate) use comment::heads_family;
pub use encode::{encode, encode_part, put_histogram, put_sample, put_type};
pub use families::TextFamilies;

/// Decodes a whole body into `set`; see [`decode`](super::decode).
///
/// # Errors
/// [`Error::Text`], [`Error::DuplicateLabel`] or [`Error::NotUtf8`] with the number of the first invalid line;
/// [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(body: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<(), Error> {
    let arena = set.arena();
    let mut families = arena.take_families();
    families.clear();
    let result = decode_part(body, limits, set, &mut families);
    arena.keep_families(families);
    result
}

/// Decodes a part of a body that was cut between lines: `families` has the families of earlier parts, and receives those of
/// this part.
///
/// # Errors
/// The errors of [`decode`]; lines are counted from the beginning of the body.
pub fn decode_part<'a>(
    part: &'a [u8],
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    families: &mut TextFamilies,
) -> Result<(), Error> {
    match std::str::from_utf8(part) {
        Ok(text) => decode_lines(text, limits, set, families),
        Err(_) => lines_with_other_bytes(part, limits, set, families),
    }
}

/// Decodes the lines of a text into `set`, and their families into `families`. Stops at the first error, which has the
/// number of its line, counted from the beginning of the body; the series of earlier lines stay in `set`.
fn decode_lines<'a>(
    text: &'a str,
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    families: &mut TextFamilies,
) -> Result<(), Error> {
    let mut run = Run { name: "", family: MetricType::Untyped };
    let mut rest = text;
    while !rest.is_empty() {
        families.lines += 1;
        let end = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let line = &rest[..end];
        let line = skip_blanks(line.strip_suffix('\r').unwrap_or(line));
        rest = rest.get(end + 1..).unwrap_or("");
        let result = match line.as_bytes().first() {
            None => Ok(()),
            Some(b'#') => comment::read(&line[1..], set, families),
            Some(_) => sample(line, &mut run, limits, set, families),
        };
        if let Err(flaw) = result {
            return Err(match flaw {
                LineProblem::Reason(reason) => Error::Text { line: families.lines, reason },
                LineProblem::DuplicateLabel(label) => Error::DuplicateLabel { line: families.lines, label },
                LineProblem::Limit(error) => error,
            });
        }
    }
    Ok(())
}

/// As [`decode_lines`], for a part that is not UTF-8 as a whole. As in Go, a comment may have any bytes; in any other
/// line, bytes that are not UTF-8 are an error.
#[cold]
fn lines_with_other_bytes<'a>(
    part: &'a [u8],
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    families: &mut TextFamilies,
) -> Result<(), Error> {
    let mut text = bumpalo::collections::String::with_capacity_in(part.len(), set.arena().text());
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        if let Err(error) = add_line(line, &mut text) {
            decode_lines(text.into_bump_str(), limits, set, families)?;
            return Err(not_utf8::sample(families.lines + 1, line, error.valid_up_to()));
        }
    }
    decode_lines(text.into_bump_str(), limits, set, families)
}

/// Adds a line to `text`; in a comment, bytes that are not UTF-8 are replaced by question marks.
fn add_line(line: &[u8], text: &mut bumpalo::collections::String<'_>) -> Result<(), Utf8Error> {
    match std::str::from_utf8(line) {
        Ok(line) => text.push_str(line),
        Err(error) if !line.trim_ascii_start().starts_with(b"#") => return Err(error),
        Err(_) => {
            for chunk in line.utf8_chunks() {
                text.push_str(chunk.valid());
                text.push_str(if chunk.invalid().is_empty() { "" } else { "?" });
            }
        }
    }
    Ok(())
}

/// A run of samples with one name.
struct Run<'a> {
    name: &'a str,
    /// The type of the family that they belong to.
    family: MetricType,
}

/// What is wrong with a line.
enum LineProblem {
    Reason(&'static str),
    DuplicateLabel(String),
    Limit(Error),
}

impl From<Error> for LineProblem {
    fn from(error: Error) -> Self {
        Self::Limit(error)
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Mostly there is none.
#[inline]
fn skip_blanks(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b' ' | b'\t') => text.trim_start_matches([' ', '\t']),
        _ => text,
    }
}

/// Splits off the text before the first blank.
#[inline]
fn token(text: &str) -> (&str, &str) {
    text.split_at(memchr2(b' ', b'\t', text.as_bytes()).unwrap_or(text.len()))
}

/// Splits off the characters at the front that are allowed in a name without quotes.
#[inline]
fn plain_name(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(text.len()))
}

/// Parses a line `name{label="value",...} value [timestamp]` and adds its series.
fn sample<'a>(
    line: &'a str,
    run: &mut Run<'a>,
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    families: &mut TextFamilies,
) -> Result<(), LineProblem> {
    limits.check_series(set.len())?;
    let mark = set.mark();
    let (mut name, mut rest) = plain_name(line);
    if name.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return Err(LineProblem::Reason("a metric name begins with a digit"));
    }
    if name.is_empty() {
        let Some(inside) = rest.strip_prefix('{') else {
            return Err(LineProblem::Reason("a metric name was expected"));
        };
        rest = labels(inside, true, limits, mark, set)?;
        // The metric name is one of the labels: it is moved to the front.
        let pushed = set.pushed_mut(mark);
        let at = pushed.iter().position(|label| label.name == NAME_LABEL);
        let at = at.ok_or(LineProblem::Reason("a sample without a metric name"))?;
        pushed[..=at].rotate_right(1);
        name = pushed[0].value;
    } else {
        limits.check_label(NAME_LABEL.as_bytes(), name.as_bytes())?;
        set.push_label(Label { name: NAME_LABEL, value: name });
        rest = skip_blanks(rest);
        if let Some(inside) = rest.strip_prefix('{') {
            rest = labels(inside, false, limits, mark, set)?;
        }
    }
    // All series of a run share the same text as their name.
    if run.name == name {
        set.pushed_mut(mark)[0].value = run.name;
    } else {
        *run = Run { name, family: families.sample(name) };
    }
    let kind = match run.family {
        MetricType::Counter | MetricType::Gauge => run.family,
        MetricType::Untyped => MetricType::Untyped,
        MetricType::Summary => {
            check_bound("quantile", "a label quantile that is no number", set.pushed(mark))?;
            MetricType::Untyped
        }
        MetricType::Histogram | MetricType::GaugeHistogram => {
            check_bound("le", "a label le that is no number", set.pushed(mark))?;
            MetricType::Untyped
        }
    };
    let (value, rest) = token(skip_blanks(rest));
    let value = number::parse(value).map_err(LineProblem::Reason)?;
    let timestamp_ms =
        if rest.is_empty() { None } else { Some(timestamp(skip_blanks(rest)).map_err(LineProblem::Reason)?) };
    limits.check_all_labels(set.mark())?;
    set.finish(mark, kind, Points::Sample(Sample { value, timestamp_ms }));
    Ok(())
}

/// Parses the time at the end of a line; a blank after it, or in its place, is an error.
fn timestamp(text: &str) -> Result<i64, &'static str> {
    let (timestamp, behind) = token(text);
    if !behind.is_empty() {
        return Err("more than a value and a timestamp");
    }
    timestamp.parse().map_err(|_| "a timestamp that is no whole number of milliseconds in 64 bits")
}

/// Checks that the label of a bucket's bound or of a quantile, if there is one, is a number.
fn check_bound(label: &str, reason: &'static str, labels: &[Label<'_>]) -> Result<(), LineProblem> {
    let mut bounds = labels.iter().filter(|other| other.name == label);
    let is_number = bounds.all(|bound| number::parse(bound.value).is_ok());
    if is_number { Ok(()) } else { Err(LineProblem::Reason(reason)) }
}

const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b':');
        byte += 1;
    }
    table
};

#[inline]
const fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[byte as usize]
}

/// Parses the labels between the braces; returns the text after the closing one. If there is no metric name before them
/// (`nameless`), it is in the braces, and becomes the label `__name__`.
fn labels<'a>(
    mut rest: &'a str,
    mut nameless: bool,
    limits: &DecodeLimits,
    mark: usize,
    set: &mut SeriesSet<'a>,
) -> Result<&'a str, LineProblem> {
    let (mut before, mut ascending) = ("", true);
    loop {
        rest = skip_blanks(rest);
        if let Some(behind) = rest.strip_prefix('}') {
            rest = behind;
            break;
        }
        let (name, behind) = label_name(rest, set)?;
        rest = skip_blanks(behind);
        let label = if let Some(behind) = rest.strip_prefix('=') {
            if name == NAME_LABEL {
                return Err(LineProblem::Reason("the label name __name__ is reserved"));
            }
            let Some(inside) = skip_blanks(behind).strip_prefix('"') else {
                return Err(LineProblem::Reason("a label value without its quote"));
            };
            let (value, behind) = quoted(inside, set)?;
            rest = behind;
            ascending &= is_before(before, name);
            before = name;
            Label { name, value }
        } else if nameless {
            nameless = false;
            Label { name: NAME_LABEL, value: name }
        } else {
            return Err(LineProblem::Reason("a label without a value"));
        };
        limits.check_labels(set.mark() - mark + 1)?;
        limits.check_label(label.name.as_bytes(), label.value.as_bytes())?;
        set.push_label(label);
        rest = skip_blanks(rest);
        match rest.as_bytes().first() {
            Some(b',') => rest = &rest[1..],
            Some(b'}') => {}
            _ => return Err(LineProblem::Reason("a comma or a closing brace was expected")),
        }
    }
    if ascending { Ok(rest) } else { check_duplicates(set.pushed(mark)).map(|()| rest) }
}

/// Parses the name of a label, or of a metric in braces.
#[inline]
fn label_name<'a>(text: &'a str, set: &SeriesSet<'a>) -> Result<(&'a str, &'a str), LineProblem> {
    let (name, behind) = match text.strip_prefix('"') {
        Some(inside) => quoted(inside, set)?,
        None => text.split_at(text.bytes().position(|byte| !is_name_byte(byte) || byte == b':').unwrap_or(text.len())),
    };
    let is_plain = !text.starts_with('"');
    if name.is_empty() || is_plain && name.as_bytes()[0].is_ascii_digit() {
        return Err(LineProblem::Reason("a label name was expected"));
    }
    Ok((name, behind))
}

/// `one < other`; mostly the first bytes are different.
#[inline]
fn is_before(one: &str, other: &str) -> bool {
    let (first, other_first) = (one.as_bytes().first(), other.as_bytes().first());
    if first == other_first { one < other } else { first < other_first }
}

/// Checks that no two labels have the same name. Only called for labels that are not sorted.
#[cold]
fn check_duplicates(labels: &[Label<'_>]) -> Result<(), LineProblem> {
    let mut names: Vec<&str> = labels.iter().map(|label| label.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(LineProblem::DuplicateLabel(excerpt(pair[0].as_bytes()))),
        None => Ok(()),
    }
}

/// Parses the text up to the closing quote; also returns the text after it. The text is copied only if it has escapes.
fn quoted<'a>(text: &'a str, set: &SeriesSet<'a>) -> Result<(&'a str, &'a str), LineProblem> {
    const OPEN: LineProblem = LineProblem::Reason("a quote that is not closed");
    let first = memchr2(b'"', b'\\', text.as_bytes()).ok_or(OPEN)?;
    if text.as_bytes()[first] == b'"' {
        return Ok((&text[..first], &text[first + 1..]));
    }
    // The length of the quoted text is enough, since unescaping makes it shorter.
    let mut end = first;
    while text.as_bytes()[end] == b'\\' {
        let behind = text.as_bytes().get(end + 2..).ok_or(OPEN)?;
        end += 2 + memchr2(b'"', b'\\', behind).ok_or(OPEN)?;
    }
    let mut plain = bumpalo::collections::String::with_capacity_in(end, set.arena().text());
    let mut rest = text;
    loop {
        let next = memchr2(b'"', b'\\', rest.as_bytes()).ok_or(OPEN)?;
        plain.push_str(&rest[..next]);
        if rest.as_bytes()[next] == b'"' {
            return Ok((plain.into_bump_str(), &rest[next + 1..]));
        }
        plain.push(match rest.as_bytes().get(next + 1) {
            Some(b'\\') => '\\',
            Some(b'"') => '"',
            Some(b'n') => '\n',
            _ => return Err(LineProblem::Reason(BAD_ESCAPE)),
        });
        rest = &rest[next + 2..];
    }
}

const BAD_ESCAPE: &str = "an escape that does not exist";

#[cfg(test)]
mod tests;
