//! Lets a watch see each series before and after the rules.

use telemeter_rules::{Refusal, StepCounts, Transform, Verdict};
use telemeter_wire::{Arena, Series, SeriesMut};

/// Sees each series of a scrape as it was scraped; then, where the rules keep it, as the rules changed it, before the
/// next series.
pub(crate) trait SeriesWatch: Sync {
    /// Called with a series as it was scraped, and with the counts before it.
    fn scraped(&self, series: &Series<'_, '_>, report: &StepCounts);

    /// Called with the same series as the rules changed it.
    fn left(&self, series: &Series<'_, '_>);

    /// Called at the end of the scrape, with the counts of all series.
    fn ended(&self, report: &StepCounts);
}

/// The two steps at which a [`SeriesWatch`] sees a series.
#[derive(Clone, Copy)]
pub(super) enum WatchPoints<'w> {
    /// The first step.
    Scraped(&'w dyn SeriesWatch),
    /// The last step.
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
