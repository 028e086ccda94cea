//! How a [`SeriesSet`](super::SeriesSet) stores one series: the range of its labels, and its points.

use super::{Label, MetricType, Points, Series};

/// One series of a set; its labels are a range of the set's labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesEntry<'a> {
    /// The index of its first label.
    pub(super) start: u32,
    /// The number of its labels.
    pub(super) len: u32,
    pub(super) kind: MetricType,
    /// Whether each label that lies in the source message is encoded there as the field that an encoder would write. Then
    /// it can be copied from there without a check.
    pub(super) as_sent: bool,
    /// The number of its metadata in the set, counted from 1; 0 means none.
    pub(super) metadata: u32,
    pub(super) points: Points<'a>,
}

impl<'a> SeriesEntry<'a> {
    /// The series as it is read; `labels` are the labels of the whole set.
    pub(super) fn view<'s>(&self, labels: &'s [Label<'a>]) -> Series<'s, 'a> {
        let start = self.start as usize;
        Series { labels: &labels[start..start + self.len as usize], kind: self.kind, points: self.points }
    }
}
