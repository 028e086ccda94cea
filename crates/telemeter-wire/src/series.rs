//! Series as both entrances speak them: labels borrowed from the request's body, kept in flat arenas.
//!
//! A [`SeriesSet`] is a list of series; the labels of all of them stand in one `Vec`, and a series holds the range
//! that is its own. Text that is not in the body (an unescaped value, a hash) is put into the [`Arena`]. An `Arena`
//! is used again for the next request, so in steady state a request allocates nothing here, whatever its size.

use std::cell::RefCell;

use bumpalo::Bump;

use crate::{
    error::{Error, Limits},
    exposition::text::Families,
    remote_write::{Samples, sample_points},
};

/// The label that holds a series' metric name.
pub const NAME_LABEL: &str = "__name__";

/// A label's name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The name; `__name__` for the metric name.
    pub name: &'a str,
    /// The value.
    pub value: &'a str,
}

impl<'a> Label<'a> {
    /// A label of these two.
    #[must_use]
    pub const fn new(name: &'a str, value: &'a str) -> Self {
        Self { name, value }
    }
}

/// The type of a metric family, numbered as in `io.prometheus.client.MetricType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MetricType {
    /// Only ever grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Quantiles, a sum and a count.
    Summary = 2,
    /// Not said; what a federation endpoint answers with, and what remote write knows.
    #[default]
    Untyped = 3,
    /// Buckets, a sum and a count.
    Histogram = 4,
    /// As a histogram, and its buckets may shrink.
    GaugeHistogram = 5,
}

/// One value at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The value; any float, NaN included.
    pub value: f64,
    /// Milliseconds since the Unix epoch; `None` where the sender gave none.
    pub timestamp_ms: Option<i64>,
}

/// What a series carries beside its labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Points<'a> {
    /// The one sample of an exposition format.
    Sample(Sample),
    /// What a remote-write sender sent.
    Encoded(Encoded<'a>),
    /// Nothing: a metric without the value that its family's type calls for.
    Absent,
}

/// The fields of a remote-write `TimeSeries` as they came: samples, exemplars, native histograms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded<'a> {
    /// Every field but the labels, encoded as protobuf fields.
    pub payload: &'a [u8],
    /// The whole message, labels included, as long as these labels are those of the series.
    pub whole: Option<&'a [u8]>,
    /// How many samples and histograms.
    pub samples: u32,
    /// The newest timestamp among them, in milliseconds; `None` where there is none of either.
    pub newest_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    start: u32,
    len: u32,
    kind: MetricType,
    /// Whether each label either stands in the source, as the field that encoders would write, or not there at all.
    as_sent: bool,
    points: Points<'a>,
}

/// What one request leaves behind for the next: room for text and for the vectors of a [`SeriesSet`].
#[derive(Default)]
pub struct Arena {
    text: Bump,
    spare: RefCell<Spare>,
    symbols: RefCell<Vec<&'static str>>,
    families: RefCell<Families>,
}

#[derive(Default)]
struct Spare {
    labels: Vec<Label<'static>>,
    series: Vec<Entry<'static>>,
}

impl Arena {
    /// An empty arena.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for text and bytes that live as long as the request.
    #[must_use]
    pub fn text(&self) -> &Bump {
        &self.text
    }

    /// Forgets all text; the room stays, in one piece. To be called between requests.
    pub fn reset(&mut self) {
        self.text.reset();
    }

    /// The room for the metric families of a text, with what the last text left in it; to be brought back.
    pub(crate) fn take_families(&self) -> Families {
        std::mem::take(&mut *self.families.borrow_mut())
    }

    pub(crate) fn keep_families(&self, families: Families) {
        *self.families.borrow_mut() = families;
    }

    /// An empty table for the symbols of a remote write 2.0 request; to be brought back.
    pub(crate) fn take_symbols<'a>(&self) -> Vec<&'a str> {
        recycle(std::mem::take(&mut *self.symbols.borrow_mut()))
    }

    pub(crate) fn keep_symbols(&self, symbols: Vec<&str>) {
        *self.symbols.borrow_mut() = recycle(symbols);
    }

    /// Bytes that this arena holds on to, used or not.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let spare = self.spare.borrow();
        self.text.allocated_bytes()
            + self.families.borrow().held_bytes()
            + self.symbols.borrow().capacity() * size_of::<&str>()
            + spare.labels.capacity() * size_of::<Label<'_>>()
            + spare.series.capacity() * size_of::<Entry<'_>>()
    }
}

/// A list of series over flat arenas.
pub struct SeriesSet<'a> {
    arena: &'a Arena,
    source: &'a [u8],
    text_bytes: usize,
    labels: Vec<Label<'a>>,
    series: Vec<Entry<'a>>,
}

impl<'a> SeriesSet<'a> {
    /// An empty set that takes its vectors from `arena` and gives them back when it is dropped.
    #[must_use]
    pub fn new_in(arena: &'a Arena) -> Self {
        let spare = std::mem::take(&mut *arena.spare.borrow_mut());
        Self { arena, source: &[], text_bytes: 0, labels: recycle(spare.labels), series: recycle(spare.series) }
    }

    /// The protobuf message that was decoded last: labels of it that did not change are copied from there when they are
    /// encoded. Empty where there is none.
    pub(crate) fn source(&self) -> &'a [u8] {
        self.source
    }

    /// Counts the bytes of the labels of a series to come.
    #[inline]
    pub(crate) fn charge(&mut self, bytes: usize, limits: &Limits) -> Result<(), Error> {
        self.text_bytes += bytes;
        if self.text_bytes <= limits.text_bytes {
            return Ok(());
        }
        Err(Error::Limit { what: "bytes in all labels", limit: limits.text_bytes })
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
        self.series.push(Entry { start, len, kind, as_sent, points });
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
        *self.arena.spare.borrow_mut() = Spare { labels, series };
    }
}

/// Empties a vector and gives its room to elements of another lifetime, without `unsafe`: an in-place `collect`.
fn recycle<T, U>(mut vec: Vec<T>) -> Vec<U> {
    vec.clear();
    vec.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}

fn view<'s, 'a>(labels: &'s [Label<'a>], entry: &Entry<'a>) -> Series<'s, 'a> {
    let start = entry.start as usize;
    Series { labels: &labels[start..start + entry.len as usize], kind: entry.kind, points: entry.points }
}

/// One series, to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'s, 'a> {
    /// Its labels, `__name__` among them, in the order they stand in.
    pub labels: &'s [Label<'a>],
    /// The type of its family.
    pub kind: MetricType,
    /// What it carries.
    pub points: Points<'a>,
}

impl<'s, 'a> Series<'s, 'a> {
    /// The value of its first `__name__`; empty where there is none.
    #[must_use]
    #[inline]
    pub fn name(&self) -> &'a str {
        value_of(self.labels, NAME_LABEL).unwrap_or("")
    }

    /// The value of the first label of this name.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'a str> {
        value_of(self.labels, name)
    }

    /// Its float samples, in order; those of native histograms are not among them.
    #[must_use]
    pub fn samples(&self) -> Samples<'a> {
        sample_points(&self.points)
    }
}

/// One series, to change.
pub struct SeriesMut<'s, 'a> {
    labels: &'s mut Vec<Label<'a>>,
    entry: &'s mut Entry<'a>,
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

/// The value of the first label called `name`.
#[must_use]
#[inline]
pub fn value_of<'a>(labels: &[Label<'a>], name: &str) -> Option<&'a str> {
    labels.iter().find(|label| label.name == name).map(|label| label.value)
}
