//! The list of series, in flat arenas.

use super::{
    Label, MetricType, Points, Series, SeriesMut,
    arena::{Arena, SpareVectors, recycle},
    metadata::MetadataEntry,
};
use crate::error::{DecodeLimits, Error};

#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesEntry<'a> {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) kind: MetricType,
    /// Whether each label either stands in the source, as the field that encoders would write, or not there at all.
    pub(super) as_sent: bool,
    /// The number of its metadata, from 1; 0: there is none.
    pub(super) metadata: u32,
    pub(super) points: Points<'a>,
}

/// A list of series over flat arenas.
pub struct SeriesSet<'a> {
    arena: &'a Arena,
    source: &'a [u8],
    text_bytes: usize,
    has_start_timestamps: bool,
    labels: Vec<Label<'a>>,
    pub(super) series: Vec<SeriesEntry<'a>>,
    pub(super) metadata: Vec<MetadataEntry<'a>>,
}

impl<'a> SeriesSet<'a> {
    /// An empty set that takes its vectors from `arena` and gives them back when it is dropped.
    #[must_use]
    pub fn new_in(arena: &'a Arena) -> Self {
        let spare = std::mem::take(&mut *arena.spare.borrow_mut());
        let (labels, series, metadata) = (recycle(spare.labels), recycle(spare.series), recycle(spare.metadata));
        Self { arena, source: &[], text_bytes: 0, has_start_timestamps: false, labels, series, metadata }
    }

    /// The protobuf message that was decoded last: labels of it that did not change are copied from there when they are
    /// encoded. Empty where there is none.
    pub(crate) fn source(&self) -> &'a [u8] {
        self.source
    }

    /// Counts the bytes of the labels of a series to come.
    #[inline]
    pub(crate) fn charge(&mut self, bytes: usize, limits: &DecodeLimits) -> Result<(), Error> {
        self.text_bytes += bytes;
        if self.text_bytes <= limits.text_bytes {
            return Ok(());
        }
        Err(Error::Limit { what: "bytes in all labels", limit: limits.text_bytes })
    }

    /// Whether samples and histograms may carry start timestamps: those of a request of 2.0 that was decoded so.
    pub(crate) fn has_start_timestamps(&self) -> bool {
        self.has_start_timestamps
    }

    /// Says so.
    pub(crate) fn set_start_timestamps(&mut self, kept: bool) {
        self.has_start_timestamps = kept;
    }

    /// Names the message that is being decoded.
    pub(crate) fn set_source(&mut self, message: &'a [u8]) {
        self.source = message;
    }

    /// The arena that this set was made in.
    #[must_use]
    pub fn arena(&self) -> &'a Arena {
        self.arena
    }

    /// How many series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds one label to the series that the next [`finish`](Self::finish) makes.
    #[inline]
    pub fn push_label(&mut self, label: Label<'a>) {
        self.labels.push(label);
    }

    /// How many labels were pushed so far, finished or not; a mark for [`finish`](Self::finish).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.labels.len()
    }

    /// Makes a series of all labels pushed since `mark`.
    pub fn finish(&mut self, mark: usize, kind: MetricType, points: Points<'a>) {
        self.finish_decoded(mark, kind, points, false);
    }

    /// As [`finish`](Self::finish); `as_sent` where each label either stands in the source, as the field that encoders would
    /// write, or not there at all.
    #[inline]
    pub(crate) fn finish_decoded(&mut self, mark: usize, kind: MetricType, points: Points<'a>, as_sent: bool) {
        let start = u32::try_from(mark).unwrap_or(u32::MAX);
        let len = u32::try_from(self.labels.len() - mark).unwrap_or(u32::MAX);
        self.series.push(SeriesEntry { start, len, kind, as_sent, metadata: 0, points });
    }

    /// Whether the labels of the series at `index` are as [`finish_decoded`](Self::finish_decoded) was told.
    #[inline]
    pub(crate) fn is_as_sent(&self, index: usize) -> bool {
        self.series[index].as_sent
    }

    /// The labels pushed since `mark`.
    #[must_use]
    pub fn pushed(&self, mark: usize) -> &[Label<'a>] {
        &self.labels[mark..]
    }

    /// The labels pushed since `mark`, to change.
    #[must_use]
    pub fn pushed_mut(&mut self, mark: usize) -> &mut [Label<'a>] {
        &mut self.labels[mark..]
    }

    /// Forgets the labels pushed since `mark`.
    pub fn abandon(&mut self, mark: usize) {
        self.labels.truncate(mark);
    }

    /// Adds a whole series.
    pub fn push(&mut self, labels: &[Label<'a>], kind: MetricType, points: Points<'a>) {
        let mark = self.mark();
        self.labels.extend_from_slice(labels);
        self.finish(mark, kind, points);
    }

    /// The series at `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn at(&self, index: usize) -> Series<'_, 'a> {
        view(&self.labels, &self.series[index])
    }

    /// All series, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Series<'_, 'a>> {
        self.series.iter().map(|entry| view(&self.labels, entry))
    }

    /// Shows each series to `keep` once, in order, to be changed; drops those it answers `false` for.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut SeriesMut<'_, 'a>) -> bool) {
        let Self { labels, series, .. } = self;
        series.retain_mut(|entry| keep(&mut SeriesMut { labels, entry }));
    }

    /// As [`retain_mut`](Self::retain_mut), ending at the first error.
    ///
    /// # Errors
    /// What `keep` answered with; the set is then in an unspecified, valid state.
    pub fn try_retain_mut<E>(
        &mut self,
        mut keep: impl FnMut(&mut SeriesMut<'_, 'a>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut failed = None;
        let Self { labels, series, .. } = self;
        series.retain_mut(|entry| match failed {
            Some(_) => true,
            None => keep(&mut SeriesMut { labels, entry }).unwrap_or_else(|error| {
                failed = Some(error);
                true
            }),
        });
        failed.map_or(Ok(()), Err)
    }

    /// Sorts the series (stable) by the key of each, told by its index.
    pub fn sort_by_index_key<K: Ord>(&mut self, mut key: impl FnMut(usize) -> K) {
        let mut keyed: Vec<_> = self.series.drain(..).enumerate().map(|(index, entry)| (key(index), entry)).collect();
        keyed.sort_by(|one, other| one.0.cmp(&other.0));
        self.series.extend(keyed.into_iter().map(|(_, entry)| entry));
    }
}

impl Drop for SeriesSet<'_> {
    fn drop(&mut self) {
        let labels = recycle(std::mem::take(&mut self.labels));
        let series = recycle(std::mem::take(&mut self.series));
        let metadata = recycle(std::mem::take(&mut self.metadata));
        *self.arena.spare.borrow_mut() = SpareVectors { labels, series, metadata };
    }
}

pub(super) fn view<'s, 'a>(labels: &'s [Label<'a>], entry: &SeriesEntry<'a>) -> Series<'s, 'a> {
    let start = entry.start as usize;
    Series { labels: &labels[start..start + entry.len as usize], kind: entry.kind, points: entry.points }
}
