//! The trait of all steps, and the single pass that applies a list of steps to each series.

use telemeter_wire::{Arena, Series, SeriesMut, SeriesSet};

use crate::refusal::Refusal;

/// The decision of a step about one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The series goes on to the next step.
    Keep,
    /// The series is dropped; the other series of the request go on.
    Drop,
}

/// Counts of what the steps did with the series of one request; the caller adds them to its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Series before the first step.
    pub series: u64,
    /// Series that were dropped because no rule of the whitelist allows them.
    pub filtered: u64,
    /// Series that match no selector of the client, whether or not they were dropped.
    pub unrequested: u64,
    /// Series that were dropped because they have no usable sample: no time, too old, no value of their type, no name.
    pub invalid: u64,
    /// The part of `invalid` without a time.
    pub untimed: u64,
    /// The part of `invalid` with too old a sample.
    pub outdated: u64,
    /// Series that were dropped because another one with the same labels has a newer sample.
    pub duplicates: u64,
    /// Labels that were removed by [`Elide`](crate::transforms::elide::Elide).
    pub elided_labels: u64,
    /// Samples over five minutes behind our clock.
    pub past: u64,
    /// Samples within five minutes of our clock.
    pub present: u64,
    /// Samples over five minutes ahead of our clock.
    pub future: u64,
    /// Samples ahead of our clock, by any time.
    pub ahead: u64,
}

/// One step. Text that it puts into a series is borrowed from the step itself or from the arena.
pub trait Transform {
    /// Changes one series, and decides whether it goes on. Adds to `counts` what it did.
    ///
    /// # Errors
    /// A [`Refusal`] where the series makes the whole request invalid.
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        counts: &mut StepCounts,
    ) -> Result<Verdict, Refusal>;
}

/// Applies all steps, in order, to each series, in one pass over the set; removes the series that a step drops.
///
/// # Errors
/// The first [`Refusal`] of a step; the set is then partly changed.
pub fn run<'a>(set: &mut SeriesSet<'a>, steps: &[&'a dyn Transform], counts: &mut StepCounts) -> Result<(), Refusal> {
    counts.series += set.len() as u64;
    let arena = set.arena();
    set.try_retain_mut(|series| apply_all(series, steps, arena, counts))
}

/// As [`run`], but a series that a step refuses is dropped alone, and `refused` is called with it as it was at that step.
pub fn run_partial<'a>(
    set: &mut SeriesSet<'a>,
    steps: &[&'a dyn Transform],
    counts: &mut StepCounts,
    mut refused: impl FnMut(&Series<'_, 'a>, Refusal),
) {
    counts.series += set.len() as u64;
    let arena = set.arena();
    set.retain_mut(|series| {
        apply_all(series, steps, arena, counts).unwrap_or_else(|refusal| {
            refused(&series.view(), refusal);
            false
        })
    });
}

/// Applies all steps to one series; whether it is kept.
#[inline]
fn apply_all<'a>(
    series: &mut SeriesMut<'_, 'a>,
    steps: &[&'a dyn Transform],
    arena: &'a Arena,
    counts: &mut StepCounts,
) -> Result<bool, Refusal> {
    for step in steps {
        if step.apply(series, arena, counts)? == Verdict::Drop {
            return Ok(false);
        }
    }
    Ok(true)
}
