//! Encodes series into remote-write requests of limited size: each series once, in canonical form.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use telemeter_rules::{StepCounts, canonical::Canonical, run_partial};
use telemeter_wire::{SeriesSet, remote_write, snappy};

use super::UploadPart;

/// A request is complete once it has this many bytes, decompressed: half of the compressed size that a telemeter server
/// accepts by default.
const REQUEST_BYTES: usize = 512 * 1024;

/// A request that is being filled, and the hashes of the series in it and in the earlier requests of the cycle.
#[derive(Default)]
pub(super) struct WriteRequests {
    hasher: RandomState,
    seen: HashSet<u64>,
    plain: Vec<u8>,
}

impl WriteRequests {
    /// Adds the series of `set`, each in canonical form, as receivers require, and each once. Of equal series the first
    /// is kept; the others count as duplicates. A series with the same label name twice counts as invalid.
    pub(super) fn add<'a>(&mut self, canonical: &'a Canonical, set: &mut SeriesSet<'a>, counts: &mut StepCounts) {
        // The earlier steps have counted these series already.
        let mut refused = 0;
        run_partial(set, &[canonical], &mut StepCounts::default(), |_, _| refused += 1);
        counts.invalid += refused;
        let Self { hasher, seen, plain } = self;
        set.retain_mut(|series| {
            let is_first = seen.insert(hasher.hash_one(series.labels()));
            counts.duplicates += u64::from(!is_first);
            is_first
        });
        remote_write::encode(set, plain);
    }

    /// Whether the request must be completed before more series are added.
    pub(super) fn is_full(&self) -> bool {
        self.plain.len() >= REQUEST_BYTES
    }

    /// Compresses the request and appends it to `body`; returns `None` where the request is empty.
    pub(super) fn put(&mut self, encoder: &mut snappy::Encoder, body: &mut Vec<u8>) -> Option<UploadPart> {
        if self.plain.is_empty() {
            return None;
        }
        encoder.block(&self.plain, body);
        let part = UploadPart { end: body.len(), plain_bytes: self.plain.len() };
        self.plain.clear();
        Some(part)
    }
}
