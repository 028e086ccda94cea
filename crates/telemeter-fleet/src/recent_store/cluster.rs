//! What is held of one cluster: its series, and when it wrote.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashTable};
use telemeter_wire::{Label, MetricType, SeriesSet, series::NAME_LABEL};

use super::{
    Kept,
    activity::Activity,
    samples::{Point, Samples},
    symbols::{Symbol, Symbols},
};

/// A series: which, and its samples.
pub(super) struct Series {
    hash: u64,
    labels: Box<[(Symbol, Symbol)]>,
    /// The type of its family, as its sender said it.
    pub(super) kind: MetricType,
    /// Never empty outside of a trim.
    pub(super) samples: Samples,
}

impl Series {
    /// The number of its metric name, or of its first label's value where it has none.
    pub(super) fn name<'s>(&self, symbols: &'s Symbols) -> &'s str {
        self.labels(symbols).find(|label| label.name == NAME_LABEL).map_or("", |label| label.value)
    }

    /// Its labels, in the order they came in.
    pub(super) fn labels<'s>(&self, symbols: &'s Symbols) -> impl ExactSizeIterator<Item = Label<'s>> {
        self.labels.iter().map(|(name, value)| Label::new(symbols.text(*name), symbols.text(*value)))
    }

    fn is(&self, hash: u64, labels: &[Label<'_>], symbols: &Symbols) -> bool {
        self.hash == hash && self.labels.len() == labels.len() && self.labels(symbols).eq(labels.iter().copied())
    }

    fn heap_bytes(&self) -> usize {
        self.labels.len() * size_of::<(Symbol, Symbol)>() + self.samples.heap_bytes()
    }

    fn release(&self, symbols: &mut Symbols) {
        for (name, value) in &self.labels {
            symbols.release(*name);
            symbols.release(*value);
        }
    }
}

/// A cluster.
pub(super) struct Cluster {
    /// Its ID.
    pub(super) id: Arc<str>,
    /// The count of appends when it was made; tells it from a later one of the same ID.
    pub(super) created: u64,
    /// The count of appends when it last wrote.
    pub(super) written: u64,
    /// When its oldest sample or push that we know of was.
    pub(super) since_ms: i64,
    /// When it last wrote.
    pub(super) seen_ms: i64,
    /// Its series, in no order.
    pub(super) series: Vec<Series>,
    /// Samples of all series.
    pub(super) samples: usize,
    /// Series with native histograms only that were seen, and not kept, with the last push.
    pub(super) histograms: usize,
    /// When it sent how much.
    pub(super) activity: Activity,
    index: HashTable<u32>,
    series_bytes: usize,
}

impl Cluster {
    pub(super) fn new(id: &str, stamp: u64, window_ms: i64, now_ms: i64) -> Self {
        Self {
            id: id.into(),
            created: stamp,
            written: stamp,
            since_ms: now_ms,
            seen_ms: now_ms,
            series: Vec::new(),
            samples: 0,
            histograms: 0,
            activity: Activity::new(window_ms, now_ms),
            index: HashTable::new(),
            series_bytes: 0,
        }
    }

    /// Keeps the float samples of `set` that are not before `cutoff_ms`; drops those that now are.
    pub(super) fn append(
        &mut self,
        set: &SeriesSet<'_>,
        cutoff_ms: i64,
        hasher: &DefaultHashBuilder,
        symbols: &mut Symbols,
    ) -> Kept {
        let mut kept = Kept::default();
        if self.series.is_empty() {
            self.series.reserve_exact(set.len());
        }
        for series in set.iter() {
            let mut at = None;
            let mut floats = 0;
            for sample in series.samples() {
                floats += 1;
                let point = Point { ms: sample.timestamp_ms.unwrap_or(i64::MIN), value: sample.value };
                let taken = point.ms >= cutoff_ms && {
                    match *at.get_or_insert_with(|| self.find(series.labels, hasher, symbols)) {
                        Found::At(index) => self.push(index, point),
                        Found::New(hash) => {
                            at = Some(Found::At(self.insert(hash, series.labels, series.kind, point, symbols)));
                            true
                        }
                    }
                };
                if taken { kept.samples += 1 } else { kept.late += 1 }
            }
            if let Some(Found::At(index)) = at {
                kept.series += 1;
                self.trim_one(index, cutoff_ms);
            }
            kept.histograms += usize::from(floats == 0);
        }
        self.histograms = kept.histograms;
        kept
    }

    fn find(&self, labels: &[Label<'_>], hasher: &DefaultHashBuilder, symbols: &Symbols) -> Found {
        let mut state = hasher.build_hasher();
        for label in labels {
            state.write(label.name.as_bytes());
            state.write_u8(0xff);
            state.write(label.value.as_bytes());
            state.write_u8(0xff);
        }
        let hash = state.finish();
        let found = self.index.find(hash, |at| self.series[*at as usize].is(hash, labels, symbols));
        found.map_or(Found::New(hash), |at| Found::At(*at as usize))
    }

    fn push(&mut self, index: usize, point: Point) -> bool {
        let samples = &mut self.series[index].samples;
        let before = samples.heap_bytes();
        let taken = samples.push(point);
        self.series_bytes += samples.heap_bytes() - before;
        self.samples += usize::from(taken);
        taken
    }

    fn insert(
        &mut self,
        hash: u64,
        labels: &[Label<'_>],
        kind: MetricType,
        point: Point,
        symbols: &mut Symbols,
    ) -> usize {
        let labels = labels.iter().map(|label| (symbols.intern(label.name), symbols.intern(label.value))).collect();
        let series = Series { hash, labels, kind, samples: Samples::new(point) };
        if self.series.len() == self.series.capacity() {
            self.series.reserve_exact((self.series.len() / 4).max(8));
        }
        let index = self.series.len();
        self.series_bytes += series.heap_bytes();
        self.samples += 1;
        self.series.push(series);
        let at = u32::try_from(index).expect("the byte bound of the store is below four billion series");
        self.index.insert_unique(hash, at, |at| self.series[*at as usize].hash);
        index
    }

    /// Trims one series, leaving its newest sample: that one is fresh, or the whole series goes with the next sweep.
    fn trim_one(&mut self, index: usize, cutoff_ms: i64) {
        let samples = &mut self.series[index].samples;
        if samples.oldest().ms < cutoff_ms && samples.newest().ms >= cutoff_ms {
            let before = samples.heap_bytes();
            self.samples -= samples.trim(cutoff_ms);
            self.series_bytes = self.series_bytes + samples.heap_bytes() - before;
        }
    }

    /// Drops the samples before `cutoff_ms`, and the series that have none left.
    pub(super) fn trim(&mut self, cutoff_ms: i64, symbols: &mut Symbols) {
        let held = self.series.len();
        self.series.retain_mut(|series| {
            let before = series.heap_bytes();
            self.samples -= series.samples.trim(cutoff_ms);
            if series.samples.len() > 0 {
                self.series_bytes = self.series_bytes + series.heap_bytes() - before;
                return true;
            }
            self.series_bytes -= before;
            series.release(symbols);
            false
        });
        if self.series.len() == held {
            return;
        }
        if self.series.capacity() > 2 * self.series.len() + 16 {
            self.series.shrink_to_fit();
        }
        self.index.clear();
        self.index.shrink_to(self.series.len(), |_| 0);
        for (at, series) in self.series.iter().enumerate() {
            self.index.insert_unique(series.hash, at as u32, |at| self.series[*at as usize].hash);
        }
    }

    /// Drops the older half of the time that its samples span; answers whether there was anything to drop.
    pub(super) fn trim_half(&mut self, symbols: &mut Symbols) -> bool {
        let oldest = self.series.iter().map(|series| series.samples.oldest().ms).min().unwrap_or(0);
        let newest = self.series.iter().map(|series| series.samples.newest().ms).max().unwrap_or(0);
        // Halfway, rounded up: at least the oldest millisecond goes.
        let cutoff_ms = newest.saturating_sub(newest.saturating_sub(oldest) / 2);
        let before = self.bytes();
        self.trim(cutoff_ms, symbols);
        self.bytes() < before
    }

    /// Gives all its labels back.
    pub(super) fn release(&self, symbols: &mut Symbols) {
        self.series.iter().for_each(|series| series.release(symbols));
    }

    /// Bytes held, itself included.
    pub(super) fn bytes(&self) -> usize {
        // The two counts of an `Arc` stand before its text.
        let id = self.id.len() + 2 * size_of::<usize>();
        let series = self.series.capacity() * size_of::<Series>() + self.series_bytes;
        size_of::<Self>() + id + series + self.index.allocation_size()
    }
}

#[derive(Clone, Copy)]
enum Found {
    At(usize),
    New(u64),
}
