//! Changes to one series of a set, in place.

use super::{Label, Points, SentLabels, Series, entry::SeriesEntry};

/// One series of a set, to be changed.
pub struct SeriesMut<'s, 'a> {
    pub(super) labels: &'s mut Vec<Label<'a>>,
    pub(super) entry: &'s mut SeriesEntry<'a>,
}

impl<'a> SeriesMut<'_, 'a> {
    /// The series as it is now.
    #[must_use]
    pub fn view(&self) -> Series<'_, 'a> {
        self.entry.view(self.labels)
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &[Label<'a>] {
        self.view().labels
    }

    /// Its samples or histograms.
    #[must_use]
    pub fn points(&self) -> Points<'a> {
        self.entry.points
    }

    /// Replaces its samples or histograms.
    pub fn set_points(&mut self, points: Points<'a>) {
        self.entry.points = points;
    }

    /// Its labels, to be changed in place. From then on the series counts as changed, and is encoded from its labels.
    pub fn labels_mut(&mut self) -> &mut [Label<'a>] {
        self.entry.as_sent = false;
        self.mark_changed();
        let start = self.entry.start as usize;
        &mut self.labels[start..start + self.entry.len as usize]
    }

    /// Its labels, to be put in another order: `order` must not change a label. If it returns `None`, it must leave the order
    /// as it was. In another order, the series is no longer copied as a whole when it is encoded, but its labels still are.
    #[inline]
    pub fn reorder_if<T>(&mut self, order: impl FnOnce(&mut [Label<'a>]) -> Option<T>) -> Option<T> {
        let start = self.entry.start as usize;
        let result = order(&mut self.labels[start..start + self.entry.len as usize]);
        if result.is_some() {
            self.mark_changed();
        }
        result
    }

    /// Keeps the labels for which `keep` returns `true`. The series counts as changed only if a label was removed.
    pub fn retain_labels(&mut self, mut keep: impl FnMut(&Label<'a>) -> bool) {
        let start = self.entry.start as usize;
        let labels = &mut self.labels[start..start + self.entry.len as usize];
        let Some(first) = labels.iter().position(|label| !keep(label)) else { return };
        let mut len = first;
        for from in first + 1..labels.len() {
            if keep(&labels[from]) {
                labels[len] = labels[from];
                len += 1;
            }
        }
        self.entry.len = u32::try_from(len).unwrap_or(0);
        self.mark_changed();
    }

    /// Inserts a label at `position`; a position past the end means the end.
    pub fn insert_label(&mut self, position: usize, label: Label<'a>) {
        self.entry.as_sent = false;
        self.mark_changed();
        let (start, len) = (self.entry.start as usize, self.entry.len as usize);
        if start + len != self.labels.len() {
            // There is no space before the labels of the next series: these labels move to the end of the vector.
            let moved = self.labels.len();
            self.labels.reserve(len + 1);
            self.labels.extend_from_within(start..start + len);
            self.entry.start = u32::try_from(moved).unwrap_or(u32::MAX);
        }
        let at = self.entry.start as usize + position.min(len);
        self.labels.insert(at, label);
        self.entry.len += 1;
    }

    /// Adds a label at the end.
    pub fn push_label(&mut self, label: Label<'a>) {
        self.insert_label(usize::MAX, label);
    }

    /// Records that the labels are no longer those of the message, so that the message is not copied as a whole.
    fn mark_changed(&mut self) {
        if let Points::Encoded(encoded) = &mut self.entry.points {
            encoded.sent = SentLabels::Changed;
        }
    }
}
