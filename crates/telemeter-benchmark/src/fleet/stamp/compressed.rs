//! A framed snappy stream in which the bytes of a stamp are exchanged without compressing anew: most of them stand in it
//! once, as they are, and copies repeat them.

use std::ops::Range;

use telemeter_wire::snappy;

const STREAM_IDENTIFIER_BYTES: usize = 10;
const CHUNK_HEADER_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
const UNCOMPRESSED: u8 = 0x01;

/// A compressed template.
pub(super) struct Compressed {
    stream: Vec<u8>,
    /// Where in the stream a byte of the stamp stands, and which.
    literals: Vec<(usize, usize)>,
    chunks: Vec<Chunk>,
}

/// A chunk of the stream.
struct Chunk {
    /// Where its checksum stands.
    checksum: usize,
    /// Which of the plain bytes it holds.
    plain: Range<usize>,
}

impl Compressed {
    /// Compresses `plain`, of whose bytes `stamps` says which byte of the stamp each is. `None` where a copy took a byte
    /// of the stamp for another that happened to be the same.
    pub(super) fn new(plain: &[u8], stamps: &[Option<usize>]) -> Option<Self> {
        let mut stream = Vec::new();
        snappy::Encoder::new().framed(plain, &mut stream);
        let (origins, chunks) = origins(&stream);
        let mut stands_for = vec![None; stream.len()];
        for (origin, stamp) in origins.into_iter().zip(stamps) {
            if stands_for[origin].replace(stamp).is_some_and(|before| before != stamp) {
                return None;
            }
        }
        let literals = stands_for.into_iter().enumerate();
        let literals = literals.filter_map(|(at, stamp)| Some((at, (*stamp?)?))).collect();
        Some(Self { stream, literals, chunks })
    }

    /// The stream that holds `plain`, the template with this stamp.
    pub(super) fn stamped(&self, stamp: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut stream = self.stream.clone();
        for &(at, index) in &self.literals {
            stream[at] = stamp[index];
        }
        for chunk in &self.chunks {
            let checksum = snappy::chunk_checksum(&plain[chunk.plain.clone()]);
            stream[chunk.checksum..][..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        }
        stream
    }
}

/// Where in the stream, which is our own encoder's, each plain byte stands: itself, or the one that it is a copy of.
fn origins(stream: &[u8]) -> (Vec<usize>, Vec<Chunk>) {
    let (mut origins, mut chunks) = (Vec::new(), Vec::new());
    let mut at = STREAM_IDENTIFIER_BYTES;
    while at < stream.len() {
        let checksum = at + CHUNK_HEADER_BYTES;
        let end = checksum + number(&stream[at + 1..checksum]);
        let (first, data) = (origins.len(), checksum + CHECKSUM_BYTES);
        if stream[at] == UNCOMPRESSED {
            origins.extend(data..end);
        } else {
            follow(&stream[..end], data, &mut origins);
        }
        chunks.push(Chunk { checksum, plain: first..origins.len() });
        at = end;
    }
    (origins, chunks)
}

/// Appends the origins of what the block at `at` holds, which is the last of `stream`.
fn follow(stream: &[u8], mut at: usize, origins: &mut Vec<usize>) {
    // Its length is a varint.
    at += 1 + stream[at..].iter().take_while(|&&byte| byte >= 0x80).count();
    while at < stream.len() {
        let (kind, high) = (stream[at] & 3, usize::from(stream[at] >> 2));
        let more = match kind {
            0 => high.saturating_sub(59),
            1 => 1,
            2 => 2,
            _ => 4,
        };
        at += 1 + more;
        let behind = number(&stream[at - more..at]);
        let (len, back) = match kind {
            0 => {
                let len = 1 + if more == 0 { high } else { behind };
                origins.extend(at..at + len);
                at += len;
                continue;
            }
            1 => (4 + (high & 7), (high >> 3) << 8 | behind),
            _ => (1 + high, behind),
        };
        // One by one: a copy may reach into what it writes itself.
        for _ in 0..len {
            origins.push(origins[origins.len() - back]);
        }
    }
}

fn number(little_endian: &[u8]) -> usize {
    little_endian.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_byte_of_the_stamp_that_others_share_is_refused() {
        let stamp = b"\xff\xfe\xfd\xfc";
        let plain = [b"before".as_slice(), stamp, &[b' '; 100], b"before", stamp, &[b' '; 100]].concat();
        let mut stamps = vec![None; plain.len()];
        for at in [6, 116] {
            (0..stamp.len()).for_each(|index| stamps[at + index] = Some(index));
        }
        assert!(Compressed::new(&plain, &stamps).is_some());
        stamps[116] = None;
        assert!(Compressed::new(&plain, &stamps).is_none(), "copied as what is no stamp");
        stamps[116] = Some(1);
        assert!(Compressed::new(&plain, &stamps).is_none(), "copied as another byte of the stamp");
    }

    proptest! {
        #[test]
        fn what_is_accepted_holds_the_stamp(
            parts in proptest::collection::vec(
                (proptest::collection::vec(prop_oneof![any::<u8>(), 0xf8..=u8::MAX], 0..600), 1_usize..20, any::<bool>()), 1..8
            ),
            stamp in any::<[u8; 9]>(),
        ) {
            let marks: [u8; 9] = std::array::from_fn(|index| u8::MAX - index as u8);
            let (mut template, mut plain, mut stamps) = (Vec::new(), Vec::new(), Vec::new());
            for (bytes, repeat, stamped) in parts {
                for _ in 0..repeat {
                    for (into, stamp) in [(&mut template, marks), (&mut plain, stamp)] {
                        into.extend_from_slice(&bytes);
                        into.extend_from_slice(if stamped { &stamp } else { &[] });
                    }
                    stamps.resize(stamps.len() + bytes.len(), None);
                    stamps.extend((0..if stamped { stamp.len() } else { 0 }).map(Some));
                }
            }
            let compressed = Compressed::new(&template, &stamps);
            let mut out = Vec::new();
            if let Some(compressed) = compressed {
                snappy::decode_framed(&compressed.stamped(&stamp, &plain), plain.len(), &mut out).expect("a stream");
                prop_assert_eq!(out, plain);
            }
        }
    }
}
