//! One series of a set, to be changed in place.

use super::{
    Label, Points, Series,
    set::{SeriesEntry, view},
};

/// One series, to change.
pub struct SeriesMut<'s, 'a> {
    pub(super) labels: &'s mut Vec<Label<'a>>,
    pub(super) entry: &'s mut SeriesEntry<'a>,
}

impl<'a> SeriesMut<'_, 'a> {
    /// The series as it is now.
    #[must_use]
    pub fn view(&self) -> Series<'_, 'a> {
        view(self.labels, self.entry)
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &[Label<'a>] {
        self.view().labels
    }

    /// What it carries.
    #[must_use]
    pub fn points(&self) -> Points<'a> {
        self.entry.points
    }

    /// Replaces what it carries.
    pub fn set_points(&mut self, points: Points<'a>) {
        self.entry.points = points;
    }

    /// Its labels, to change in place. The series counts as changed, and is no longer spliced.
    pub fn labels_mut(&mut self) -> &mut [Label<'a>] {
        self.entry.as_sent = false;
        self.touch();
        let start = self.entry.start as usize;
        &mut self.labels[start..start + self.entry.len as usize]
    }

    /// Its labels, to be put in another order, or left as they are with `None`; each is to stay what it is. In another
    /// order the series is no longer spliced as a whole, but its labels still are.
    #[inline]
    pub fn reorder_if<T>(&mut self, order: impl FnOnce(&mut [Label<'a>]) -> Option<T>) -> Option<T> {
        let start = self.entry.start as usize;
        let done = order(&mut self.labels[start..start + self.entry.len as usize]);
        if done.is_some() {
            self.touch();
        }
        done
    }

    /// Keeps the labels that `keep` answers `true` for; the series counts as changed only where one went.
    pub fn retain_labels(&mut self, mut keep: impl FnMut(&Label<'a>) -> bool) {
        let start = self.entry.start as usize;
        let labels = &mut self.labels[start..start + self.entry.len as usize];
        let Some(first) = labels.iter().position(|label| !keep(label)) else { return };
        let mut kept = first;
        for from in first + 1..labels.len() {
            if keep(&labels[from]) {
                labels[kept] = labels[from];
                kept += 1;
            }
        }
        self.entry.len = u32::try_from(kept).unwrap_or(0);
        self.touch();
    }

    /// Puts a label at `position` (0 is the front; past the end is the end).
    pub fn insert_label(&mut self, position: usize, label: Label<'a>) {
        self.entry.as_sent = false;
        self.touch();
        let (start, len) = (self.entry.start as usize, self.entry.len as usize);
        if start + len != self.labels.len() {
            // Its neighbour begins where it ends: it moves to the end of the arena.
            let moved = self.labels.len();
            self.labels.reserve(len + 1);
            self.labels.extend_from_within(start..start + len);
            self.entry.start = u32::try_from(moved).unwrap_or(u32::MAX);
        }
        let at = self.entry.start as usize + position.min(len);
        self.labels.insert(at, label);
        self.entry.len += 1;
    }

    /// Adds a label behind the last.
    pub fn push_label(&mut self, label: Label<'a>) {
        self.insert_label(usize::MAX, label);
    }

    /// Notes that the labels are no longer those that came.
    fn touch(&mut self) {
        if let Points::Encoded(encoded) = &mut self.entry.points {
            encoded.whole = None;
        }
    }
}
