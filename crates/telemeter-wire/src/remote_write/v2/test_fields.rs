//! Fields of protobuf messages, as the tests of both directions write them.

use crate::protobuf::{WireType, key, put_bytes, put_varint};

/// A length-delimited field.
pub(super) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, key(number, WireType::Bytes), bytes);
    out
}

/// A varint field.
pub(super) fn varint(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![key(number, WireType::Varint)];
    put_varint(&mut out, value);
    out
}

/// A double field.
pub(super) fn double(number: u8, value: f64) -> Vec<u8> {
    [&[key(number, WireType::Fixed64)], &value.to_le_bytes()[..]].concat()
}
