//! Maps each decompressed byte of a framed stream to its position in the stream, so that bytes can be replaced in place
//! without compressing the stream again.

use std::ops::Range;

use super::{STREAM_IDENTIFIER, UNCOMPRESSED};
use crate::protobuf::FieldReader;

/// A chunk of a framed stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkOrigin {
    /// The range of its checksum in the stream.
    pub checksum: Range<usize>,
    /// The range of its decompressed bytes.
    pub plain: Range<usize>,
}

/// For each decompressed byte of `stream`, the position in the stream of that byte, or of the byte of which it is a copy;
/// also the chunks. `None` for a stream that [`framed`](super::Encoder::framed) did not write.
#[must_use]
pub fn origins(stream: &[u8]) -> Option<(Vec<usize>, Vec<ChunkOrigin>)> {
    let (mut origins, mut chunks) = (Vec::new(), Vec::new());
    let mut at = STREAM_IDENTIFIER.len();
    while at < stream.len() {
        let &[kind, a, b, c, _, _, _, _, ..] = stream.get(at..)? else { return None };
        let (checksum, first) = (at + 4..at + 8, origins.len());
        at += 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
        let data = checksum.end..at;
        stream.get(data.clone())?;
        if kind == UNCOMPRESSED {
            origins.extend(data);
        } else {
            append_origins(&stream[..at], data.start, &mut origins)?;
        }
        chunks.push(ChunkOrigin { checksum, plain: first..origins.len() });
    }
    Some((origins, chunks))
}

/// Appends the origins of the decompressed bytes of the block that begins at `at` and ends with `stream`.
fn append_origins(stream: &[u8], mut at: usize, origins: &mut Vec<usize>) -> Option<()> {
    let mut reader = FieldReader::new(&stream[at..]);
    // The length of the block.
    reader.varint().ok()?;
    at = stream.len() - reader.remaining();
    while at < stream.len() {
        let (kind, high) = (stream[at] & 3, usize::from(stream[at] >> 2));
        let more = match kind {
            0 => high.saturating_sub(59),
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let extra = number(stream.get(at + 1..at + 1 + more)?);
        at += 1 + more;
        let (len, back) = match kind {
            0 => {
                let literal = at..at + 1 + if more == 0 { high } else { extra };
                stream.get(literal.clone())?;
                at = literal.end;
                origins.extend(literal);
                continue;
            }
            1 => (4 + (high & 7), (high >> 3) << 8 | extra),
            _ => (1 + high, extra),
        };
        // One by one, because a copy may overlap its own output.
        for _ in 0..len {
            let from = origins.len().checked_sub(back)?;
            origins.push(*origins.get(from)?);
        }
    }
    Some(())
}

fn number(little_endian: &[u8]) -> usize {
    little_endian.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snappy::Encoder;

    proptest! {
        #[test]
        fn each_byte_is_at_its_origin(parts in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..80), 1_usize..900), 0..8,
        )) {
            let plain: Vec<u8> = parts.iter().flat_map(|(part, repeat)| part.repeat(*repeat)).collect();
            let mut stream = Vec::new();
            Encoder::new().framed(&plain, &mut stream);
            let (origins, chunks) = origins(&stream).expect("our own stream");
            let found: Vec<u8> = origins.iter().map(|&at| stream[at]).collect();
            prop_assert_eq!(&found, &plain);
            prop_assert_eq!(chunks.iter().map(|chunk| chunk.plain.len()).sum::<usize>(), plain.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = origins(&[STREAM_IDENTIFIER, &bytes[..]].concat());
            let _ = origins(&[&STREAM_IDENTIFIER[..], &[0, bytes.len() as u8 + 4, 0, 0, 0, 0, 0, 0], &bytes].concat());
        }
    }
}
