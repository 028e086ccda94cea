//! The text format, version 0.0.4: a sample a line.
//!
//! Taken beyond it: names quoted in the braces, as Prometheus 3 writes those outside its old alphabet.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use memchr::{memchr, memchr2};

use crate::{
    error::{Error, Limits},
    exposition::put_float,
    series::{Label, MetricType, NAME_LABEL, Points, Sample, SeriesSet},
};

/// Decodes a whole body into `set`; see [`decode`](super::decode).
///
/// # Errors
/// [`Error::Text`] with the line for what is not of this format; [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(body: &'a [u8], limits: &Limits, set: &mut SeriesSet<'a>) -> Result<(), Error> {
    let body = match std::str::from_utf8(body) {
        Ok(body) => body,
        Err(error) => {
            let line = 1 + memchr::memchr_iter(b'\n', &body[..error.valid_up_to()]).count();
            return Err(Error::Text { line, reason: "text that is not UTF-8" });
        }
    };
    let mut family = Family { name: "", kind: MetricType::Untyped };
    let mut before = "";
    let mut rest = body;
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let end = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let text = trim(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or("");
        let result = match text.as_bytes().first() {
            None => Ok(()),
            Some(b'#') => comment(&text[1..], &mut family).map_err(Flaw::Reason),
            Some(_) => sample(text, &family, &mut before, limits, set),
        };
        result.map_err(|flaw| match flaw {
            Flaw::Reason(reason) => Error::Text { line, reason },
            Flaw::Limit(error) => error,
        })?;
    }
    Ok(())
}

/// The last family that a `# TYPE` line named.
struct Family<'a> {
    name: &'a str,
    kind: MetricType,
}

/// What is wrong with a line.
enum Flaw {
    Reason(&'static str),
    Limit(Error),
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Self::Limit(error)
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r'])
}

/// Mostly there is none.
#[inline]
fn skip_blanks(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b' ' | b'\t') => text.trim_start_matches([' ', '\t']),
        _ => text,
    }
}

/// Splits off the word at the front.
fn word(text: &str) -> (&str, &str) {
    let text = trim(text);
    let end = memchr2(b' ', b'\t', text.as_bytes()).unwrap_or(text.len());
    (&text[..end], trim(&text[end..]))
}

/// A line behind `#`: a type, a help text, or nothing to us.
fn comment<'a>(text: &'a str, family: &mut Family<'a>) -> Result<(), &'static str> {
    let (keyword, rest) = word(text);
    if keyword != "TYPE" {
        return Ok(());
    }
    let (name, kind) = rest.rsplit_once([' ', '\t']).ok_or("a TYPE line without name and type")?;
    let kind = match kind {
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "summary" => MetricType::Summary,
        "histogram" => MetricType::Histogram,
        "untyped" | "unknown" => MetricType::Untyped,
        _ => return Err("a TYPE line with a type that does not exist"),
    };
    let name = trim(name);
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    *family = Family { name: quoted.unwrap_or(name), kind };
    Ok(())
}

/// A line `name{label="value",...} value [timestamp]`.
fn sample<'a>(
    text: &'a str,
    family: &Family<'a>,
    before: &mut &'a str,
    limits: &Limits,
    set: &mut SeriesSet<'a>,
) -> Result<(), Flaw> {
    limits.check_series(set.len())?;
    let mark = set.mark();
    let end = text.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(text.len());
    let (mut name, mut rest) = text.split_at(end);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Flaw::Reason("a metric name begins with a digit"));
    }
    if !name.is_empty() {
        limits.check_label(NAME_LABEL.as_bytes(), name.as_bytes())?;
        set.push_label(Label { name: NAME_LABEL, value: name });
    }
    rest = skip_blanks(rest);
    if let Some(inside) = rest.strip_prefix('{') {
        rest = labels(inside, limits, mark, set)?;
        if name.is_empty() {
            // A quoted name stands among the labels; it moves to the front.
            let pushed = set.pushed_mut(mark);
            let at = pushed.iter().position(|label| label.name == NAME_LABEL);
            let at = at.ok_or(Flaw::Reason("a sample without a metric name"))?;
            pushed[..=at].rotate_right(1);
            name = pushed[0].value;
        }
    } else if name.is_empty() {
        return Err(Flaw::Reason("a metric name was expected"));
    } else if rest.len() + name.len() == text.len() && !rest.is_empty() {
        return Err(Flaw::Reason("a metric name holds a character that it may not hold"));
    }
    let (value, rest) = word(rest);
    if value.is_empty() {
        return Err(Flaw::Reason("a sample without a value"));
    }
    let value = fast_float2::parse(value).map_err(|_| Flaw::Reason("a value that is no number"))?;
    let (timestamp, rest) = word(rest);
    if !rest.is_empty() {
        return Err(Flaw::Reason("more than a value and a timestamp"));
    }
    let timestamp_ms = match timestamp {
        "" => None,
        _ => Some(timestamp.parse().map_err(|_| Flaw::Reason("a timestamp that is no whole number of milliseconds"))?),
    };
    limits.check_held(set.mark())?;
    // One text for the name of a whole run.
    if *before == name {
        name = before;
        set.pushed_mut(mark)[0].value = name;
    } else {
        *before = name;
    }
    let kind = match family.kind {
        MetricType::Counter | MetricType::Gauge if family.name == name => family.kind,
        _ => MetricType::Untyped,
    };
    set.finish(mark, kind, Points::Sample(Sample { value, timestamp_ms }));
    Ok(())
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

/// The labels between the braces; returns what stands behind the closing one.
fn labels<'a>(mut rest: &'a str, limits: &Limits, mark: usize, set: &mut SeriesSet<'a>) -> Result<&'a str, Flaw> {
    loop {
        rest = skip_blanks(rest);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let (name, quoted) = if let Some(inside) = rest.strip_prefix('"') {
            let (name, behind) = quoted(inside, set)?;
            rest = behind;
            (name, true)
        } else {
            let end = rest.bytes().position(|byte| !is_name_byte(byte) || byte == b':').unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            rest = behind;
            if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
                return Err(Flaw::Reason("a label name was expected"));
            }
            (name, false)
        };
        rest = skip_blanks(rest);
        let label = if let Some(behind) = rest.strip_prefix('=') {
            let Some(inside) = skip_blanks(behind).strip_prefix('"') else {
                return Err(Flaw::Reason("a label value without its quote"));
            };
            let (value, behind) = self::quoted(inside, set)?;
            rest = behind;
            Label { name, value }
        } else if quoted {
            Label { name: NAME_LABEL, value: name }
        } else {
            return Err(Flaw::Reason("a label without a value"));
        };
        limits.check_labels(set.mark() - mark + 1)?;
        limits.check_label(label.name.as_bytes(), label.value.as_bytes())?;
        set.push_label(label);
        rest = skip_blanks(rest);
        match rest.as_bytes().first() {
            Some(b',') => rest = &rest[1..],
            Some(b'}') => {}
            _ => return Err(Flaw::Reason("a comma or a closing brace was expected")),
        }
    }
}

/// The text up to the closing quote, and what stands behind that. It is copied only where something is escaped.
fn quoted<'a>(text: &'a str, set: &SeriesSet<'a>) -> Result<(&'a str, &'a str), Flaw> {
    const OPEN: Flaw = Flaw::Reason("a quote that is not closed");
    let first = memchr2(b'"', b'\\', text.as_bytes()).ok_or(OPEN)?;
    if text.as_bytes()[first] == b'"' {
        return Ok((&text[..first], &text[first + 1..]));
    }
    // As long as what is quoted: each escape makes it shorter.
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
            _ => return Err(Flaw::Reason("an escape that does not exist")),
        });
        rest = &rest[next + 2..];
    }
}

/// Appends all series of `set` to `out`, a `# TYPE` line before each run of one name and type. Only the float samples of
/// remote-write series have a form here; each is a line.
pub fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    let mut family: Option<(&str, MetricType)> = None;
    for series in set.iter() {
        let name = series.name();
        for sample in series.samples() {
            if family != Some((name, series.kind)) {
                family = Some((name, series.kind));
                put_type(name, series.kind, out);
            }
            put_sample(name, series.labels, sample, out);
        }
    }
}

/// Appends a `# TYPE` line.
pub fn put_type(name: &str, kind: MetricType, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# TYPE ");
    put_name(name, out);
    out.extend_from_slice(match kind {
        MetricType::Counter => b" counter\n",
        MetricType::Gauge => b" gauge\n",
        // A series has a single value, whatever its family is.
        MetricType::Summary | MetricType::Untyped | MetricType::Histogram | MetricType::GaugeHistogram => b" untyped\n",
    });
}

/// Appends the line of one sample. `labels` may hold `__name__`: it is not written twice.
pub fn put_sample(name: &str, labels: &[Label<'_>], sample: Sample, out: &mut Vec<u8>) {
    let plain = is_plain_name(name);
    if plain {
        out.extend_from_slice(name.as_bytes());
    }
    let mut separator = b'{';
    if !plain {
        out.push(separator);
        put_quoted(name, out);
        separator = b',';
    }
    for label in labels.iter().filter(|label| label.name != NAME_LABEL) {
        out.push(separator);
        separator = b',';
        if is_plain_name(label.name) && !label.name.contains(':') {
            out.extend_from_slice(label.name.as_bytes());
        } else {
            put_quoted(label.name, out);
        }
        out.push(b'=');
        put_quoted(label.value, out);
    }
    if separator == b',' {
        out.push(b'}');
    }
    out.push(b' ');
    put_float(out, sample.value);
    if let Some(timestamp) = sample.timestamp_ms {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
    }
    out.push(b'\n');
}

/// Whether a name can stand without quotes.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_name_byte)
}

fn put_name(name: &str, out: &mut Vec<u8>) {
    if is_plain_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        put_quoted(name, out);
    }
}

fn put_quoted(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(at) = memchr::memchr3(b'"', b'\\', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            _ => b"\\n",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests;
