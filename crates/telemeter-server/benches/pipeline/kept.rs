//! The same with a recent store behind it, which keeps what the store took: a cluster's pushes, 4m30s apart, over its window
//! of two hours. It is in the steady state: each push adds a sample to each series, and now and then one goes.

use std::{hint::black_box, time::Duration};

use telemeter_fleet::recent_store::{RecentStore, RecentStoreConfig, Staged};
use telemeter_rules::StepCounts;
use telemeter_server::gateway::Workspace;
use telemeter_wire::{
    DecodeLimits, SeriesSet,
    exposition::{self, ExpositionFormat},
    remote_write, snappy,
};

use crate::{
    CAP, NOW, caller, compile,
    measure::MeasuredPart,
    payload::{BenchBodies, CLUSTER},
};

const INTERVAL_MS: i64 = 270_000;
/// So many pushes are made beforehand; behind the last, the store begins anew.
const PUSHES: usize = 256;

/// Remote writes of one cluster, each 4m30s after the one before it.
pub(crate) struct Pushes(Vec<BenchBodies>);

impl Pushes {
    pub(crate) fn new(sample: &str) -> Self {
        Self((0..PUSHES).map(|push| BenchBodies::new(sample, time(push))).collect())
    }
}

fn time(push: usize) -> i64 {
    NOW - 80_000_000 + push as i64 * INTERVAL_MS
}

/// The store, and the number of the next push to it.
struct StoreBench {
    store: RecentStore,
    next: usize,
}

impl StoreBench {
    fn new() -> Self {
        let config = RecentStoreConfig { window: Duration::from_secs(7200), max_bytes: 256 << 20 };
        Self { store: RecentStore::new(config), next: 0 }
    }

    fn next(&mut self) -> usize {
        if self.next == PUSHES {
            *self = Self::new();
        }
        self.next += 1;
        self.next - 1
    }

    /// Keeps a push of so many series. In between the server sweeps.
    fn keep(&self, staged: &Staged, push: usize, series: usize) {
        assert_eq!(self.store.commit(CLUSTER, staged, time(push)).samples, series);
        self.store.sweep(time(push));
    }
}

/// As the upload beside it, and kept.
pub(crate) fn upload<'p>(name: &str, beside: &str, payload: &'p BenchBodies, rules: &str) -> MeasuredPart<'p> {
    let (mut room, rules, mut out, mut kept) = (Workspace::default(), compile(rules), vec![], StoreBench::new());
    let work = move || {
        let Workspace { arena, plain, deduplicator, encoded, layout, encoder, .. } = &mut room;
        let push = kept.next();
        let (caller, mut report) = (caller(), StepCounts::default());
        let steps = rules.of_upload(&caller, NOW);
        snappy::decode_framed(black_box(&payload.upload), CAP, plain).expect("frames");
        let mut set = SeriesSet::new_in(arena);
        exposition::decode(ExpositionFormat::Delimited, plain, &DecodeLimits::default(), &mut set).expect("families");
        steps.upload(&mut set, &mut report).expect("good series");
        encoded.clear();
        deduplicator.encode(&set, time(push), &mut report, encoded, Some(layout));
        let staged = kept.store.stage(CLUSTER, layout.series(encoded));
        drop(set);
        arena.reset();
        out.clear();
        encoder.block(encoded, &mut out);
        black_box(&out);
        kept.keep(&staged, push, payload.series);
    };
    MeasuredPart { name: name.to_owned(), beside: vec![beside.to_owned()], work: Box::new(work) }
}

/// Remote writes, one after the other; kept where there is something `beside` it, which is without.
pub(crate) fn receive<'p>(name: &str, beside: Option<&str>, pushes: &'p Pushes, rules: &str) -> MeasuredPart<'p> {
    let (mut room, rules, mut out, mut kept) = (Workspace::default(), compile(rules), vec![], StoreBench::new());
    let is_kept = beside.is_some();
    let work = move || {
        let Workspace { arena, plain, encoded, layout, encoder, .. } = &mut room;
        let push = kept.next();
        let payload = &pushes.0[push];
        let steps = rules.of_receive(CLUSTER, NOW);
        snappy::decode_block(black_box(&payload.receive), CAP, plain).expect("a block");
        let mut set = SeriesSet::new_in(arena);
        remote_write::decode(plain, &DecodeLimits::default(), &mut set).expect("a message");
        steps.receive(&mut set, &mut StepCounts::default()).expect("good series");
        out.clear();
        let series = set.len();
        let staged = if remote_write::is_unchanged(&set) {
            out.extend_from_slice(&payload.receive);
            is_kept.then(|| {
                layout.of_unchanged(&set);
                kept.store.stage(CLUSTER, layout.series(plain))
            })
        } else {
            encoded.clear();
            let staged = if is_kept {
                remote_write::encode_placed(&set, encoded, layout);
                Some(kept.store.stage(CLUSTER, layout.series(encoded)))
            } else {
                remote_write::encode(&set, encoded);
                None
            };
            encoder.block(encoded, &mut out);
            staged
        };
        black_box(&out);
        drop(set);
        arena.reset();
        if let Some(staged) = staged {
            kept.keep(&staged, push, series);
        }
    };
    let beside = beside.map(str::to_owned).into_iter().collect();
    MeasuredPart { name: name.to_owned(), beside, work: Box::new(work) }
}
