//! The interface of the writers of remote write 1.0 and 2.0, to encode series one by one.

use std::ops::Range;

use super::Writer;
use crate::series::Points;

/// Encodes series of one set, one by one.
pub trait SeriesWriter {
    /// All bytes of the output, including those before the first series.
    fn written(&self) -> &[u8];

    /// Appends the series at `index`, with `points` in place of its own. Returns the range of its encoded labels: two series
    /// have the same labels, in the same order, exactly if these bytes are the same. Returns `None`, and appends nothing, if
    /// the version of the format cannot express these points.
    fn put(&mut self, index: usize, points: Points<'_>) -> Option<Range<usize>>;
}

impl SeriesWriter for Writer<'_, '_> {
    #[inline]
    fn written(&self) -> &[u8] {
        Writer::written(self)
    }

    #[inline]
    fn put(&mut self, index: usize, points: Points<'_>) -> Option<Range<usize>> {
        Some(Writer::put(self, index, points))
    }
}

/// Removes these ranges, in ascending order, from `bytes`.
pub fn take_out(bytes: &mut Vec<u8>, ranges: &[Range<usize>]) {
    let mut len = ranges.first().map_or(bytes.len(), |first| first.start);
    for (at, range) in ranges.iter().enumerate() {
        let next = ranges.get(at + 1).map_or(bytes.len(), |next| next.start);
        bytes.copy_within(range.end..next, len);
        len += next - range.end;
    }
    bytes.truncate(len);
}
