//! What writers of 1.0 and of 2.0 have in common, for whoever writes series one by one.

use std::ops::Range;

use super::Writer;
use crate::series::Points;

/// Writes series of one set, one by one.
pub trait SeriesWriter {
    /// What was written so far, and what stood before it.
    fn written(&self) -> &[u8];

    /// Appends the series at `index`, with these points in place of its own. Returns where its labels stand: two series have the
    /// same labels, in the same order, where the same bytes stand there. `None` where these points have no place in the version
    /// that is written, and nothing was.
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

/// Takes these ranges, in ascending order, out of `bytes`.
pub fn take_out(bytes: &mut Vec<u8>, ranges: &[Range<usize>]) {
    let mut kept = ranges.first().map_or(bytes.len(), |first| first.start);
    for (at, range) in ranges.iter().enumerate() {
        let next = ranges.get(at + 1).map_or(bytes.len(), |next| next.start);
        bytes.copy_within(range.end..next, kept);
        kept += next - range.end;
    }
    bytes.truncate(kept);
}
