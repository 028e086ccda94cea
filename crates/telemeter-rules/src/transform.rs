//! A step over series, and the pass that takes each series through all steps.

use telemeter_wire::{Arena, Series, SeriesMut, SeriesSet};

use crate::refusal::Refusal;

/// What becomes of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the next step.
    Keep,
    /// It is left out; what it came with goes on.
    Drop,
}

/// What the steps of one request did, for the caller's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Series that came.
    pub series: u64,
    /// Series that no rule of the whitelist allows.
    pub filtered: u64,
    /// Series that no selector of the client asked for, whether or not they were dropped.
    pub unrequested: u64,
    /// Series without a usable sample: no time, too old, no value of their type, no name.
    pub invalid: u64,
    /// Of these, series without a time.
    pub untimed: u64,
    /// Of these, series whose sample is too old.
    pub outdated: u64,
    /// Series that came twice, of which the newest sample was kept.
    pub doubled: u64,
    /// Labels that were elided.
    pub elided_labels: u64,
    /// Samples over five minutes behind our clock.
    pub past: u64,
    /// Samples within five minutes of our clock.
    pub present: u64,
    /// Samples over five minutes ahead of our clock.
    pub future: u64,
    /// Samples ahead of our clock, however little.
    pub ahead: u64,
}

/// One step. What it puts into a series lives as long as the step itself, or in the arena.
pub trait Transform {
    /// Judges or changes one series.
    ///
    /// # Errors
    /// A [`Refusal`] where the whole request is to be refused.
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        report: &mut StepCounts,
    ) -> Result<Verdict, Refusal>;
}

/// Takes each series through all steps, in order, in one pass.
///
/// # Errors
/// The first [`Refusal`] of a step.
pub fn run<'a>(set: &mut SeriesSet<'a>, steps: &[&'a dyn Transform], report: &mut StepCounts) -> Result<(), Refusal> {
    report.series += set.len() as u64;
    let arena = set.arena();
    set.try_retain_mut(|series| apply_all(series, steps, arena, report))
}

/// As [`run`], but a series that a step refuses is left out and shown to `refused`, as it was then; the others go on.
pub fn run_partial<'a>(
    set: &mut SeriesSet<'a>,
    steps: &[&'a dyn Transform],
    report: &mut StepCounts,
    mut refused: impl FnMut(&Series<'_, 'a>, Refusal),
) {
    report.series += set.len() as u64;
    let arena = set.arena();
    set.retain_mut(|series| {
        apply_all(series, steps, arena, report).unwrap_or_else(|refusal| {
            refused(&series.view(), refusal);
            false
        })
    });
}

/// Takes one series through all steps; answers whether it goes on.
#[inline]
fn apply_all<'a>(
    series: &mut SeriesMut<'_, 'a>,
    steps: &[&'a dyn Transform],
    arena: &'a Arena,
    report: &mut StepCounts,
) -> Result<bool, Refusal> {
    for step in steps {
        if step.apply(series, arena, report)? == Verdict::Drop {
            return Ok(false);
        }
    }
    Ok(true)
}
