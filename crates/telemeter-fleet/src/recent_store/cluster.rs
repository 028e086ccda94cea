//! What is held of one cluster: its series, and when it wrote.

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use telemeter_wire::{
    Label, MetricType,
    remote_write::{put_labels, read_labels},
    series::NAME_LABEL,
};

use super::{
    AppendCounts,
    activity::{Activity, GAP_MS},
    samples::{StoredPoint, StoredSamples},
    staged::{NOWHERE, Staged, StagedSample, hash_of},
    symbols::{ClusterTexts, TextId},
};

/// A series: which, and its samples.
pub(super) struct StoredSeries {
    /// Of its labels as an encoder writes them: see `staged.rs`.
    hash: u64,
    labels: Box<[(TextId, TextId)]>,
    /// The type of its family, as its sender said it.
    pub(super) kind: MetricType,
    /// Never empty outside of a trim.
    pub(super) samples: StoredSamples,
}

impl StoredSeries {
    /// The number of its metric name, or of its first label's value where it has none.
    pub(super) fn name<'s>(&self, symbols: &'s ClusterTexts) -> &'s str {
        self.labels(symbols).find(|label| label.name == NAME_LABEL).map_or("", |label| label.value)
    }

    /// Its labels, in the order they came in.
    pub(super) fn labels<'s>(&self, symbols: &'s ClusterTexts) -> impl ExactSizeIterator<Item = Label<'s>> {
        self.labels.iter().map(|(name, value)| Label::new(symbols.text(*name), symbols.text(*value)))
    }

    fn heap_bytes(&self) -> usize {
        self.labels.len() * size_of::<(TextId, TextId)>() + self.samples.heap_bytes()
    }
}

/// A cluster.
pub(super) struct StoredCluster {
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
    pub(super) series: Vec<StoredSeries>,
    /// Samples of all series.
    pub(super) samples: usize,
    /// Series with native histograms only that were seen, and not kept, with the last push.
    pub(super) histograms: usize,
    /// When it sent how much.
    pub(super) activity: Activity,
    /// The texts of their labels.
    pub(super) symbols: ClusterTexts,
    index: HashTable<u32>,
    series_bytes: usize,
    /// How many series went since texts that no other has went.
    gone: usize,
}

impl StoredCluster {
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
            symbols: ClusterTexts::default(),
            index: HashTable::new(),
            series_bytes: 0,
            gone: 0,
        }
    }

    /// Keeps the samples of `staged` that are not before `cutoff_ms`.
    pub(super) fn append(&mut self, staged: &Staged, cutoff_ms: i64, hasher: &DefaultHashBuilder) -> AppendCounts {
        let mut kept = AppendCounts { histograms: staged.histograms, ..AppendCounts::default() };
        if self.series.is_empty() {
            self.series.reserve_exact(staged.series);
        }
        let mut last = None;
        for sample in staged.samples() {
            if sample.point.ms < cutoff_ms {
                kept.late += 1;
                continue;
            }
            let place = self.place_of(sample.hash, sample.at);
            let taken = match place {
                Some(at) => self.push(at as usize, sample.point),
                None => self.insert(staged, sample, hasher),
            };
            // The samples of a series stand side by side.
            if (taken || place.is_some()) && last != Some(sample.hash) {
                kept.series += 1;
                last = Some(sample.hash);
            }
            kept.samples += usize::from(taken);
            kept.late += usize::from(!taken);
        }
        self.histograms = kept.histograms;
        kept
    }

    /// Where the series of this hash is. It is looked for at `hint` first: series come in the order that they came in before.
    pub(super) fn place_of(&self, hash: u64, hint: u32) -> Option<u32> {
        if self.series.get(hint as usize).is_some_and(|series| series.hash == hash) {
            return Some(hint);
        }
        self.index.find(hash, |at| self.series[*at as usize].hash == hash).copied()
    }

    fn push(&mut self, index: usize, point: StoredPoint) -> bool {
        let samples = &mut self.series[index].samples;
        let before = samples.heap_bytes();
        let taken = samples.push(point);
        self.series_bytes += samples.heap_bytes() - before;
        self.samples += usize::from(taken);
        taken
    }

    /// Begins a series with its first sample, if it was new when it was staged. Answers whether the sample was kept.
    fn insert(&mut self, staged: &Staged, sample: &StagedSample, hasher: &DefaultHashBuilder) -> bool {
        let Some((encoded, kind)) = staged.labels_of(sample) else { return false };
        let (mut labels, mut hash) = (Vec::new(), sample.hash);
        match read_labels(encoded, &mut labels) {
            Ok(true) => {}
            Ok(false) => {
                // Another spelling of labels that may be known already.
                let mut plain = Vec::new();
                put_labels(&labels, &mut plain);
                hash = hash_of(&plain, hasher);
                if let Some(at) = self.place_of(hash, NOWHERE) {
                    return self.push(at as usize, sample.point);
                }
            }
            // It was decoded before it was staged.
            Err(_) => return false,
        }
        let mut intern = |text| self.symbols.intern(text, hasher);
        let labels = labels.iter().map(|label| Some((intern(label.name)?, intern(label.value)?)));
        let Some(labels) = labels.collect() else { return false };
        let series = StoredSeries { hash, labels, kind, samples: StoredSamples::new(sample.point) };
        if self.series.len() == self.series.capacity() {
            self.series.reserve_exact((self.series.len() / 4).max(8));
        }
        let at = u32::try_from(self.series.len()).expect("the byte bound of the store is below four billion series");
        self.series_bytes += series.heap_bytes();
        self.samples += 1;
        self.series.push(series);
        self.index.insert_unique(hash, at, |at| self.series[*at as usize].hash);
        true
    }

    /// Drops the samples before `cutoff_ms`, and the series that have none left.
    pub(super) fn trim(&mut self, cutoff_ms: i64, hasher: &DefaultHashBuilder) {
        self.trim_each(|series| series.samples.trim(cutoff_ms), hasher);
    }

    /// Drops of each series as many samples as `trim` answers that it dropped, and the series that have none left.
    fn trim_each(&mut self, mut trim: impl FnMut(&mut StoredSeries) -> usize, hasher: &DefaultHashBuilder) {
        let held = self.series.len();
        self.series.retain_mut(|series| {
            let before = series.heap_bytes();
            self.samples -= trim(series);
            if series.samples.len() > 0 {
                self.series_bytes = self.series_bytes + series.heap_bytes() - before;
                return true;
            }
            self.series_bytes -= before;
            false
        });
        if self.series.len() == held {
            return;
        }
        if self.series.capacity() > 2 * self.series.len() + 16 {
            self.series.shrink_to_fit();
        }
        self.gone += held - self.series.len();
        self.forget_texts(hasher);
        self.index.clear();
        self.index.shrink_to(self.series.len(), |_| 0);
        for (at, series) in self.series.iter().enumerate() {
            self.index.insert_unique(series.hash, at as u32, |at| self.series[*at as usize].hash);
        }
    }

    /// Drops some of what it holds, the oldest first: the older half of the time that its samples span, else all but the
    /// newest sample of each series that still reports. Answers whether that was much, and something is left.
    pub(super) fn shrink(&mut self, hasher: &DefaultHashBuilder) -> bool {
        let before = self.bytes();
        // Less than an eighth is not worth a walk over all of it.
        let enough = |cluster: &Self| cluster.bytes() <= before - before / 8 && !cluster.series.is_empty();
        let oldest = self.series.iter().map(|series| series.samples.oldest().ms).min().unwrap_or(0);
        let newest = self.series.iter().map(|series| series.samples.newest().ms).max().unwrap_or(0);
        // Halfway, rounded up: at least the oldest millisecond goes.
        self.trim(newest.saturating_sub(newest.saturating_sub(oldest) / 2), hasher);
        if enough(self) {
            return true;
        }
        let reports_since = newest.saturating_sub(GAP_MS);
        let all_but_newest = |series: &mut StoredSeries| {
            let newest = series.samples.newest().ms;
            series.samples.trim(if newest < reports_since { i64::MAX } else { newest })
        };
        self.trim_each(all_but_newest, hasher);
        enough(self)
    }

    /// Forgets the texts that no series has any more, where many may be such.
    fn forget_texts(&mut self, hasher: &DefaultHashBuilder) {
        if self.gone <= self.series.len() / 2 {
            return;
        }
        self.gone = 0;
        let old = std::mem::take(&mut self.symbols);
        let mut numbers: Vec<Option<TextId>> = vec![None; old.len()];
        let symbols = &mut self.symbols;
        let mut renumber = |symbol: &mut TextId| {
            let number = &mut numbers[*symbol as usize];
            let new = number.or_else(|| symbols.intern(old.text(*symbol), hasher));
            *number = new;
            // There are no more of them than there were.
            *symbol = new.unwrap_or(0);
        };
        for series in &mut self.series {
            for (name, value) in &mut series.labels {
                renumber(name);
                renumber(value);
            }
        }
    }

    /// Bytes held, itself included.
    pub(super) fn bytes(&self) -> usize {
        // The two counts of an `Arc` stand before its text.
        let id = self.id.len() + 2 * size_of::<usize>();
        let series = self.series.capacity() * size_of::<StoredSeries>() + self.series_bytes;
        size_of::<Self>() + id + series + self.symbols.heap_bytes() + self.index.allocation_size()
    }
}
