//! The set of series that a request is decoded into.

use super::{
    Label, MetricType, Points, Series, SeriesMut,
    arena::{Arena, SpareVectors, recycle},
    entry::SeriesEntry,
    metadata::MetadataEntry,
};
use crate::error::{DecodeLimits, Error};

/// A list of series, whose labels are all in one vector.
pub struct SeriesSet<'a> {
    arena: &'a Arena,
    source: &'a [u8],
    /// The sum of the label bytes that were charged, to be compared with the limit.
    text_bytes: usize,
    has_start_timestamps: bool,
    labels: Vec<Label<'a>>,
    pub(super) series: Vec<SeriesEntry<'a>>,
    pub(super) metadata: Vec<MetadataEntry<'a>>,
    symbols: Vec<&'a str>,
}

impl<'a> SeriesSet<'a> {
    /// An empty set, which takes its vectors from `arena` and returns them when it is dropped.
    #[must_use]
    pub fn new_in(arena: &'a Arena) -> Self {
        let spare = std::mem::take(&mut *arena.spare.borrow_mut());
        let (labels, series) = (recycle(spare.labels), recycle(spare.series));
        let (metadata, symbols) = (recycle(spare.metadata), recycle(spare.symbols));
        Self { arena, source: &[], text_bytes: 0, has_start_timestamps: false, labels, series, metadata, symbols }
    }

    /// The protobuf message that was decoded last: its unchanged labels are copied from there when they are encoded. Empty
    /// where there is none.
    pub(crate) fn source(&self) -> &'a [u8] {
        self.source
    }

    /// Adds the label bytes of a series to the sum; fails if the sum is over the limit.
    #[inline]
    pub(crate) fn charge(&mut self, bytes: usize, limits: &DecodeLimits) -> Result<(), Error> {
        self.text_bytes += bytes;
        if self.text_bytes <= limits.text_bytes {
            return Ok(());
        }
        Err(Error::Limit { what: "bytes in all labels", limit: limits.text_bytes })
    }

    /// Whether samples and histograms may have start timestamps: those of a 2.0 request that was decoded with them.
    pub(crate) fn has_start_timestamps(&self) -> bool {
        self.has_start_timestamps
    }

    /// Sets [`has_start_timestamps`](Self::has_start_timestamps).
    pub(crate) fn set_start_timestamps(&mut self, has_start_timestamps: bool) {
        self.has_start_timestamps = has_start_timestamps;
    }

    /// The symbols of the 2.0 request that was decoded into the set, to which
    /// [`SentLabels::References`](super::SentLabels::References) refer. Empty where there is none.
    #[must_use]
    pub fn symbols(&self) -> &[&'a str] {
        &self.symbols
    }

    /// Takes the symbols out, and leaves none.
    pub(crate) fn take_symbols(&mut self) -> Vec<&'a str> {
        std::mem::take(&mut self.symbols)
    }

    /// Sets the [`symbols`](Self::symbols).
    pub(crate) fn set_symbols(&mut self, symbols: Vec<&'a str>) {
        self.symbols = symbols;
    }

    /// Sets the message that is being decoded, which is the [`source`](Self::source) of labels.
    pub(crate) fn set_source(&mut self, message: &'a [u8]) {
        self.source = message;
    }

    /// The arena of the set.
    #[must_use]
    pub fn arena(&self) -> &'a Arena {
        self.arena
    }

    /// The number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds a label to the series that the next [`finish`](Self::finish) creates.
    #[inline]
    pub fn push_label(&mut self, label: Label<'a>) {
        self.labels.push(label);
    }

    /// The number of labels that were pushed so far, as the begin of a series for [`finish`](Self::finish).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.labels.len()
    }

    /// Creates a series from all labels that were pushed since `mark`.
    pub fn finish(&mut self, mark: usize, kind: MetricType, points: Points<'a>) {
        self.finish_decoded(mark, kind, points, false);
    }

    /// As [`finish`](Self::finish). `as_sent` is whether each label that lies in the source is encoded there as the field that
    /// an encoder would write.
    #[inline]
    pub(crate) fn finish_decoded(&mut self, mark: usize, kind: MetricType, points: Points<'a>, as_sent: bool) {
        let start = u32::try_from(mark).unwrap_or(u32::MAX);
        let len = u32::try_from(self.labels.len() - mark).unwrap_or(u32::MAX);
        self.series.push(SeriesEntry { start, len, kind, as_sent, metadata: 0, points });
    }

    /// The `as_sent` of the series at `index` (see [`finish_decoded`](Self::finish_decoded)); `false` once a label was changed.
    #[inline]
    pub(crate) fn is_as_sent(&self, index: usize) -> bool {
        self.series[index].as_sent
    }

    /// The labels that were pushed since `mark`.
    #[must_use]
    pub fn pushed(&self, mark: usize) -> &[Label<'a>] {
        &self.labels[mark..]
    }

    /// The labels that were pushed since `mark`, to be changed.
    #[must_use]
    pub fn pushed_mut(&mut self, mark: usize) -> &mut [Label<'a>] {
        &mut self.labels[mark..]
    }

    /// Removes the labels that were pushed since `mark`.
    pub fn abandon(&mut self, mark: usize) {
        self.labels.truncate(mark);
    }

    /// Adds a series with these labels.
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
        self.series[index].view(&self.labels)
    }

    /// All series, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Series<'_, 'a>> {
        self.series.iter().map(|entry| entry.view(&self.labels))
    }

    /// Calls `keep` with each series, in order, which may change it; removes those for which it returns `false`.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut SeriesMut<'_, 'a>) -> bool) {
        let Self { labels, series, .. } = self;
        series.retain_mut(|entry| keep(&mut SeriesMut { labels, entry }));
    }

    /// As [`retain_mut`](Self::retain_mut), ending at the first error.
    ///
    /// # Errors
    /// The first error of `keep`; the set is then in an unspecified, valid state.
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

    /// Sorts the series by a key, which `key` returns for an index. The sort is stable.
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
        let symbols = recycle(std::mem::take(&mut self.symbols));
        *self.arena.spare.borrow_mut() = SpareVectors { labels, series, metadata, symbols };
    }
}
