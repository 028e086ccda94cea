//! Helper functions for the unit tests of this crate.

use telemeter_wire::{Arena, DecodeLimits, Label, MetricType, Points, Sample, SeriesSet, exposition::text};

use crate::{
    refusal::Refusal,
    transform::{StepCounts, Transform, run},
};

/// The series in the text format, without comment lines.
pub(crate) fn text_of(set: &SeriesSet<'_>) -> String {
    let mut out = Vec::new();
    text::encode(set, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// Parses a text, applies the steps, and writes the series that are left as text.
pub(crate) fn through(body: &str, steps: &[&dyn Transform]) -> Result<(String, StepCounts), Refusal> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    text::decode(body.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text");
    let mut counts = StepCounts::default();
    run(&mut set, steps, &mut counts)?;
    Ok((text_of(&set), counts))
}

/// Applies the steps to one series. Its labels may be ones that the text format does not allow, but remote write does.
pub(crate) fn through_labels(labels: &[(&str, &str)], steps: &[&dyn Transform]) -> Result<StepCounts, Refusal> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let mark = set.mark();
    for &(name, value) in labels {
        set.push_label(Label { name, value });
    }
    set.finish(mark, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: None }));
    let mut counts = StepCounts::default();
    run(&mut set, steps, &mut counts)?;
    Ok(counts)
}
