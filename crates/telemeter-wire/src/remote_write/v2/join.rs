//! Joins requests of 2.0 into one: a single table of symbols with each text once, and series that refer to it.

use super::{
    Contents,
    series::references,
    writer::{EXEMPLAR, LABELS, METADATA, RequestBuilder},
};
use crate::{
    error::Error,
    protobuf::{FieldReader, WireType, expect, fields, key, put_bytes, put_varint, utf8},
};

impl RequestBuilder {
    /// Adds all series of a request that another builder encoded; `contents` is its content. References are translated: for
    /// each symbol of the other request, the reference in this one is looked up once.
    ///
    /// # Errors
    /// [`Error::Protobuf`] or [`Error::NotUtf8`] for any other message.
    pub fn add_request(&mut self, message: &[u8], contents: &Contents) -> Result<(), Error> {
        self.contents.add(contents);
        self.metadata.clear();
        let mut map = std::mem::take(&mut self.map);
        let added = self.add_with(message, &mut map);
        self.map = map;
        added
    }

    fn add_with(&mut self, message: &[u8], map: &mut Vec<u32>) -> Result<(), Error> {
        map.clear();
        let mut reader = FieldReader::new(message);
        let mut symbols_end = 0;
        while let Some((4, wire)) = reader.field()? {
            expect(wire, WireType::Bytes)?;
            map.push(self.symbols.find_or_add(utf8(reader.bytes()?)?));
            symbols_end = message.len() - reader.remaining();
        }
        let series = &message[symbols_end..];
        if map.iter().zip(0..).all(|(reference, at)| *reference == at) {
            // All references stay the same, as always for the first request that is added.
            self.series.extend_from_slice(series);
            self.len += fields(series).count();
            return Ok(());
        }
        let mut reader = FieldReader::new(series);
        while let Some((number, wire)) = reader.field()? {
            if number != 5 {
                return Err(CHANGED);
            }
            expect(wire, WireType::Bytes)?;
            self.add_series(reader.bytes()?, map)?;
        }
        Ok(())
    }

    fn add_series(&mut self, message: &[u8], map: &[u32]) -> Result<(), Error> {
        self.packed.clear();
        self.body.clear();
        let mut reader = FieldReader::new(message);
        loop {
            let at = message.len() - reader.remaining();
            let Some((number, wire)) = reader.field()? else { break };
            match number {
                1 => put_references(&mut reader, wire, map, &mut self.packed)?,
                4 => {
                    expect(wire, WireType::Bytes)?;
                    self.add_exemplar(reader.bytes()?, map)?;
                }
                5 => {
                    expect(wire, WireType::Bytes)?;
                    self.add_metadata(reader.bytes()?, map)?;
                }
                _ => {
                    reader.skip(number, wire)?;
                    self.body.extend_from_slice(&message[at..message.len() - reader.remaining()]);
                }
            }
        }
        self.put_series_of_body();
        Ok(())
    }

    fn add_metadata(&mut self, message: &[u8], map: &[u32]) -> Result<(), Error> {
        let Self { body, field, .. } = self;
        field.clear();
        let mut reader = FieldReader::new(message);
        while let Some((number @ 1..16, wire)) = reader.field()? {
            expect(wire, WireType::Varint)?;
            let value = reader.varint()?;
            field.push(key(number as u8, WireType::Varint));
            put_varint(field, if number == 1 { value } else { mapped(value as u32, map)? });
        }
        put_bytes(body, METADATA, field);
        Ok(())
    }

    fn add_exemplar(&mut self, message: &[u8], map: &[u32]) -> Result<(), Error> {
        let Self { body, field, packed_exemplar, .. } = self;
        field.clear();
        packed_exemplar.clear();
        let mut reader = FieldReader::new(message);
        loop {
            let at = message.len() - reader.remaining();
            let Some((number, wire)) = reader.field()? else { break };
            if number == 1 {
                put_references(&mut reader, wire, map, packed_exemplar)?;
                put_bytes(field, LABELS, packed_exemplar);
            } else {
                reader.skip(number, wire)?;
                field.extend_from_slice(&message[at..message.len() - reader.remaining()]);
            }
        }
        put_bytes(body, EXEMPLAR, field);
        Ok(())
    }
}

/// The reference in this request of a reference in the request that is being added.
#[inline]
fn mapped(reference: u32, map: &[u32]) -> Result<u64, Error> {
    map.get(reference as usize).map(|mapped| u64::from(*mapped)).ok_or(CHANGED)
}

/// Appends the references of one field, translated by the map.
#[inline]
fn put_references(reader: &mut FieldReader<'_>, wire: WireType, map: &[u32], out: &mut Vec<u8>) -> Result<(), Error> {
    references(reader, wire, |reference| {
        put_varint(out, mapped(reference, map)?);
        Ok(())
    })
}

/// The error for a message that no builder encoded.
const CHANGED: Error = Error::protobuf("a request that is no longer as it was written");
