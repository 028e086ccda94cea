//! Labels in protobuf: a remote-write `Label` and an exposition `LabelPair` look the same on the wire.

use std::ops::Range;

use crate::{
    error::{Error, Limits},
    protobuf::{Reader, Wire, expect, put_bytes, put_varint, utf8, varint_len},
    series::{Label, SeriesSet},
};

/// Field 1, bytes: a label in its message, and the name in a label.
pub(crate) const FIRST: u8 = 0x0a;
/// Field 2, bytes: the value in a label.
const SECOND: u8 = 0x12;

/// Reads the labels that stand at the front of `message` in the form that encoders write: each with name and value, in
/// this order, shorter than 128 bytes. Returns how many bytes they take; all else is left to the caller.
///
/// The bytes between the texts are ASCII, so the whole run is checked as UTF-8 at once.
#[inline]
pub(crate) fn front<'a>(message: &'a [u8], limits: &Limits, set: &mut SeriesSet<'a>) -> Result<usize, Error> {
    let mut end = 0;
    while let Some(&[FIRST, len]) = message[end..].first_chunk::<2>() {
        let next = end + 2 + usize::from(len);
        if len >= 0x80 || next > message.len() {
            break;
        }
        end = next;
    }
    let Ok(run) = std::str::from_utf8(&message[..end]) else { return Ok(0) };
    let bytes = run.as_bytes();
    let mark = set.mark();
    let mut at = 0;
    while at < end {
        let next = at + 2 + usize::from(bytes[at + 1]);
        let Some(label) = plain(run, at + 2, next) else { break };
        limits.check_labels(set.mark() - mark + 1)?;
        limits.check_label(label.name.as_bytes(), label.value.as_bytes())?;
        set.push_label(label);
        at = next;
    }
    Ok(at)
}

/// The label in `run[from..to]`, where it is a name, a value and nothing else.
#[inline]
fn plain(run: &str, from: usize, to: usize) -> Option<Label<'_>> {
    let bytes = run.as_bytes().get(from..to)?;
    let &[FIRST, name_len, ..] = bytes else { return None };
    let name_end = 2 + usize::from(name_len);
    let &[SECOND, value_len, ..] = bytes.get(name_end..)? else { return None };
    if name_end + 2 + usize::from(value_len) != bytes.len() {
        return None;
    }
    Some(Label { name: run.get(from + 2..from + name_end)?, value: run.get(from + name_end + 2..to)? })
}

/// Decodes any label message; absent fields are empty, the last of several wins. The flag says whether the bytes are
/// what [`put_label`] would write.
pub(crate) fn decode<'a>(message: &'a [u8], limits: &Limits) -> Result<(Label<'a>, bool), Error> {
    let mut reader = Reader::new(message);
    let mut label = Label { name: "", value: "" };
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, Wire::Bytes)?;
                label.name = utf8(reader.bytes()?)?;
            }
            2 => {
                expect(wire, Wire::Bytes)?;
                label.value = utf8(reader.bytes()?)?;
            }
            _ => reader.skip(number, wire)?,
        }
    }
    limits.check_label(label.name.as_bytes(), label.value.as_bytes())?;
    let plain = message.len() == label_len(label) && message.first() == Some(&FIRST);
    Ok((label, plain))
}

/// How many bytes a label takes as a message.
#[inline]
pub(crate) fn label_len(label: Label<'_>) -> usize {
    let (name, value) = (label.name.len(), label.value.len());
    2 + varint_len(name as u64) + name + varint_len(value as u64) + value
}

/// Appends a label as field 1 of a message.
#[inline]
pub(crate) fn put_label(out: &mut Vec<u8>, label: Label<'_>) {
    out.push(FIRST);
    put_varint(out, label_len(label) as u64);
    put_bytes(out, FIRST, label.name.as_bytes());
    put_bytes(out, SECOND, label.value.as_bytes());
}

/// Where in `source` this label stands as a field, encoded as [`put_label`] would: told by the addresses of its texts, and
/// checked byte by byte between them. `None` for a label from elsewhere, or one that was changed.
#[inline]
fn field_of(source: &[u8], label: Label<'_>) -> Option<Range<usize>> {
    let (name, value) = (label.name.len(), label.value.len());
    let from = label.name.as_ptr().addr().wrapping_sub(source.as_ptr().addr()).wrapping_sub(4);
    let field = from..from.wrapping_add(6 + name + value);
    let bytes = source.get(field.clone())?;
    let &[FIRST, len, FIRST, name_len, ..] = bytes else { return None };
    let adjacent = label.name.as_ptr().addr() + name + 2 == label.value.as_ptr().addr();
    // Lengths of one byte: a longer one has its high bit set, and is not equal.
    let framed = usize::from(len) == bytes.len() - 2
        && len < 0x80
        && usize::from(name_len) == name
        && bytes[4 + name] == SECOND
        && usize::from(bytes[5 + name]) == value;
    (adjacent && framed).then_some(field)
}

/// Appends labels as fields of a message; what stands in `source` as it is to be is copied from there, neighbours together.
#[inline]
pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &[Label<'_>], source: &[u8]) {
    let mut run = 0..0;
    for &label in labels {
        match field_of(source, label) {
            Some(field) if field.start == run.end => run.end = field.end,
            Some(field) => out.extend_from_slice(&source[std::mem::replace(&mut run, field)]),
            None => {
                out.extend_from_slice(&source[std::mem::replace(&mut run, 0..0)]);
                put_label(out, label);
            }
        }
    }
    out.extend_from_slice(&source[run]);
}
