//! The compressed samples of one series: each sample is encoded as the difference from the previous one.
//!
//! A sample is a varint and up to nine bytes. The varint is the time since the previous sample in milliseconds, shifted
//! left by one bit, which is 1 for the same value. If the value changed, a byte follows with the position and the number
//! of the bytes of the XOR of both values that are not zero, and then these bytes. A gauge that does not change takes three
//! bytes for each sample, a counter about six.

/// A stored sample: one value at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredPoint {
    /// The time, in milliseconds since 1970.
    pub ms: i64,
    /// The value; any float.
    pub value: f64,
}

/// The NaN by which a remote-write sender marks the end of a series.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

impl StoredPoint {
    /// Whether it is a stale marker: the end of the series.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.value.to_bits() == STALE_BITS
    }
}

/// Samples in ascending order of time; at least one, except after a [`trim`](Self::trim) that removed all.
pub(super) struct StoredSamples {
    first: StoredPoint,
    last: StoredPoint,
    count: u32,
    /// All samples after the first, encoded.
    tail: Vec<u8>,
}

impl StoredSamples {
    pub(super) const fn new(point: StoredPoint) -> Self {
        Self { first: point, last: point, count: 1, tail: Vec::new() }
    }

    /// The number of samples.
    pub(super) const fn len(&self) -> usize {
        self.count as usize
    }

    /// The last sample.
    pub(super) const fn newest(&self) -> StoredPoint {
        self.last
    }

    /// The first sample that is still held.
    pub(super) const fn oldest(&self) -> StoredPoint {
        self.first
    }

    /// The size on the heap, in bytes.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.tail.capacity()
    }

    /// Adds a sample. Returns `false`, and changes nothing, if it is not newer than the newest one.
    pub(super) fn push(&mut self, point: StoredPoint) -> bool {
        if point.ms <= self.last.ms {
            return false;
        }
        let mut step = [0; STEP_BYTES];
        let len = encode(self.last, point, &mut step);
        if self.tail.capacity() - self.tail.len() < len {
            self.tail.reserve_exact((self.tail.len() / 4).max(24));
        }
        self.tail.extend_from_slice(&step[..len]);
        self.last = point;
        self.count += 1;
        true
    }

    /// Removes the samples before `cutoff_ms`; returns how many. If none is left, the series has to be removed.
    pub(super) fn trim(&mut self, cutoff_ms: i64) -> usize {
        if self.first.ms >= cutoff_ms {
            return 0;
        }
        let before = self.count;
        let mut at = 0;
        while self.first.ms < cutoff_ms && self.count > 0 {
            self.count -= 1;
            match decode(self.first, &self.tail[at..]) {
                Some((point, len)) => (self.first, at) = (point, at + len),
                None => break,
            }
        }
        self.tail.drain(..at);
        if self.tail.capacity() > 2 * self.tail.len() + 48 {
            self.tail.shrink_to_fit();
        }
        (before - self.count) as usize
    }

    /// All samples, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = StoredPoint> {
        let mut next = (self.count > 0).then_some(self.first);
        let mut rest = self.tail.as_slice();
        std::iter::from_fn(move || {
            let point = next?;
            next = decode(point, rest).map(|(after, len)| {
                rest = &rest[len..];
                after
            });
            Some(point)
        })
    }
}

/// The longest encoding of a sample: a varint of 66 bits, the byte of positions, all bytes of the XOR.
const STEP_BYTES: usize = 10 + 1 + 8;

/// Encodes the sample `to` as its difference from `from`; returns the number of bytes.
fn encode(from: StoredPoint, to: StoredPoint, out: &mut [u8; STEP_BYTES]) -> usize {
    let xor = from.value.to_bits() ^ to.value.to_bits();
    // Even if two times are more than 2^63 apart, the difference wraps, and decoding wraps back.
    let gap = to.ms.wrapping_sub(from.ms).cast_unsigned();
    let same = u64::from(xor == 0);
    // The first byte has six bits of the gap and the flag, so that a gap of 64 bits fits, too.
    let (mut rest, mut len) = (gap >> 6, 1);
    out[0] = ((gap << 1 | same) & 0x7f) as u8 | if rest > 0 { 0x80 } else { 0 };
    while rest > 0 {
        out[len] = (rest & 0x7f) as u8 | if rest >= 0x80 { 0x80 } else { 0 };
        rest >>= 7;
        len += 1;
    }
    if xor != 0 {
        let trailing = (xor.trailing_zeros() / 8) as usize;
        let significant = 8 - (xor.leading_zeros() / 8) as usize - trailing;
        out[len] = (significant << 4 | trailing) as u8;
        out[len + 1..=len + significant].copy_from_slice(&xor.to_le_bytes()[trailing..trailing + significant]);
        len += 1 + significant;
    }
    len
}

/// Decodes the sample after `from`; also returns its number of bytes. `None` at the end.
fn decode(from: StoredPoint, bytes: &[u8]) -> Option<(StoredPoint, usize)> {
    let first = *bytes.first()?;
    let (mut gap, mut len) = (u64::from(first & 0x7f) >> 1, 1);
    let mut more = first & 0x80 != 0;
    while more {
        let byte = *bytes.get(len)?;
        gap |= u64::from(byte & 0x7f).checked_shl(7 * len as u32 - 1)?;
        more = byte & 0x80 != 0;
        len += 1;
    }
    let ms = from.ms.wrapping_add(gap.cast_signed());
    if first & 1 == 1 {
        return Some((StoredPoint { ms, value: from.value }, len));
    }
    let positions = *bytes.get(len)?;
    let (significant, trailing) = (usize::from(positions >> 4), usize::from(positions & 0xf));
    let mut xor = [0; 8];
    xor.get_mut(trailing..trailing + significant)?.copy_from_slice(bytes.get(len + 1..=len + significant)?);
    let value = f64::from_bits(from.value.to_bits() ^ u64::from_le_bytes(xor));
    Some((StoredPoint { ms, value }, len + 1 + significant))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(points: &[StoredPoint]) -> StoredSamples {
        let mut samples = StoredSamples::new(points[0]);
        for point in &points[1..] {
            assert!(samples.push(*point));
        }
        samples
    }

    fn bits(points: impl IntoIterator<Item = StoredPoint>) -> Vec<(i64, u64)> {
        points.into_iter().map(|point| (point.ms, point.value.to_bits())).collect()
    }

    #[test]
    fn an_unchanged_value_takes_three_bytes() {
        let points: Vec<_> =
            (0..27).map(|at| StoredPoint { ms: 1_700_000_000_000 + at * 270_000, value: 1.0 }).collect();
        assert_eq!(filled(&points).tail.len(), 26 * 3);
    }

    #[test]
    fn a_sample_that_is_not_newer_is_refused() {
        let mut samples = StoredSamples::new(StoredPoint { ms: 10, value: 1.0 });
        assert!(!samples.push(StoredPoint { ms: 10, value: 2.0 }));
        assert!(!samples.push(StoredPoint { ms: 9, value: 2.0 }));
        assert_eq!(bits(samples.iter()), [(10, 1_f64.to_bits())]);
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0..1_000_000_u32).prop_map(f64::from),
            Just(1.0),
            Just(f64::NAN),
            Just(f64::INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn samples_are_decoded_as_they_were_encoded(first in any::<i64>(), steps in prop::collection::vec((1..400_000_i64, value()), 1..80)) {
            let mut ms = first.min(i64::MAX - 100_000_000);
            let points: Vec<_> = steps.iter().map(|(step, value)| { ms += step; StoredPoint { ms, value: *value } }).collect();
            prop_assert_eq!(bits(filled(&points).iter()), bits(points));
        }

        #[test]
        fn the_widest_gap_survives(value in any::<u64>()) {
            let points = [i64::MIN, i64::MAX].map(|ms| StoredPoint { ms, value: f64::from_bits(value) });
            prop_assert_eq!(bits(filled(&points).iter()), bits(points));
        }

        #[test]
        fn trimming_leaves_the_samples_that_are_not_older(
            steps in prop::collection::vec((1..400_000_i64, value()), 1..80), cutoff in 0..20_000_000_i64,
        ) {
            let mut ms = 0;
            let points: Vec<_> = steps.iter().map(|(step, value)| { ms += step; StoredPoint { ms, value: *value } }).collect();
            let mut samples = filled(&points);
            let removed = samples.trim(cutoff);
            let left: Vec<_> = points.iter().copied().filter(|point| point.ms >= cutoff).collect();
            prop_assert_eq!(removed + left.len(), points.len());
            prop_assert_eq!(samples.len(), left.len());
            prop_assert_eq!(bits(samples.iter()), bits(left));
        }
    }
}
