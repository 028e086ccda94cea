//! `MetricMetadata` of a `WriteRequest`: one entry for each family.

use hashbrown::HashSet;

use crate::{
    error::{DecodeLimits, Error},
    protobuf::{FieldReader, WireType, key, put_bytes, put_message, put_varint, utf8},
    series::{FamilyMetadata, SeriesSet},
};

/// The keys of an entry in the message, and of the fields of an entry.
const ENTRY: u8 = key(3, WireType::Bytes);
const KIND: u8 = key(1, WireType::Varint);
const FAMILY: u8 = key(2, WireType::Bytes);
const HELP: u8 = key(4, WireType::Bytes);
const UNIT: u8 = key(5, WireType::Bytes);

/// Adds an entry that was checked to the set.
pub(super) fn decode<'a>(entry: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<(), Error> {
    let (mut metadata, mut reader) = (FamilyMetadata::default(), FieldReader::new(entry));
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => metadata.kind = reader.varint()? as u32,
            2 => metadata.family = utf8(reader.bytes()?)?,
            4 => metadata.help = utf8(reader.bytes()?)?,
            5 => metadata.unit = utf8(reader.bytes()?)?,
            _ => reader.skip(number, wire)?,
        }
    }
    if metadata.family.is_empty() {
        return Ok(());
    }
    set.add_metadata(metadata, limits).map(drop)
}

/// Appends the metadata of a set: each family once, first the families of series. An ambiguous name is left out.
pub(super) fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    if !set.has_metadata() {
        return;
    }
    let mut encoded = HashSet::new();
    let of_series = (0..set.len()).filter(|&index| !set.is_ambiguous(index));
    for metadata in of_series.filter_map(|index| set.metadata_of(index)).chain(set.metadata_without_series()) {
        if encoded.insert(metadata.family) {
            put(metadata, out);
        }
    }
}

fn put(metadata: &FamilyMetadata<'_>, out: &mut Vec<u8>) {
    out.push(ENTRY);
    put_message(out, |out| {
        if metadata.kind != 0 {
            out.push(KIND);
            put_varint(out, u64::from(metadata.kind));
        }
        for (key, text) in [(FAMILY, metadata.family), (HELP, metadata.help), (UNIT, metadata.unit)] {
            if !text.is_empty() {
                put_bytes(out, key, text.as_bytes());
            }
        }
    });
}
