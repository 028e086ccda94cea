//! Finds the part of a sample line that is not UTF-8, for the error.

use super::{is_blank, is_name_byte};
use crate::{
    Error,
    error::{TextPart, excerpt},
};

/// The error for the sample line `line`, of which the byte at `bad` is not UTF-8. Other errors of the line are ignored.
pub(super) fn sample(number: usize, line: &[u8], bad: usize) -> Error {
    let (metric, part) = find_part(line, bad);
    Error::not_utf8("text format", Some(number), metric, part)
}

/// The metric name of a sample line, where it has one, and the part of the line that the byte at `bad` belongs to.
fn find_part(line: &[u8], bad: usize) -> (Option<&[u8]>, TextPart) {
    let mut at = line.iter().take_while(|byte| is_blank(**byte)).count();
    // Bytes that are not UTF-8 count as part of a name.
    let end = skip_while(line, at, |byte| is_name_byte(byte) || byte >= 0x80);
    let mut metric = (end > at).then(|| &line[at..end]);
    if bad < end {
        return (metric, TextPart::MetricName);
    }
    let mut found = None;
    at = skip_while(line, end, is_blank);
    if line.get(at) == Some(&b'{') {
        at += 1;
        loop {
            at = skip_while(line, at, |byte| is_blank(byte) || byte == b',');
            if at >= line.len() || line[at] == b'}' {
                break;
            }
            let (name, name_end) = name(line, at);
            let equals = skip_while(line, name_end, is_blank);
            if line.get(equals) != Some(&b'=') {
                // A metric name, or bytes that cannot be one.
                metric = metric.or(Some(name));
                if (at..name_end).contains(&bad) {
                    return (metric, TextPart::MetricName);
                }
                at = name_end.max(at + 1);
                continue;
            }
            let quote = skip_while(line, equals + 1, is_blank);
            let value_end = match line.get(quote) {
                Some(b'"') => quoted_end(line, quote),
                _ => skip_while(line, quote, |byte| !is_blank(byte) && !matches!(byte, b',' | b'}')),
            };
            if (at..name_end).contains(&bad) {
                found = Some(TextPart::LabelName(excerpt(name)));
            } else if (name_end..value_end).contains(&bad) {
                found = Some(TextPart::LabelValue(excerpt(name)));
            }
            at = value_end.max(at + 1);
        }
    }
    (metric, found.unwrap_or(TextPart::Elsewhere))
}

fn skip_while(line: &[u8], from: usize, skip: impl Fn(u8) -> bool) -> usize {
    let rest = line.get(from..).unwrap_or_default();
    from.min(line.len()) + rest.iter().take_while(|byte| skip(**byte)).count()
}

/// A name, with or without quotes, and its end.
fn name(line: &[u8], at: usize) -> (&[u8], usize) {
    if line[at] == b'"' {
        let end = quoted_end(line, at);
        return (&line[at + 1..(end - 1).max(at + 1)], end);
    }
    let end = skip_while(line, at, |byte| !is_blank(byte) && !matches!(byte, b'=' | b',' | b'}' | b'"'));
    (&line[at..end], end)
}

/// The position after the quote that closes the one at `at`; the end of the line if there is none.
fn quoted_end(line: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = line.get(end) {
        end += match byte {
            b'\\' => 2,
            b'"' => return end + 1,
            _ => 1,
        };
    }
    line.len()
}
