//! Series on their way into remote-write requests: canonical, each once, so many to a request.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use telemeter_rules::{StepCounts, canonical::Canonical, run_partial};
use telemeter_wire::{SeriesSet, remote_write, snappy};

use super::UploadPart;

/// A request is sent once it has so many bytes, decompressed: half of what a telemeter server takes compressed by default.
const REQUEST_BYTES: usize = 512 * 1024;

/// A request that is being filled, and which series went into this one and those before.
#[derive(Default)]
pub(super) struct WriteRequests {
    hasher: RandomState,
    seen: HashSet<u64>,
    plain: Vec<u8>,
}

impl WriteRequests {
    /// Adds what is left of `set`: each series in canonical form, as receivers want it, and each once. Where some are the same
    /// the first stays; the others count as duplicates. A series with a label twice counts as invalid.
    pub(super) fn add<'a>(&mut self, canonical: &'a Canonical, set: &mut SeriesSet<'a>, counts: &mut StepCounts) {
        // What these steps see was counted already.
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

    /// Whether it is to be sent before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.plain.len() >= REQUEST_BYTES
    }

    /// Appends the request to `body`, compressed; `None` where there is nothing in it.
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
