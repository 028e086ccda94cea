//! Cuts a body, as it arrives, into pieces that can be decoded on their own.
//!
//! So a reader of a large exposition never has all of it in memory: it decodes and processes piece by piece. Cuts are between
//! families; a family that is larger than a piece is cut between its metrics. In the delimited format, its name and type are
//! then repeated at the front of the next piece; in the text format, the decoder remembers the types from piece to piece.

use super::{ExpositionFormat, text::heads_family};
use crate::{
    error::Error,
    protobuf::{FieldReader, put_varint},
};

/// How many bytes are collected before a piece is cut off.
pub const PIECE_BYTES: usize = 256 * 1024;

/// The bytes that have arrived and are not decoded yet.
pub struct Pieces<'b> {
    format: ExpositionFormat,
    piece_bytes: usize,
    buffer: &'b mut Vec<u8>,
    /// The end of the last whole message in the buffer, in the delimited format.
    whole: usize,
    /// The family in whose middle the buffer begins, in the delimited format.
    family: Option<LargeFamily>,
}

/// A `MetricFamily` larger than a piece.
struct LargeFamily {
    /// The number of its bytes that were not passed on yet.
    left: usize,
    /// Its name and its type.
    head: Vec<u8>,
    /// Whether metrics of it were passed on.
    begun: bool,
}

/// `MetricFamily.metric`, by number.
const METRIC: u32 = 4;

impl<'b> Pieces<'b> {
    /// Collects bytes in `buffer`, which is emptied first.
    pub fn new(format: ExpositionFormat, piece_bytes: usize, buffer: &'b mut Vec<u8>) -> Self {
        buffer.clear();
        Self { format, piece_bytes, buffer, whole: 0, family: None }
    }

    /// Adds bytes that arrived; calls `decode` with a piece if there are enough for one.
    ///
    /// # Errors
    /// The errors of `decode`; [`Error::Protobuf`] for a large family whose name follows its metrics.
    pub fn push(&mut self, bytes: &[u8], mut decode: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        // The buffer grows by what arrives, not to twice its size: of a large body, half of it would be unused.
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.buffer.reserve_exact(bytes.len().max(self.piece_bytes).max(self.buffer.len() / 4));
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < self.piece_bytes {
            return Ok(());
        }
        match self.format {
            ExpositionFormat::Text => self.cut_text(&mut decode),
            ExpositionFormat::Delimited => self.cut_delimited(&mut decode),
        }
    }

    /// Calls `decode` with the rest.
    ///
    /// # Errors
    /// The errors of [`push`](Self::push); [`Error::Protobuf`] where the body ends in the middle of a large family.
    pub fn finish(mut self, mut decode: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        if self.family.is_some() && !self.cut_family(&mut decode)? {
            return Err(Error::Protobuf("the body ends in the middle of a family"));
        }
        decode(self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Decodes the complete lines in the buffer and removes them. Where several families are complete, the last one
    /// stays, so that it is not divided; a single one is divided between two lines.
    fn cut_text(&mut self, decode: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let Some(last_line) = self.buffer.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let lines = &self.buffer[..=last_line];
        let cut = family_starts(lines).filter(|at| *at > 0).last().unwrap_or(lines.len());
        decode(&self.buffer[..cut])?;
        self.buffer.drain(..cut);
        Ok(())
    }

    /// Decodes the complete messages in the buffer and removes them. A message longer than a piece is decoded in parts
    /// as its bytes come.
    fn cut_delimited(&mut self, decode: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            if self.family.is_some() && !self.cut_family(decode)? {
                return Ok(());
            }
            let ahead = loop {
                match message(&self.buffer[self.whole..]) {
                    Some((length, bytes)) if bytes <= self.buffer.len() - self.whole - length => {
                        self.whole += length + bytes;
                    }
                    ahead => break ahead,
                }
            };
            if self.whole > 0 {
                decode(&self.buffer[..self.whole])?;
                self.buffer.drain(..self.whole);
                self.whole = 0;
            }
            match ahead {
                Some((length, bytes)) if bytes > self.piece_bytes => {
                    self.buffer.drain(..length);
                    self.family = Some(LargeFamily { left: bytes, head: Vec::new(), begun: false });
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes on the metrics of the family that have arrived, as a family of their own. Whether the family has ended.
    /// Returns an error where its name or type comes after its metrics.
    fn cut_family(&mut self, decode: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<bool, Error> {
        let Some(family) = &mut self.family else { return Ok(true) };
        let here = &self.buffer[..family.left.min(self.buffer.len())];
        let (mut at, mut metrics) = (0, Vec::new());
        while let Some((number, bytes)) = field(&here[at..]) {
            let whole = &here[at..at + bytes];
            at += bytes;
            match number {
                METRIC => metrics.extend_from_slice(whole),
                1 | 3 if !family.begun && metrics.is_empty() => family.head.extend_from_slice(whole),
                1 | 3 => return Err(Error::Protobuf("a large family says its name or type behind its metrics")),
                _ => {}
            }
        }
        family.left -= at;
        let ended = family.left == 0;
        if !metrics.is_empty() {
            family.begun = true;
            let mut part = Vec::with_capacity(metrics.len() + family.head.len() + 10);
            put_varint(&mut part, (family.head.len() + metrics.len()) as u64);
            part.extend_from_slice(&family.head);
            part.append(&mut metrics);
            decode(&part)?;
        }
        self.buffer.drain(..at);
        if ended {
            self.family = None;
        }
        Ok(ended)
    }
}

/// The position of the comment lines with which a family begins.
fn family_starts(lines: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    let mut in_header = false;
    lines.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        let header = heads_family(line);
        let begins = header && !in_header;
        in_header = header;
        begins.then_some(start)
    })
}

/// The length of the message at the front: the number of bytes of the length itself, and its value. `None` where the length has
/// not arrived completely, or is not valid.
fn message(buffer: &[u8]) -> Option<(usize, usize)> {
    let mut reader = FieldReader::new(buffer);
    let bytes = reader.varint().ok()?;
    Some((buffer.len() - reader.remaining(), usize::try_from(bytes).ok()?))
}

/// The number of the field at the front and its bytes, key included; `None` where it has not arrived completely, or is not valid.
fn field(buffer: &[u8]) -> Option<(u32, usize)> {
    let mut reader = FieldReader::new(buffer);
    let (number, wire) = reader.field().ok()??;
    reader.skip(number, wire).ok()?;
    Some((number, buffer.len() - reader.remaining()))
}

#[cfg(test)]
mod tests;
