//! Replaces the bytes of a stamp in a framed snappy stream without compressing it again: most of these bytes occur in
//! the stream once, as literals, and snappy copies repeat them.

use telemeter_wire::snappy::{self, ChunkOrigin};

/// A compressed template of an upload.
pub(super) struct Compressed {
    stream: Vec<u8>,
    /// The offset in the stream of each literal byte of a stamp, and the index of this byte in the stamp.
    literals: Vec<(usize, usize)>,
    chunks: Vec<ChunkOrigin>,
}

impl Compressed {
    /// Compresses `plain`; `stamps` says for each of its bytes which byte of the stamp it is, if any. Returns `None`
    /// where snappy uses the same literal for a byte of the stamp and for another byte that happened to be equal.
    pub(super) fn new(plain: &[u8], stamps: &[Option<usize>]) -> Option<Self> {
        let mut stream = Vec::new();
        snappy::Encoder::new().framed(plain, &mut stream);
        let (origins, chunks) = snappy::origins(&stream)?;
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

    /// Returns the compressed stream of `plain`, which is the template with this stamp.
    pub(super) fn stamped(&self, stamp: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut stream = self.stream.clone();
        for &(at, index) in &self.literals {
            stream[at] = stamp[index];
        }
        for chunk in &self.chunks {
            let checksum = snappy::chunk_checksum(&plain[chunk.plain.clone()]);
            stream[chunk.checksum.clone()].copy_from_slice(&checksum.to_le_bytes());
        }
        stream
    }
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
