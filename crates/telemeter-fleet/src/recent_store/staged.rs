//! What a request brought, while the store has not answered yet: samples, and the labels of series that are new.
//!
//! A series is told from the others of its cluster by 64 bits of a keyed hash of its encoded labels. The labels themselves
//! are not compared: that would read a third of a kilobyte of each, from many places. That two of 100,000 series have the
//! same hash has a chance of one in four billion; these two would be shown as one, and no other cluster's are touched.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::DefaultHashBuilder;
use telemeter_wire::{MetricType, Sample, remote_write::EncodedSeries};

use super::{cluster::StoredCluster, samples::StoredPoint};

/// Samples of one request that wait for the store's answer. Dropped, they were never there.
#[derive(Debug, Default)]
pub struct Staged {
    samples: Vec<StagedSample>,
    /// The labels of series that are new, as they stood in the message, and where those of each end.
    labels: Vec<u8>,
    new: Vec<NewSeries>,
    /// How many series have a sample.
    pub(super) series: usize,
    /// Series without a float sample.
    pub(super) histograms: usize,
}

/// A sample of a series; those of one series stand side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedSample {
    /// Of the labels of its series.
    pub(super) hash: u64,
    pub(super) point: StoredPoint,
    /// Where its series was among those of its cluster; `NOWHERE` where it was new.
    pub(super) at: u32,
    /// Which of the new ones it is, counted from 1; 0 where it was known.
    new: u32,
}

/// No place: see [`StagedSample::at`].
pub(super) const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct NewSeries {
    end: usize,
    kind: MetricType,
}

/// The keyed hash that a series is told by.
pub(super) fn hash_of(encoded_labels: &[u8], hasher: &DefaultHashBuilder) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(encoded_labels);
    state.finish()
}

impl Staged {
    /// Reads `series` of a cluster, of which `known` is what is held.
    pub(super) fn of<'m>(
        series: impl ExactSizeIterator<Item = EncodedSeries<'m>>,
        known: Option<&StoredCluster>,
        hasher: &DefaultHashBuilder,
    ) -> Self {
        let mut staged = Self { samples: Vec::with_capacity(series.len()), ..Self::default() };
        let mut next = 0;
        for series in series {
            let mut samples = series.samples();
            let Some(first) = samples.next() else {
                staged.histograms += 1;
                continue;
            };
            let hash = hash_of(series.labels, hasher);
            let (at, new) = match known.and_then(|known| known.place_of(hash, next)) {
                Some(at) => {
                    next = at + 1;
                    (at, 0)
                }
                None => (NOWHERE, staged.add_new(&series)),
            };
            let of = |sample: Sample| {
                let point = StoredPoint { ms: sample.timestamp_ms.unwrap_or(i64::MIN), value: sample.value };
                StagedSample { hash, point, at, new }
            };
            staged.series += 1;
            staged.samples.push(of(first));
            for sample in samples {
                staged.samples.push(of(sample));
            }
        }
        staged
    }

    fn add_new(&mut self, series: &EncodedSeries<'_>) -> u32 {
        self.labels.extend_from_slice(series.labels);
        self.new.push(NewSeries { end: self.labels.len(), kind: series.kind });
        self.new.len() as u32
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<StagedSample>()
            + self.labels.capacity()
            + self.new.capacity() * size_of::<NewSeries>()
    }

    /// All samples, in their order.
    pub(super) fn samples(&self) -> &[StagedSample] {
        &self.samples
    }

    /// The encoded labels of a series that was new, and the type of its family.
    pub(super) fn labels_of(&self, sample: &StagedSample) -> Option<(&[u8], MetricType)> {
        let at = (sample.new as usize).checked_sub(1)?;
        let start = at.checked_sub(1).map_or(0, |before| self.new[before].end);
        Some((&self.labels[start..self.new[at].end], self.new[at].kind))
    }
}
