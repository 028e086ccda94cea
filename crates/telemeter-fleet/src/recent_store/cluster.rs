//! One cluster in the recent store: its series, and when it wrote.

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
    staged::{NO_INDEX, Staged, StagedSample, hash_of},
    symbols::{ClusterTexts, TextId},
};

/// A series with its samples.
pub(super) struct StoredSeries {
    /// The keyed hash of its encoded labels, which identifies it: `staged.rs` says why that is enough.
    hash: u64,
    labels: Box<[(TextId, TextId)]>,
    /// The type of its family, as its sender declared it.
    pub(super) kind: MetricType,
    /// Never empty, but while the cluster is being trimmed.
    pub(super) samples: StoredSamples,
}

impl StoredSeries {
    /// Its metric name; empty where it has none.
    pub(super) fn name<'s>(&self, symbols: &'s ClusterTexts) -> &'s str {
        self.labels(symbols).find(|label| label.name == NAME_LABEL).map_or("", |label| label.value)
    }

    /// Its labels, in the order in which they came.
    pub(super) fn labels<'s>(&self, symbols: &'s ClusterTexts) -> impl ExactSizeIterator<Item = Label<'s>> {
        self.labels.iter().map(|(name, value)| Label::new(symbols.text(*name), symbols.text(*value)))
    }

    /// The size on the heap, in bytes.
    fn heap_bytes(&self) -> usize {
        self.labels.len() * size_of::<(TextId, TextId)>() + self.samples.heap_bytes()
    }
}

/// The series of one cluster, and figures about its writes.
pub(super) struct StoredCluster {
    pub(super) id: Arc<str>,
    /// The number of appends to the store before it was created; distinguishes it from a later one of the same ID.
    pub(super) created: u64,
    /// The number of appends to the store before its last write.
    pub(super) written: u64,
    /// The time at which it was created, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// The time of its last write, in milliseconds since 1970.
    pub(super) seen_ms: i64,
    /// Its series, in no order.
    pub(super) series: Vec<StoredSeries>,
    /// The number of samples of all series.
    pub(super) samples: usize,
    /// The number of series with native histograms only in the last push; they are not stored.
    pub(super) histograms: usize,
    /// The number of samples that it sent, over time.
    pub(super) activity: Activity,
    /// The texts of the labels.
    pub(super) symbols: ClusterTexts,
    /// The indices of `series`, by hash.
    index: HashTable<u32>,
    /// The heap size of all series, in bytes.
    series_bytes: usize,
    /// How many series were removed since unused texts were last removed.
    removed: usize,
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
            removed: 0,
        }
    }

    /// Adds the samples of `staged` that are not before `cutoff_ms`.
    pub(super) fn append(&mut self, staged: &Staged, cutoff_ms: i64, hasher: &DefaultHashBuilder) -> AppendCounts {
        let mut counts = AppendCounts { histograms: staged.histograms, ..AppendCounts::default() };
        if self.series.is_empty() {
            self.series.reserve_exact(staged.series);
        }
        let mut last = None;
        for sample in staged.samples() {
            if sample.point.ms < cutoff_ms {
                counts.late += 1;
                continue;
            }
            let index = self.index_of(sample.hash, sample.at);
            let is_added = match index {
                Some(at) => self.push(at as usize, sample.point),
                None => self.insert(staged, sample, hasher),
            };
            // The samples of a series are neighbours.
            if (is_added || index.is_some()) && last != Some(sample.hash) {
                counts.series += 1;
                last = Some(sample.hash);
            }
            counts.samples += usize::from(is_added);
            counts.late += usize::from(!is_added);
        }
        self.histograms = counts.histograms;
        counts
    }

    /// The index of the series with this hash. The index `hint` is tried first, because the series of a cluster mostly come
    /// in the same order.
    pub(super) fn index_of(&self, hash: u64, hint: u32) -> Option<u32> {
        if self.series.get(hint as usize).is_some_and(|series| series.hash == hash) {
            return Some(hint);
        }
        self.index.find(hash, |at| self.series[*at as usize].hash == hash).copied()
    }

    /// Adds a sample to a series; `false` where it is not newer than the newest one.
    fn push(&mut self, index: usize, point: StoredPoint) -> bool {
        let samples = &mut self.series[index].samples;
        let before = samples.heap_bytes();
        let is_added = samples.push(point);
        self.series_bytes += samples.heap_bytes() - before;
        self.samples += usize::from(is_added);
        is_added
    }

    /// Creates a series with its first sample, if it was new when it was staged; whether the sample was added.
    fn insert(&mut self, staged: &Staged, sample: &StagedSample, hasher: &DefaultHashBuilder) -> bool {
        let Some((encoded, kind)) = staged.labels_of(sample) else { return false };
        let (mut labels, mut hash) = (Vec::new(), sample.hash);
        match read_labels(encoded, &mut labels) {
            Ok(true) => {}
            Ok(false) => {
                // Another encoding of labels that may be known already.
                let mut plain = Vec::new();
                put_labels(&labels, &mut plain);
                hash = hash_of(&plain, hasher);
                if let Some(at) = self.index_of(hash, NO_INDEX) {
                    return self.push(at as usize, sample.point);
                }
            }
            // Cannot happen: the message was decoded before it was staged.
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

    /// Removes the samples before `cutoff_ms`, and the series without samples.
    pub(super) fn trim(&mut self, cutoff_ms: i64, hasher: &DefaultHashBuilder) {
        self.trim_each(|series| series.samples.trim(cutoff_ms), hasher);
    }

    /// Calls `trim` with each series, which returns how many samples it removed; removes the series without samples.
    fn trim_each(&mut self, mut trim: impl FnMut(&mut StoredSeries) -> usize, hasher: &DefaultHashBuilder) {
        let before_trim = self.series.len();
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
        if self.series.len() == before_trim {
            return;
        }
        if self.series.capacity() > 2 * self.series.len() + 16 {
            self.series.shrink_to_fit();
        }
        self.removed += before_trim - self.series.len();
        self.remove_unused_texts(hasher);
        self.index.clear();
        self.index.shrink_to(self.series.len(), |_| 0);
        for (at, series) in self.series.iter().enumerate() {
            self.index.insert_unique(series.hash, at as u32, |at| self.series[*at as usize].hash);
        }
    }

    /// Removes old samples: those of the older half of the time that its samples span; if that is not enough, all but the
    /// newest sample of each series that still reports. Whether at least an eighth was freed and some series are left.
    pub(super) fn shrink(&mut self, hasher: &DefaultHashBuilder) -> bool {
        let before = self.bytes();
        // Less than an eighth is not worth the walk over all series.
        let is_enough = |cluster: &Self| cluster.bytes() <= before - before / 8 && !cluster.series.is_empty();
        let oldest = self.series.iter().map(|series| series.samples.oldest().ms).min().unwrap_or(0);
        let newest = self.series.iter().map(|series| series.samples.newest().ms).max().unwrap_or(0);
        // The middle, rounded up, so that at least the samples of the oldest millisecond are removed.
        self.trim(newest.saturating_sub(newest.saturating_sub(oldest) / 2), hasher);
        if is_enough(self) {
            return true;
        }
        let reports_since = newest.saturating_sub(GAP_MS);
        let all_but_newest = |series: &mut StoredSeries| {
            let newest = series.samples.newest().ms;
            series.samples.trim(if newest < reports_since { i64::MAX } else { newest })
        };
        self.trim_each(all_but_newest, hasher);
        is_enough(self)
    }

    /// Removes the texts that no series has any more, if there may be many of them.
    fn remove_unused_texts(&mut self, hasher: &DefaultHashBuilder) {
        if self.removed <= self.series.len() / 2 {
            return;
        }
        self.removed = 0;
        let old = std::mem::take(&mut self.symbols);
        let mut numbers: Vec<Option<TextId>> = vec![None; old.len()];
        let symbols = &mut self.symbols;
        let mut renumber = |symbol: &mut TextId| {
            let number = &mut numbers[*symbol as usize];
            let new = number.or_else(|| symbols.intern(old.text(*symbol), hasher));
            *number = new;
            // Cannot be `None`: there are not more texts than before.
            *symbol = new.unwrap_or(0);
        };
        for series in &mut self.series {
            for (name, value) in &mut series.labels {
                renumber(name);
                renumber(value);
            }
        }
    }

    /// The size of the cluster, in bytes, including this value itself.
    pub(super) fn bytes(&self) -> usize {
        // An `Arc` has two counts before its text.
        let id = self.id.len() + 2 * size_of::<usize>();
        let series = self.series.capacity() * size_of::<StoredSeries>() + self.series_bytes;
        size_of::<Self>() + id + series + self.symbols.heap_bytes() + self.index.allocation_size()
    }
}
