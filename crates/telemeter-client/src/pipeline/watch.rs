//! Looks on while series go through the rules: what came, and what is left of it.

use telemeter_rules::{Refusal, StepCounts, Transform, Verdict};
use telemeter_wire::{Arena, Series, SeriesMut};

/// Looks on. Each series that came is shown; then, where the rules keep it, what it became, before the next one.
pub(crate) trait SeriesWatch: Sync {
    /// A series as it was scraped, and what was counted before it.
    fn scraped(&self, series: &Series<'_, '_>, report: &StepCounts);

    /// What the rules made of it.
    fn left(&self, series: &Series<'_, '_>);

    /// The scrape has ended; this was counted in all.
    fn ended(&self, report: &StepCounts);
}

/// The two places in the order of the steps that it looks from.
#[derive(Clone, Copy)]
pub(super) enum WatchPoints<'w> {
    /// Before all others.
    Scraped(&'w dyn SeriesWatch),
    /// Behind all others.
    Left(&'w dyn SeriesWatch),
}

impl Transform for WatchPoints<'_> {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        report: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        match self {
            Self::Scraped(watch) => watch.scraped(&series.view(), report),
            Self::Left(watch) => watch.left(&series.view()),
        }
        Ok(Verdict::Keep)
    }
}
