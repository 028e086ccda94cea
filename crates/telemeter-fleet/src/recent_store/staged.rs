//! The samples of a request that wait until the store has accepted the request, and the labels of its new series.
//!
//! Within its cluster, a series is identified by 64 bits of a keyed hash of its encoded labels. The labels themselves are
//! not compared: that would read a third of a kilobyte for each series, from many places in memory. The probability that
//! two of 100,000 series have the same hash is one in four billion; these two would be shown as one series, and no other
//! cluster is affected.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::DefaultHashBuilder;
use telemeter_wire::{MetricType, Sample, remote_write::EncodedSeries};

use super::samples::StoredPoint;

/// The samples of one request, to be committed once the store has accepted it. Dropping the value discards them.
#[derive(Debug, Default)]
pub struct Staged {
    /// All samples; those of one series are neighbours.
    samples: Vec<StagedSample>,
    /// The encoded labels of all new series, copied from the message.
    labels: Vec<u8>,
    new: Vec<NewSeries>,
    /// The number of series with a float sample.
    pub(super) series: usize,
    /// The number of series without a float sample.
    pub(super) histograms: usize,
}

/// A sample, and which series it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedSample {
    /// The keyed hash of the encoded labels of its series.
    pub(super) hash: u64,
    pub(super) point: StoredPoint,
    /// The index that its series had in its cluster; [`NO_INDEX`] for a new series.
    pub(super) at: u32,
    /// The number of the new series, counted from 1; 0 for a known series.
    new: u32,
}

/// The value of [`StagedSample::at`] for a new series.
pub(super) const NO_INDEX: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct NewSeries {
    /// The end of its labels in [`Staged::labels`].
    end: usize,
    kind: MetricType,
}

/// The keyed hash of a series' encoded labels. Series with equal hashes count as one: their labels are not compared.
pub(super) fn hash_of(encoded_labels: &[u8], hasher: &DefaultHashBuilder) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(encoded_labels);
    state.finish()
}

impl Staged {
    /// Reads the encoded series of a request. `index_of` returns the index of a known series by its hash, and a hint where
    /// to find it.
    pub(super) fn read<'m>(
        series: impl ExactSizeIterator<Item = EncodedSeries<'m>>,
        index_of: impl Fn(u64, u32) -> Option<u32>,
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
            let (at, new) = match index_of(hash, next) {
                Some(at) => {
                    next = at + 1;
                    (at, 0)
                }
                None => (NO_INDEX, staged.add_new(&series)),
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

    /// Copies the labels of a new series; returns its number, counted from 1.
    fn add_new(&mut self, series: &EncodedSeries<'_>) -> u32 {
        self.labels.extend_from_slice(series.labels);
        self.new.push(NewSeries { end: self.labels.len(), kind: series.kind });
        self.new.len() as u32
    }

    /// The size on the heap, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<StagedSample>()
            + self.labels.capacity()
            + self.new.capacity() * size_of::<NewSeries>()
    }

    /// All samples, in the order of the request.
    pub(super) fn samples(&self) -> &[StagedSample] {
        &self.samples
    }

    /// The encoded labels of a new series, and the type of its family; `None` for a known series.
    pub(super) fn labels_of(&self, sample: &StagedSample) -> Option<(&[u8], MetricType)> {
        let at = (sample.new as usize).checked_sub(1)?;
        let start = at.checked_sub(1).map_or(0, |before| self.new[before].end);
        Some((&self.labels[start..self.new[at].end], self.new[at].kind))
    }
}
