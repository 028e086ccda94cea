//! Checks messages that are forwarded without being decoded: each known field has its declared wire type, and text is UTF-8.
//!
//! So the server accepts the same messages as a generated decoder, and the store's decoder accepts what it forwards.

use crate::{
    error::Error,
    protobuf::{FieldReader, WireType, expect, utf8},
};

/// The declared type of a field.
#[derive(Clone, Copy)]
pub(crate) enum FieldKind {
    Varint,
    Double,
    Text,
    /// Varints, each in a field of its own or all in a packed field.
    Varints,
    /// Doubles, each in a field of its own or all in a packed field.
    Doubles,
    Message(&'static [(u32, FieldKind)]),
}

/// Checks one message against its schema; fields that the schema does not have are skipped.
pub(crate) fn check(message: &[u8], schema: &'static [(u32, FieldKind)]) -> Result<(), Error> {
    let mut reader = FieldReader::new(message);
    while let Some((number, wire)) = reader.field()? {
        match schema.iter().find(|(known, _)| *known == number) {
            Some((_, kind)) => check_field(&mut reader, wire, *kind)?,
            None => reader.skip(number, wire)?,
        }
    }
    Ok(())
}

/// Checks the value of one field.
pub(crate) fn check_field(reader: &mut FieldReader<'_>, wire: WireType, kind: FieldKind) -> Result<(), Error> {
    match kind {
        FieldKind::Varint => expect(wire, WireType::Varint).and_then(|()| reader.varint().map(drop)),
        FieldKind::Double => expect(wire, WireType::Fixed64).and_then(|()| reader.double().map(drop)),
        FieldKind::Text => expect(wire, WireType::Bytes).and_then(|()| utf8(reader.bytes()?).map(drop)),
        FieldKind::Message(schema) => expect(wire, WireType::Bytes).and_then(|()| check(reader.bytes()?, schema)),
        FieldKind::Varints if wire == WireType::Bytes => {
            let mut packed = FieldReader::new(reader.bytes()?);
            while packed.remaining() > 0 {
                packed.varint()?;
            }
            Ok(())
        }
        FieldKind::Varints => check_field(reader, wire, FieldKind::Varint),
        FieldKind::Doubles if wire == WireType::Bytes => {
            let mut packed = FieldReader::new(reader.bytes()?);
            while packed.remaining() > 0 {
                packed.double()?;
            }
            Ok(())
        }
        FieldKind::Doubles => check_field(reader, wire, FieldKind::Double),
    }
}

const LABEL: &[(u32, FieldKind)] = &[(1, FieldKind::Text), (2, FieldKind::Text)];
const SPAN: &[(u32, FieldKind)] = &[(1, FieldKind::Varint), (2, FieldKind::Varint)];
const TIMESTAMP: &[(u32, FieldKind)] = &[(1, FieldKind::Varint), (2, FieldKind::Varint)];

/// `prometheus.Exemplar`.
pub(crate) const REMOTE_EXEMPLAR: &[(u32, FieldKind)] =
    &[(1, FieldKind::Message(LABEL)), (2, FieldKind::Double), (3, FieldKind::Varint)];

/// `prometheus.MetricMetadata`.
pub(crate) const METADATA: &[(u32, FieldKind)] =
    &[(1, FieldKind::Varint), (2, FieldKind::Text), (4, FieldKind::Text), (5, FieldKind::Text)];

/// `prometheus.Histogram` without its timestamp.
pub(crate) const REMOTE_HISTOGRAM: &[(u32, FieldKind)] = &[
    (1, FieldKind::Varint),
    (2, FieldKind::Double),
    (3, FieldKind::Double),
    (4, FieldKind::Varint),
    (5, FieldKind::Double),
    (6, FieldKind::Varint),
    (7, FieldKind::Double),
    (8, FieldKind::Message(SPAN)),
    (9, FieldKind::Varints),
    (10, FieldKind::Doubles),
    (11, FieldKind::Message(SPAN)),
    (12, FieldKind::Varints),
    (13, FieldKind::Doubles),
    (14, FieldKind::Varint),
    (16, FieldKind::Doubles),
];

/// `io.prometheus.client.Exemplar`.
const EXEMPLAR: &[(u32, FieldKind)] =
    &[(1, FieldKind::Message(LABEL)), (2, FieldKind::Double), (3, FieldKind::Message(TIMESTAMP))];

/// `io.prometheus.client.Counter` without its value.
pub(crate) const COUNTER: &[(u32, FieldKind)] =
    &[(2, FieldKind::Message(EXEMPLAR)), (3, FieldKind::Message(TIMESTAMP))];

/// `io.prometheus.client.Summary` without its count, sum and quantiles.
pub(crate) const SUMMARY: &[(u32, FieldKind)] = &[(4, FieldKind::Message(TIMESTAMP))];

/// `io.prometheus.client.Bucket` without its counts and bound.
pub(crate) const BUCKET: &[(u32, FieldKind)] = &[(3, FieldKind::Message(EXEMPLAR))];

/// `io.prometheus.client.Histogram` without its counts, sum and buckets.
pub(crate) const HISTOGRAM: &[(u32, FieldKind)] = &[
    (5, FieldKind::Varint),
    (6, FieldKind::Double),
    (7, FieldKind::Varint),
    (8, FieldKind::Double),
    (9, FieldKind::Message(SPAN)),
    (10, FieldKind::Varints),
    (11, FieldKind::Doubles),
    (12, FieldKind::Message(SPAN)),
    (13, FieldKind::Varints),
    (14, FieldKind::Doubles),
    (15, FieldKind::Message(TIMESTAMP)),
    (16, FieldKind::Message(EXEMPLAR)),
];
