//! Decodes a gzip body as it arrives, all its members one after the other.
//!
//! Source: RFC 1952, 2.2.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header};

/// The number of compressed bytes that are decoded at a time: this bounds the memory where few bytes expand to many.
const STEP_BYTES: usize = 4096;

/// A decoder for one gzip body.
#[derive(Debug)]
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<DecodedBytes>,
    input: Bytes,
    is_empty: bool,
}

/// The reason why a body cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GunzipError {
    /// The decoded body is longer than the cap.
    TooLarge,
    /// The body is not gzip, or ends early.
    Corrupt(String),
}

/// The decoded bytes; a write of more than `remaining_bytes` bytes fails.
#[derive(Debug, Default)]
struct DecodedBytes {
    bytes: Vec<u8>,
    remaining_bytes: usize,
    is_full: bool,
}

impl Gunzip {
    /// A decoder where the headers say that the response is gzip; it removes `Content-Encoding` and `Content-Length`.
    pub(super) fn of(headers: &mut HeaderMap) -> Option<Self> {
        let coding = headers.get(header::CONTENT_ENCODING)?;
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"gzip") {
            return None;
        }
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        Some(Self { decoder: MultiGzDecoder::new(DecodedBytes::default()), input: Bytes::new(), is_empty: true })
    }

    /// Adds received bytes.
    pub(super) fn feed(&mut self, data: Bytes) {
        self.is_empty &= data.is_empty();
        self.input = data;
    }

    /// Whether there are bytes that are not decoded yet.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Decodes one step; the result may be empty.
    pub(super) fn next(&mut self, remaining_bytes: usize) -> Result<Bytes, GunzipError> {
        let step = self.input.split_to(self.input.len().min(STEP_BYTES));
        self.decoder.get_mut().remaining_bytes = remaining_bytes;
        let outcome = self.decoder.write_all(&step);
        self.output(outcome)
    }

    /// Returns the remaining decoded bytes, where the last member is complete. A body of 0 bytes decodes to an empty
    /// one.
    pub(super) fn finish(mut self, remaining_bytes: usize) -> Result<Bytes, GunzipError> {
        if self.is_empty {
            return Ok(Bytes::new());
        }
        self.decoder.get_mut().remaining_bytes = remaining_bytes;
        let outcome = self.decoder.try_finish();
        self.output(outcome)
    }

    /// Takes the output that was decompressed since the last call; an error of the decoder is [`GunzipError::TooLarge`]
    /// where the cap stopped it.
    fn output(&mut self, outcome: io::Result<()>) -> Result<Bytes, GunzipError> {
        let output = self.decoder.get_mut();
        match outcome {
            Ok(()) => Ok(std::mem::take(&mut output.bytes).into()),
            Err(_) if output.is_full => Err(GunzipError::TooLarge),
            Err(error) => Err(GunzipError::Corrupt(error.to_string())),
        }
    }
}

impl Write for DecodedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.remaining_bytes {
            self.is_full = true;
            return Err(io::Error::other("full"));
        }
        self.remaining_bytes -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;

    use super::*;

    fn member(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("written");
        encoder.finish().expect("finished")
    }

    fn decode(gzip: &[u8], piece: usize, cap: usize) -> Result<Vec<u8>, GunzipError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("GZIP"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
        let mut gunzip = Gunzip::of(&mut headers).expect("gzip");
        assert!(headers.is_empty(), "they are of the coded body");
        let mut plain = Vec::new();
        for data in gzip.chunks(piece) {
            gunzip.feed(Bytes::copy_from_slice(data));
            while gunzip.has_input() {
                plain.extend(gunzip.next(cap - plain.len())?);
            }
        }
        let remaining_bytes = cap - plain.len();
        plain.extend(gunzip.finish(remaining_bytes)?);
        Ok(plain)
    }

    #[test]
    fn every_member_is_read_in_pieces_of_any_size() {
        let gzip = [member(b"one "), member(b""), member(b"two "), member(&[b'x'; 100_000])].concat();
        let expected = [&b"one two "[..], &[b'x'; 100_000]].concat();
        for piece in [1, 2, 3, 7, 10, 11, 100, 5000, gzip.len()] {
            let plain = decode(&gzip, piece, usize::MAX).expect("gzip");
            assert!(plain == expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn the_cap_counts_what_is_decoded() {
        let gzip = [member(&[b'x'; 60_000]), member(&[b'x'; 40_000])].concat();
        assert!(gzip.len() < 1000);
        assert_eq!(decode(&gzip, 100, 100_000).map(|plain| plain.len()), Ok(100_000));
        assert_eq!(decode(&gzip, 100, 99_999), Err(GunzipError::TooLarge));
    }

    #[test]
    fn what_ends_early_or_is_no_gzip_is_an_error() {
        let gzip = [member(b"one two three"), member(b"four")].concat();
        let whole = [member(b"one two three").len(), gzip.len()];
        for end in 1..=gzip.len() {
            let outcome = decode(&gzip[..end], 8, 1000);
            assert_eq!(outcome.is_ok(), whole.contains(&end), "the first {end} bytes: {outcome:?}");
        }
        assert_eq!(decode(b"", 8, 1000), Ok(Vec::new()), "nothing is nothing");
        for bad in [&b"plain text that is no gzip"[..], &[member(b"one"), b"and more of it".to_vec()].concat()] {
            assert!(matches!(decode(bad, 8, 1000), Err(GunzipError::Corrupt(_))));
        }
        let mut flipped = member(b"one two three");
        let at = flipped.len() - 6;
        flipped[at] ^= 1;
        assert!(matches!(decode(&flipped, 8, 1000), Err(GunzipError::Corrupt(_))), "the checksum is held");
    }

    #[test]
    fn another_coding_is_left_alone() {
        let mut headers = HeaderMap::new();
        assert!(Gunzip::of(&mut headers).is_none());
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert!(Gunzip::of(&mut headers).is_none());
        assert_eq!(headers.len(), 1);
    }
}
