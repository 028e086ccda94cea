//! Fuzz targets for both forms of snappy, which are compared with a simple decoder.

use crate::snappy::{Encoder, MAX_RATIO, announced_len, decode_block, decode_framed, join_blocks};

const CAP_BYTES: usize = 1 << 16;

/// A block: the decoder agrees with the simple one; the cap holds; the bytes can be compressed again; and two joined blocks
/// decompress to the concatenation.
pub fn snappy_block(block: &[u8]) {
    let mut out = vec![9; 3];
    let result = decode_block(block, CAP_BYTES, &mut out);
    let Some(expected) = plain(block) else {
        assert!(result.is_err(), "taken: {block:02x?}");
        return;
    };
    assert!(expected.len() <= CAP_BYTES && expected.len() <= block.len() * MAX_RATIO, "{} bytes", expected.len());
    assert_eq!(result, Ok(()), "{block:02x?}");
    assert_eq!(out, expected);
    assert_eq!(announced_len(block), out.len());
    if let Some(cap_bytes) = out.len().checked_sub(1) {
        assert!(decode_block(block, cap_bytes, &mut Vec::new()).is_err(), "over the cap");
    }
    let mut anew = Vec::new();
    Encoder::new().block(&expected, &mut anew);
    assert_eq!(plain(&anew).as_deref(), Some(&expected[..]), "written");
    let mut joined = Vec::new();
    join_blocks([block, &anew].into_iter(), &mut joined).expect("two blocks");
    assert_eq!(decode_block(&joined, 2 * CAP_BYTES, &mut out), Ok(()));
    assert_eq!(out, [&expected[..], &expected[..]].concat(), "joined");
}

/// A framed stream: the cap holds, the decoder agrees with the library, and the bytes can be compressed again.
pub fn snappy_framed(stream: &[u8]) {
    let mut out = vec![9; 3];
    if decode_framed(stream, CAP_BYTES, &mut out).is_err() {
        return;
    }
    assert!(out.len() <= CAP_BYTES);
    let mut theirs = Vec::new();
    std::io::copy(&mut snap::read::FrameDecoder::new(stream), &mut theirs).expect("a stream");
    assert_eq!(out, theirs);
    if let Some(cap_bytes) = out.len().checked_sub(1) {
        assert!(decode_framed(stream, cap_bytes, &mut Vec::new()).is_err(), "over the cap");
    }
    let (mut anew, mut again) = (Vec::new(), Vec::new());
    Encoder::new().framed(&out, &mut anew);
    assert_eq!(decode_framed(&anew, CAP_BYTES, &mut again), Ok(()));
    assert_eq!(again, out, "written");
}

/// Decompresses a block byte by byte, up to the cap.
///
/// Source: <https://github.com/google/snappy/blob/main/format_description.txt>.
fn plain(block: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    let mut next = |count: usize| {
        let bytes = block.get(at..)?.get(..count)?;
        at += count;
        Some(bytes)
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    let (mut len, mut shift) = (0_u64, 0);
    loop {
        let byte = next(1)?[0];
        len |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
        if shift > 28 {
            return None;
        }
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= CAP_BYTES && *len <= block.len() * MAX_RATIO)?;
    let mut out = Vec::new();
    while let Some(&[tag]) = next(1) {
        let high = usize::from(tag >> 2);
        let (count, offset) = match tag & 3 {
            0 if high < 60 => (high + 1, None),
            0 => (number(next(high - 59)?) + 1, None),
            1 => ((high & 7) + 4, Some((high >> 3) << 8 | number(next(1)?))),
            2 => (high + 1, Some(number(next(2)?))),
            _ => (high + 1, Some(number(next(4)?))),
        };
        if count > len - out.len() {
            return None;
        }
        match offset {
            None => out.extend_from_slice(next(count)?),
            Some(offset) => {
                let start = out.len().checked_sub(offset).filter(|_| offset > 0)?;
                (0..count).for_each(|index| out.push(out[start + index]));
            }
        }
    }
    (out.len() == len).then_some(out)
}

/// The seeds for blocks.
pub(super) fn block_seeds() -> Vec<Vec<u8>> {
    let block = |bytes: &[u8]| {
        let mut out = Vec::new();
        Encoder::new().block(bytes, &mut out);
        out
    };
    let mut seeds: Vec<_> = samples().iter().map(|bytes| block(bytes)).collect();
    // Each kind of copy, and literals with a length of their own.
    seeds.push(vec![5, 0, b'a', 0x01, 0x01]);
    seeds.push(vec![4, 0, b'a', 0x0a, 1, 0]);
    seeds.push(vec![4, 0, b'a', 0x0b, 1, 0, 0, 0]);
    seeds.push([&[70, 60 << 2, 69][..], &[b'x'; 70]].concat());
    seeds
}

/// The seeds for streams.
pub(super) fn framed_seeds() -> Vec<Vec<u8>> {
    let framed = |bytes: &[u8]| {
        let mut out = Vec::new();
        Encoder::new().framed(bytes, &mut out);
        out
    };
    let mut seeds: Vec<_> = samples().iter().map(|bytes| framed(bytes)).collect();
    let padded = [&framed(b"hello hello hello hello")[..], &[0xfe, 2, 0, 0, 9, 9], &[0x80, 0, 0, 0]].concat();
    seeds.push([padded, framed(b"once more")].concat());
    seeds
}

fn samples() -> [Vec<u8>; 5] {
    let text = b"up{job=\"a\",instance=\"b\"} 1 1395066363000\n";
    [Vec::new(), b"a".to_vec(), text.to_vec(), text.repeat(30), (0..=255).collect()]
}
