//! Holds senders to their labels: who they are, and what the operator requires.

use telemeter_wire::{Arena, Label, SeriesMut, series::value_of};

use crate::{
    canonical::shown,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Requires labels on every series, of a certain value or of any. To stand behind
/// [`Canonical`](crate::canonical::Canonical), which lets no label stand twice.
#[derive(Clone, Debug, Default)]
pub struct Required<'r> {
    labels: Vec<(&'r str, Option<&'r str>)>,
}

impl<'r> Required<'r> {
    /// Nothing is required yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires the label `name` with this value.
    pub fn value(&mut self, name: &'r str, value: &'r str) {
        self.labels.push((name, Some(value)));
    }

    /// Requires the label `name` with any value.
    pub fn presence(&mut self, name: &'r str) {
        self.labels.push((name, None));
    }
}

impl Transform for Required<'_> {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        for &(name, wanted) in &self.labels {
            let labels = series.labels();
            let value = value_of(labels, name).unwrap_or("");
            if value.is_empty() {
                return Err(Refusal::LabelMissing { label: shown(name) });
            }
            if has_look_alike(labels, name) {
                return Err(Refusal::LabelTwice { label: shown(name) });
            }
            if wanted.is_some_and(|wanted| wanted != value) {
                return Err(Refusal::LabelValue { label: shown(name) });
            }
        }
        Ok(Verdict::Keep)
    }
}

/// Whether one of these names reads as `name`. The labels are sorted.
#[inline]
fn has_look_alike(labels: &[Label<'_>], name: &str) -> bool {
    let front = |name: &str| name.as_bytes().first().copied().unwrap_or(0);
    let first = front(name);
    // A letter or digit at the front stays what it is.
    if first.is_ascii_alphanumeric() {
        return labels.iter().any(|label| front(label.name) == first && reads_as(label.name, name));
    }
    // Names that begin with a lower-case letter stand together, and are passed over.
    let before = labels.iter().take_while(|label| front(label.name) < b'a');
    let behind = labels.iter().rev().take_while(|label| front(label.name) > b'z');
    before.chain(behind).any(|label| reads_as(label.name, name))
}

/// Whether a store that writes `_` for each character that no label name may have reads another name as `name`.
#[inline]
fn reads_as(other: &str, name: &str) -> bool {
    let stays = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let read = |character: char| if stays(character) { character } else { '_' };
    // No character is read as a shorter one.
    other.len() >= name.len()
        && other != name
        && other
            .as_bytes()
            .get(1)
            .is_none_or(|second| !stays(char::from(*second)) || name.as_bytes().get(1) == Some(second))
        && other.chars().map(read).eq(name.chars())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canonical::Canonical,
        testing::{through, through_labels},
    };

    #[test]
    fn a_required_label_is_there_once_with_its_value() {
        let mut step = Required::new();
        step.value("_id", "a");
        step.presence("region");
        let check = |labels: &str, expected: Result<(), Refusal>| {
            let body = format!("up{{_id=\"a\",region=\"x\"}} 1\nup{{{labels}}} 1");
            assert_eq!(through(&body, &[&Canonical::new(), &step]).map(|_| ()), expected, "{labels}");
        };
        let (id, region) = (|| "_id".to_owned(), || "region".to_owned());
        check("_id=\"a\",region=\"y\"", Ok(()));
        check("region=\"y\"", Err(Refusal::LabelMissing { label: id() }));
        check("_id=\"\",region=\"y\"", Err(Refusal::LabelMissing { label: id() }));
        check("_id=\"b\",region=\"y\"", Err(Refusal::LabelValue { label: id() }));
        check("_id=\"A\",region=\"y\"", Err(Refusal::LabelValue { label: id() }));
        for second in ["b", "a", ""] {
            let labels = [("__name__", "up"), ("_id", "a"), ("_id", second), ("region", "y")];
            let judged = through_labels(&labels, &[&Canonical::new(), &step]).map(|_| ());
            assert_eq!(judged, Err(Refusal::LabelTwice { label: id() }), "{second}");
        }
        check("_id=\"a\"", Err(Refusal::LabelMissing { label: region() }));
        // What some stores would read as the same label.
        check("_id=\"a\",region=\"y\",\".id\"=\"b\"", Err(Refusal::LabelTwice { label: id() }));
        check("_id=\"a\",region=\"y\",\"éid\"=\"b\"", Err(Refusal::LabelTwice { label: id() }));
        check("_id=\"a\",region=\"y\",_Id=\"b\",\".ids\"=\"b\",\"regi.n\"=\"b\"", Ok(()));
        check("_id=\"a\",region=\"\"", Err(Refusal::LabelMissing { label: region() }));
    }
}
