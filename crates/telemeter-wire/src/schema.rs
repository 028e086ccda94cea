//! Checks messages that are passed on unread: each known field has its declared wire type, and text is UTF-8.
//!
//! So we take what a generated decoder takes, and what we pass on is what the store's decoder takes.

use crate::{
    error::Error,
    protobuf::{Reader, Wire, expect, utf8},
};

/// What a field holds.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Varint,
    Double,
    Text,
    /// Varints, one a field or many in a packed field.
    Varints,
    /// Doubles, one a field or many in a packed field.
    Doubles,
    Message(&'static [(u32, Kind)]),
}

/// Checks one message against its schema.
pub(crate) fn check(message: &[u8], schema: &'static [(u32, Kind)]) -> Result<(), Error> {
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.field()? {
        match schema.iter().find(|(known, _)| *known == number) {
            Some((_, kind)) => check_field(&mut reader, wire, *kind)?,
            None => reader.skip(number, wire)?,
        }
    }
    Ok(())
}

/// Checks the value of one field.
pub(crate) fn check_field(reader: &mut Reader<'_>, wire: Wire, kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::Varint => expect(wire, Wire::Varint).and_then(|()| reader.varint().map(drop)),
        Kind::Double => expect(wire, Wire::Fixed64).and_then(|()| reader.double().map(drop)),
        Kind::Text => expect(wire, Wire::Bytes).and_then(|()| utf8(reader.bytes()?).map(drop)),
        Kind::Message(schema) => expect(wire, Wire::Bytes).and_then(|()| check(reader.bytes()?, schema)),
        Kind::Varints if wire == Wire::Bytes => {
            let mut packed = Reader::new(reader.bytes()?);
            while packed.remaining() > 0 {
                packed.varint()?;
            }
            Ok(())
        }
        Kind::Varints => check_field(reader, wire, Kind::Varint),
        Kind::Doubles if wire == Wire::Bytes => {
            let mut packed = Reader::new(reader.bytes()?);
            while packed.remaining() > 0 {
                packed.double()?;
            }
            Ok(())
        }
        Kind::Doubles => check_field(reader, wire, Kind::Double),
    }
}

const LABEL: &[(u32, Kind)] = &[(1, Kind::Text), (2, Kind::Text)];
const SPAN: &[(u32, Kind)] = &[(1, Kind::Varint), (2, Kind::Varint)];
const TIMESTAMP: &[(u32, Kind)] = &[(1, Kind::Varint), (2, Kind::Varint)];

/// `prometheus.Exemplar`.
pub(crate) const REMOTE_EXEMPLAR: &[(u32, Kind)] = &[(1, Kind::Message(LABEL)), (2, Kind::Double), (3, Kind::Varint)];

/// `prometheus.MetricMetadata`.
pub(crate) const METADATA: &[(u32, Kind)] = &[(1, Kind::Varint), (2, Kind::Text), (4, Kind::Text), (5, Kind::Text)];

/// `prometheus.Histogram`, but its timestamp.
pub(crate) const REMOTE_HISTOGRAM: &[(u32, Kind)] = &[
    (1, Kind::Varint),
    (2, Kind::Double),
    (3, Kind::Double),
    (4, Kind::Varint),
    (5, Kind::Double),
    (6, Kind::Varint),
    (7, Kind::Double),
    (8, Kind::Message(SPAN)),
    (9, Kind::Varints),
    (10, Kind::Doubles),
    (11, Kind::Message(SPAN)),
    (12, Kind::Varints),
    (13, Kind::Doubles),
    (14, Kind::Varint),
    (16, Kind::Doubles),
];

/// `io.prometheus.client.Exemplar`.
const EXEMPLAR: &[(u32, Kind)] = &[(1, Kind::Message(LABEL)), (2, Kind::Double), (3, Kind::Message(TIMESTAMP))];

/// `io.prometheus.client.Counter`, but its value.
pub(crate) const COUNTER: &[(u32, Kind)] = &[(2, Kind::Message(EXEMPLAR)), (3, Kind::Message(TIMESTAMP))];

/// `io.prometheus.client.Summary`, but its count, sum and quantiles.
pub(crate) const SUMMARY: &[(u32, Kind)] = &[(4, Kind::Message(TIMESTAMP))];

/// `io.prometheus.client.Bucket`, but its counts and bound.
pub(crate) const BUCKET: &[(u32, Kind)] = &[(3, Kind::Message(EXEMPLAR))];

/// `io.prometheus.client.Histogram`, but its counts, sum and buckets.
pub(crate) const HISTOGRAM: &[(u32, Kind)] = &[
    (5, Kind::Varint),
    (6, Kind::Double),
    (7, Kind::Varint),
    (8, Kind::Double),
    (9, Kind::Message(SPAN)),
    (10, Kind::Varints),
    (11, Kind::Doubles),
    (12, Kind::Message(SPAN)),
    (13, Kind::Varints),
    (14, Kind::Doubles),
    (15, Kind::Message(TIMESTAMP)),
    (16, Kind::Message(EXEMPLAR)),
];
