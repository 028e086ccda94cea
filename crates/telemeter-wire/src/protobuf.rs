//! Protobuf primitives: a reader of fields over borrowed bytes, and functions that append fields to a `Vec`.
//!
//! The reader is as strict as a generated decoder: field number 0, wrong wire types, varints over 64 bits and text that is
//! not UTF-8 are errors. Unknown fields are skipped, groups included.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use std::ops::Range;

use crate::error::Error;

/// The wire type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    GroupStart = 3,
    GroupEnd = 4,
    Fixed32 = 5,
}

/// The length of a time in milliseconds as a varint, for times from 1971 to 2109.
pub(crate) const TIMESTAMP_LEN: usize = 6;

/// The value of a varint of exactly six bytes; `None` where the varint is shorter or longer.
#[inline]
pub(crate) fn timestamp(varint: [u8; TIMESTAMP_LEN]) -> Option<i64> {
    let [a, b, c, d, e, f] = varint;
    let low = |byte: u8, at: u32| i64::from(byte & 0x7f) << (7 * at);
    let ends_here = a & b & c & d & e >= 0x80 && f < 0x80;
    ends_here.then_some(low(a, 0) | low(b, 1) | low(c, 2) | low(d, 3) | low(e, 4) | low(f, 5))
}

/// A time in milliseconds as a varint of exactly six bytes, which [`timestamp`] reads; higher bits are lost.
pub(crate) fn timestamp_varint(timestamp_ms: i64) -> [u8; TIMESTAMP_LEN] {
    std::array::from_fn(|group| {
        let more = if group + 1 < TIMESTAMP_LEN { 0x80 } else { 0 };
        (timestamp_ms >> (7 * group)) as u8 & 0x7f | more
    })
}

/// How deep unknown groups may nest.
const MAX_GROUP_DEPTH: u32 = 64;

/// Reads fields from the front of a message.
#[derive(Clone, Copy)]
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The number of bytes that are not read yet.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes that are not read yet.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and wire type; `None` at the end of the message. Returns an error for the number 0 and
    /// for an unknown type.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, WireType)>, Error> {
        let Some(&first) = self.rest.first() else { return Ok(None) };
        let key = if first < 0x80 {
            self.rest = &self.rest[1..];
            u64::from(first)
        } else {
            self.varint()?
        };
        let key = u32::try_from(key).map_err(|_| Error::protobuf("field key over 32 bits"))?;
        if key >> 3 == 0 {
            return Err(Error::protobuf("field number 0"));
        }
        let wire = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(Error::protobuf("unknown wire type")),
        };
        Ok(Some((key >> 3, wire)))
    }

    /// A base-128 varint of at most 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        match *self.rest {
            [a, ..] if a < 0x80 => {
                self.rest = &self.rest[1..];
                Ok(u64::from(a))
            }
            [a, b, ..] if b < 0x80 => {
                self.rest = &self.rest[2..];
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    /// Reads a varint of any length up to ten bytes. Returns an error where it does not end, or is over 64 bits;
    /// nothing is read then.
    fn long_varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(Error::protobuf("varint over 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Error::protobuf("varint does not end"))
    }

    /// A length, and as many bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = self.varint()?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(Error::protobuf("a length goes past the end"));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// Eight bytes, little endian, as a double.
    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, Error> {
        Ok(f64::from_bits(u64::from_le_bytes(self.fixed()?)))
    }

    /// Reads `N` bytes of a number. Returns an error, and reads nothing, where fewer are left.
    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Error::protobuf("a number goes past the end"));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    /// Skips the value of an unknown field.
    pub(crate) fn skip(&mut self, number: u32, wire: WireType) -> Result<(), Error> {
        self.skip_nested(number, wire, 0)
    }

    /// Skips the value of a field; for a group, all fields up to the end of the same number. Returns an error where
    /// groups nest deeper than [`MAX_GROUP_DEPTH`].
    fn skip_nested(&mut self, number: u32, wire: WireType, depth: u32) -> Result<(), Error> {
        match wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed::<8>().map(drop),
            WireType::Fixed32 => self.fixed::<4>().map(drop),
            WireType::Bytes => self.bytes().map(drop),
            WireType::GroupEnd => Err(Error::protobuf("a group ends that did not begin")),
            WireType::GroupStart if depth >= MAX_GROUP_DEPTH => Err(Error::protobuf("groups nest too deep")),
            WireType::GroupStart => loop {
                match self.field()? {
                    Some((end, WireType::GroupEnd)) if end == number => return Ok(()),
                    Some((inner, wire)) => self.skip_nested(inner, wire, depth + 1)?,
                    None => return Err(Error::protobuf("a group does not end")),
                }
            },
        }
    }
}

/// Fails where a known field has another wire type than its declaration.
#[inline]
pub(crate) fn expect(wire: WireType, declared: WireType) -> Result<(), Error> {
    if wire == declared { Ok(()) } else { Err(Error::protobuf("a field has the wrong wire type")) }
}

/// The error of [`utf8`]. A caller that knows the metric replaces it by an [`Error::NotUtf8`] with the metric's name.
pub(crate) const NOT_UTF8: Error = Error::protobuf("text that is not UTF-8");

/// These bytes as text. The standard library checks ASCII, which most labels are, eight bytes at a time.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)
}

/// The length of `value` as a varint, in bytes.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    // 9/64 is slightly more than 1/7, which gives the exact result for every bit length.
    ((64 - (value | 1).leading_zeros()) as usize * 9 + 64) / 64
}

/// Appends `value` as a varint.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of bytes: key, length, bytes.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    out.push(key);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The key byte of a field with a number below 16.
pub(crate) const fn key(number: u8, wire: WireType) -> u8 {
    number << 3 | wire as u8
}

/// The most common length of a message's length, in bytes.
const LENGTH_BYTES: usize = 2;

/// Appends a length and the message that `fill` appends. Returns the range of the message, and the result of `fill`. The
/// length is only known afterwards: [`LENGTH_BYTES`] are reserved, and the message is moved if its length takes more or less.
#[inline]
pub(crate) fn put_message<T>(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>) -> T) -> (Range<usize>, T) {
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let from = out.len();
    let result = fill(out);
    let len = out.len() - from;
    let takes = varint_len(len as u64);
    match takes {
        1 => drop(out.remove(from - 1)),
        LENGTH_BYTES => {}
        more => drop(out.splice(from..from, (LENGTH_BYTES..more).map(|_| 0))),
    }
    let mut at = from - LENGTH_BYTES;
    let mut rest = len;
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    let from = from - LENGTH_BYTES + takes;
    (from..from + len, result)
}

/// The length-delimited fields of a message with their numbers, up to the first byte that cannot be decoded.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut reader = FieldReader::new(message);
    std::iter::from_fn(move || {
        loop {
            match reader.field().ok()?? {
                (number, WireType::Bytes) => return Some((number, reader.bytes().ok()?)),
                (number, wire) => reader.skip(number, wire).ok()?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_keep_their_value_and_length() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(FieldReader::new(&out).varint(), Ok(value));
            }
        }
    }

    #[test]
    fn a_present_time_takes_six_bytes() {
        for time_ms in [1 << 35, 1_795_330_870_734, (1 << 42) - 1] {
            let bytes = timestamp_varint(time_ms);
            let mut out = Vec::new();
            put_varint(&mut out, time_ms as u64);
            assert_eq!((&bytes[..], timestamp(bytes)), (&out[..], Some(time_ms)));
        }
    }

    #[test]
    fn invalid_messages_are_refused() {
        fn check(bytes: &[u8], reason: &'static str) {
            let mut reader = FieldReader::new(bytes);
            let result = reader.field().and_then(|field| match field {
                Some((number, wire)) => reader.skip(number, wire),
                None => Ok(()),
            });
            assert_eq!(result, Err(Error::protobuf(reason)), "{bytes:02x?}");
        }
        check(&[0x00, 0x00], "field number 0");
        check(&[0x0e], "unknown wire type");
        check(&[0x0c], "a group ends that did not begin");
        check(&[0x0b], "a group does not end");
        check(&[0x0a, 0x02, 0x00], "a length goes past the end");
        check(&[0x09, 0x02], "a number goes past the end");
        check(&[0x08, 0xff], "varint does not end");
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "varint over 64 bits");
        check(&[0x0b; 100], "groups nest too deep");
    }

    #[test]
    fn a_group_is_skipped_with_all_its_fields() {
        let mut reader = FieldReader::new(&[0x0b, 0x10, 0x01, 0x13, 0x14, 0x1a, 0x01, 0x00, 0x0c, 0x28, 0x07]);
        let (number, wire) = reader.field().expect("a key").expect("a field");
        assert_eq!(reader.skip(number, wire), Ok(()));
        assert_eq!(reader.field(), Ok(Some((5, WireType::Varint))));
    }
}
