//! What the unit tests of this crate share.

use telemeter_wire::{Arena, DecodeLimits, Label, MetricType, Points, Sample, SeriesSet, exposition::text};

use crate::{
    refusal::Refusal,
    transform::{StepCounts, Transform, run},
};

/// The series as text, without the lines that say types.
pub(crate) fn text_of(set: &SeriesSet<'_>) -> String {
    let mut out = Vec::new();
    text::encode(set, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// Takes a text through steps, and writes what is left as text.
pub(crate) fn through(body: &str, steps: &[&dyn Transform]) -> Result<(String, StepCounts), Refusal> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    text::decode(body.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text");
    let mut report = StepCounts::default();
    run(&mut set, steps, &mut report)?;
    Ok((text_of(&set), report))
}

/// Takes one series through steps. Its labels may be such as the text format does not allow, but remote write does.
pub(crate) fn through_labels(labels: &[(&str, &str)], steps: &[&dyn Transform]) -> Result<StepCounts, Refusal> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let mark = set.mark();
    for &(name, value) in labels {
        set.push_label(Label { name, value });
    }
    set.finish(mark, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: None }));
    let mut report = StepCounts::default();
    run(&mut set, steps, &mut report)?;
    Ok(report)
}
