//! Snappy in its two forms, each with a cap on decompressed bytes: the raw *block* of remote write, and the *framed* stream
//! of `/upload`. They are not interchangeable.
//!
//! Source: <https://github.com/google/snappy/blob/main/format_description.txt> and `framing_format.txt` beside it.

mod origins;

pub use origins::{ChunkOrigin, origins};

use crate::{
    error::Error,
    protobuf::{FieldReader, put_varint},
};

/// The largest possible ratio of decompressed to compressed bytes: three bytes copy at most 64.
pub const MAX_RATIO: usize = 22;
/// The most decompressed bytes of a chunk of the framed form.
const MAX_CHUNK: usize = 65_536;
const STREAM_IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";

const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;

/// Decompresses a block. The content of `out` is replaced; its length before only saves the cost of filling new bytes.
///
/// # Errors
/// [`Error::TooLong`] where the block declares more than `cap_bytes`, before any are allocated; [`Error::Snappy`] for bytes
/// that are not a block.
pub fn decode_block(block: &[u8], cap_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let len = block_len(block, cap_bytes)?;
    set_len(out, len);
    decompress(block, out)?;
    Ok(())
}

/// The number of decompressed bytes that a block declares; 0 where it is not a block, or declares more than it can have.
#[must_use]
pub fn announced_len(block: &[u8]) -> usize {
    block_len(block, usize::MAX).unwrap_or(0)
}

/// Decompresses a framed stream. The content of `out` is replaced; its length before only saves the cost of filling new bytes.
///
/// # Errors
/// [`Error::TooLong`] as soon as the chunks have more than `cap_bytes`; [`Error::Snappy`] for bytes that are not such a
/// stream, also for a truncated one and for a wrong checksum.
pub fn decode_framed(stream: &[u8], cap_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut rest = stream;
    let mut len = 0;
    if !rest.is_empty() && !rest.starts_with(STREAM_IDENTIFIER) {
        return Err(Error::Snappy("the stream does not begin with its identifier"));
    }
    while !rest.is_empty() {
        let Some((&[kind, a, b, c], after)) = rest.split_first_chunk::<4>() else {
            return Err(Error::Snappy("a chunk header is cut off"));
        };
        let Some((chunk, after)) = after.split_at_checked(u32::from_le_bytes([a, b, c, 0]) as usize) else {
            return Err(Error::Snappy("a chunk is cut off"));
        };
        rest = after;
        match kind {
            COMPRESSED | UNCOMPRESSED => {
                let Some((&checksum, data)) = chunk.split_first_chunk::<4>() else {
                    return Err(Error::Snappy("a chunk is shorter than its checksum"));
                };
                let plain_len = if kind == COMPRESSED { block_len(data, MAX_CHUNK)? } else { data.len() };
                if plain_len > MAX_CHUNK {
                    return Err(Error::Snappy("a chunk holds over 65536 bytes"));
                }
                if plain_len > cap_bytes - len {
                    return Err(Error::TooLong { cap_bytes });
                }
                if out.len() < len + plain_len {
                    out.resize(len + plain_len, 0);
                }
                let into = &mut out[len..len + plain_len];
                if kind == COMPRESSED {
                    decompress(data, into)?;
                } else {
                    into.copy_from_slice(data);
                }
                if chunk_checksum(into) != u32::from_le_bytes(checksum) {
                    return Err(Error::Snappy("a checksum is wrong"));
                }
                len += plain_len;
            }
            0xff if chunk == &STREAM_IDENTIFIER[4..] => {}
            0xff => return Err(Error::Snappy("a stream identifier is wrong")),
            // Padding, and chunks that readers have to skip.
            0x80..=0xfe => {}
            0x02..=0x7f => return Err(Error::Snappy("a chunk of an unknown kind")),
        }
    }
    out.truncate(len);
    Ok(())
}

/// Appends to `out` one block that decompresses to the concatenation of what these blocks decompress to. They are not
/// decompressed for this: the offset of a copy is relative to its position, so the elements of a block mean the same after
/// those of others, and only the lengths in the headers have to be added.
///
/// # Errors
/// [`Error::Snappy`] for bytes that do not begin with a block's header. The elements are not checked.
pub fn join_blocks<'b>(blocks: impl Iterator<Item = &'b [u8]> + Clone, out: &mut Vec<u8>) -> Result<(), Error> {
    let split = |block| {
        let mut reader = FieldReader::new(block);
        let len = reader.varint().map_err(|_| Error::Snappy("the block's length is no number"))?;
        Ok((len, reader.rest()))
    };
    let mut len = 0_u64;
    for block in blocks.clone() {
        len = len.saturating_add(split(block)?.0);
    }
    put_varint(out, len);
    for block in blocks {
        out.extend_from_slice(split(block)?.1);
    }
    Ok(())
}

/// The number of decompressed bytes in the header of a block, checked against the cap and against [`MAX_RATIO`].
fn block_len(block: &[u8], cap_bytes: usize) -> Result<usize, Error> {
    let len = snap::raw::decompress_len(block).map_err(|_| Error::Snappy("the block's length is no number"))?;
    if len > cap_bytes {
        return Err(Error::TooLong { cap_bytes });
    }
    if len > block.len().saturating_mul(MAX_RATIO) {
        return Err(Error::Snappy("the block says that it holds more than it can"));
    }
    Ok(len)
}

fn decompress(block: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let len = snap::raw::Decoder::new().decompress(block, out).map_err(|_| Error::Snappy("the block is corrupt"))?;
    if len == out.len() { Ok(()) } else { Err(Error::Snappy("the block is shorter than it says")) }
}

/// Sets the length; bytes that are added are zero, and those that stay are not written.
fn set_len(out: &mut Vec<u8>, len: usize) {
    if out.len() < len {
        out.resize(len, 0);
    } else {
        out.truncate(len);
    }
}

/// The checksum of a chunk of the framed form: the masked CRC-32C of its decompressed bytes.
#[must_use]
pub fn chunk_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A compressor, which uses its tables and its buffer again.
pub struct Encoder {
    raw: snap::raw::Encoder,
    buffer: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self { raw: snap::raw::Encoder::new(), buffer: Vec::new() }
    }

    /// Appends `bytes` to `out` as one block.
    pub fn block(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.compress_block(bytes));
    }

    /// Appends `bytes` to `out` as a framed stream.
    pub fn framed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(STREAM_IDENTIFIER);
        for chunk in bytes.chunks(MAX_CHUNK) {
            let checksum = chunk_checksum(chunk).to_le_bytes();
            let compressed = self.compress_block(chunk);
            // As other encoders do: a chunk that shrinks by less than an eighth is not compressed.
            let (kind, data) = if compressed.len() < chunk.len() - chunk.len() / 8 {
                (COMPRESSED, compressed)
            } else {
                (UNCOMPRESSED, chunk)
            };
            let [a, b, c, _] = ((data.len() + 4) as u32).to_le_bytes();
            out.extend_from_slice(&[kind, a, b, c]);
            out.extend_from_slice(&checksum);
            out.extend_from_slice(data);
        }
    }

    /// Compresses into the buffer, which grows as needed and is used again, and returns the compressed block in it.
    fn compress_block(&mut self, bytes: &[u8]) -> &[u8] {
        let most = snap::raw::max_compress_len(bytes.len());
        if self.buffer.len() < most {
            self.buffer.resize(most, 0);
        }
        // compress() has two errors: a buffer that is too small, and an input of 4 GiB, which no request has.
        let len = self.raw.compress(bytes, &mut self.buffer).expect("the buffer has the maximum length");
        &self.buffer[..len]
    }

    /// The size of its buffer, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new().block(bytes, &mut out);
        out
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new().framed(bytes, &mut out);
        out
    }

    #[test]
    fn exactly_the_cap_is_allowed() {
        let mut out = Vec::new();
        assert_eq!(decode_block(&block(&[7; 1000]), 1000, &mut out), Ok(()));
        assert_eq!(out, [7; 1000]);
        assert_eq!(decode_block(&block(&[7; 1000]), 999, &mut out), Err(Error::TooLong { cap_bytes: 999 }));
        assert_eq!(decode_framed(&framed(&[7; 200_000]), 200_000, &mut out), Ok(()));
        assert_eq!(out, [7; 200_000]);
        assert_eq!(
            decode_framed(&framed(&[7; 200_000]), 199_999, &mut out),
            Err(Error::TooLong { cap_bytes: 199_999 })
        );
    }

    #[test]
    fn a_lying_header_allocates_nothing() {
        let mut out = Vec::new();
        let claims_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert_eq!(decode_block(&claims_4_gib, 1 << 20, &mut out), Err(Error::TooLong { cap_bytes: 1 << 20 }));
        let claims_a_mib = [0x80, 0x80, 0x40, 0x00];
        assert_eq!(
            decode_block(&claims_a_mib, 1 << 20, &mut out),
            Err(Error::Snappy("the block says that it holds more than it can"))
        );
        assert_eq!(out.capacity(), 0);
    }

    /// A block may be forwarded as the sender compressed it, and the store has another decoder: so a block with two possible
    /// meanings has to be refused.
    #[test]
    fn copies_from_outside_of_the_output_are_refused() {
        let check = |elements: &[u8], expected: Result<&[u8], Error>| {
            let mut out = vec![9; 3];
            let decoded = decode_block(&[&[5, 0, b'a'], elements].concat(), 100, &mut out);
            assert_eq!(decoded.map(|()| &out[..]), expected, "{elements:02x?}");
        };
        let corrupt = || Err(Error::Snappy("the block is corrupt"));
        check(&[0x01, 0x01], Ok(b"aaaaa"));
        // Offset 0, which some decoders take for the previous offset; before the start of the output; past its end.
        check(&[0x01, 0x00], corrupt());
        check(&[0x0e, 0x00, 0x00], corrupt());
        check(&[0x01, 0x02], corrupt());
        check(&[0x05, 0x01], corrupt());
        check(&[0x01, 0x01, 0x00, b'b'], corrupt());
        check(&[], Err(Error::Snappy("the block is corrupt")));
    }

    #[test]
    fn invalid_streams_are_refused() {
        fn check(stream: &[u8], reason: &'static str) {
            assert_eq!(decode_framed(stream, 1 << 20, &mut Vec::new()), Err(Error::Snappy(reason)), "{stream:02x?}");
        }
        let good = framed(b"hello hello hello hello hello");
        check(&block(b"hello"), "the stream does not begin with its identifier");
        check(&good[..good.len() - 1], "a chunk is cut off");
        check(&good[..12], "a chunk header is cut off");
        let mut wrong = good.clone();
        wrong[14] ^= 1;
        check(&wrong, "a checksum is wrong");
        let mut unknown = good.clone();
        unknown[10] = 0x02;
        check(&unknown, "a chunk of an unknown kind");
        let mut padded = good.clone();
        padded.extend_from_slice(&[0xfe, 2, 0, 0, 9, 9]);
        assert_eq!(decode_framed(&padded, 1 << 20, &mut Vec::new()), Ok(()));
    }

    proptest! {
        #[test]
        fn a_joined_block_decompresses_to_the_concatenation(
            parts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), 0_usize..9), 0..8)
        ) {
            let parts: Vec<_> = parts.into_iter().map(|(bytes, repeat)| bytes.repeat(repeat)).collect();
            let blocks: Vec<_> = parts.iter().map(|bytes| block(bytes)).collect();
            let (mut joined, mut out) = (b"before".to_vec(), Vec::new());
            join_blocks(blocks.iter().map(Vec::as_slice), &mut joined).expect("blocks");
            decode_block(joined.strip_prefix(b"before").expect("the bytes that were there before"), 1 << 20, &mut out).expect("a block");
            prop_assert_eq!(out, parts.concat());
            prop_assert!(join_blocks([&[0x80][..]].into_iter(), &mut joined).is_err());
        }

        #[test]
        fn both_forms_agree_with_the_library(bytes in proptest::collection::vec(any::<u8>(), 0..3000), repeat in 1_usize..80) {
            let bytes = bytes.repeat(repeat);
            let mut out = vec![1; 17];
            decode_block(&block(&bytes), bytes.len(), &mut out).expect("our own block");
            prop_assert_eq!(&out, &bytes);
            decode_framed(&framed(&bytes), bytes.len(), &mut out).expect("our own stream");
            prop_assert_eq!(&out, &bytes);
            let mut library = Vec::new();
            std::io::copy(&mut snap::read::FrameDecoder::new(&framed(&bytes)[..]), &mut library).expect("a stream");
            prop_assert_eq!(&library, &bytes);
            library.clear();
            std::io::copy(&mut snap::read::FrameEncoder::new(&bytes[..]), &mut library).expect("a stream");
            decode_framed(&library, bytes.len(), &mut out).expect("the library's stream");
            prop_assert_eq!(&out, &bytes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_block(&bytes, 10_000, &mut Vec::new());
            let _ = decode_framed(&bytes, 10_000, &mut Vec::new());
            let stream = [&STREAM_IDENTIFIER[..], &bytes].concat();
            let _ = decode_framed(&stream, 10_000, &mut Vec::new());
        }
    }
}
