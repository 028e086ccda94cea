//! The step that requires labels: the sender's identity, and the labels that the operator requires.

use telemeter_wire::{Arena, Label, SeriesMut, series::value_of};

use crate::{
    canonical::excerpt,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Requires labels on every series, with a given value or with any value but the empty one. It expects sorted labels
/// without duplicates, so [`Canonical`](crate::canonical::Canonical) has to be an earlier step.
#[derive(Clone, Debug, Default)]
pub struct Required<'r> {
    labels: Vec<(&'r str, Option<&'r str>)>,
}

impl<'r> Required<'r> {
    /// A step that requires no label yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires the label `name` with this value.
    pub fn require_value(&mut self, name: &'r str, value: &'r str) {
        self.labels.push((name, Some(value)));
    }

    /// Requires the label `name` with any value.
    pub fn require_presence(&mut self, name: &'r str) {
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
        for &(name, required) in &self.labels {
            let labels = series.labels();
            let value = value_of(labels, name).unwrap_or("");
            if value.is_empty() {
                return Err(Refusal::LabelMissing { label: excerpt(name) });
            }
            if has_look_alike(labels, name) {
                return Err(Refusal::DuplicateLabel { label: excerpt(name) });
            }
            if required.is_some_and(|required| required != value) {
                return Err(Refusal::LabelValue { label: excerpt(name) });
            }
        }
        Ok(Verdict::Keep)
    }
}

/// Whether a store may take one of these labels for `name`. The labels have to be sorted.
#[inline]
fn has_look_alike(labels: &[Label<'_>], name: &str) -> bool {
    let front = |name: &str| name.as_bytes().first().copied().unwrap_or(0);
    let first = front(name);
    // Escaping does not change a letter or digit, so a look-alike has the same first character.
    if first.is_ascii_alphanumeric() {
        return labels.iter().any(|label| front(label.name) == first && escapes_to(label.name, name));
    }
    // Names that begin with a lower-case letter cannot be look-alikes. They are neighbours, so both loops end at them.
    let before = labels.iter().take_while(|label| front(label.name) < b'a');
    let after = labels.iter().rev().take_while(|label| front(label.name) > b'z');
    before.chain(after).any(|label| escapes_to(label.name, name))
}

/// Whether `other` is a different name that becomes `name` in a store that writes `_` for each character that is not
/// allowed in a label name.
#[inline]
fn escapes_to(other: &str, name: &str) -> bool {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let escape = |character: char| if is_allowed(character) { character } else { '_' };
    // The first two conditions and the second byte are a quick check: escaping never makes a name longer.
    other.len() >= name.len()
        && other != name
        && other
            .as_bytes()
            .get(1)
            .is_none_or(|second| !is_allowed(char::from(*second)) || name.as_bytes().get(1) == Some(second))
        && other.chars().map(escape).eq(name.chars())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canonical::Canonical,
        testing::{through, through_labels},
    };

    #[test]
    fn a_required_label_occurs_once_and_has_its_value() {
        let mut step = Required::new();
        step.require_value("_id", "a");
        step.require_presence("region");
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
            let result = through_labels(&labels, &[&Canonical::new(), &step]).map(|_| ());
            assert_eq!(result, Err(Refusal::DuplicateLabel { label: id() }), "{second}");
        }
        check("_id=\"a\"", Err(Refusal::LabelMissing { label: region() }));
        // Labels that some stores take for the required one.
        check("_id=\"a\",region=\"y\",\".id\"=\"b\"", Err(Refusal::DuplicateLabel { label: id() }));
        check("_id=\"a\",region=\"y\",\"éid\"=\"b\"", Err(Refusal::DuplicateLabel { label: id() }));
        check("_id=\"a\",region=\"y\",_Id=\"b\",\".ids\"=\"b\",\"regi.n\"=\"b\"", Ok(()));
        check("_id=\"a\",region=\"\"", Err(Refusal::LabelMissing { label: region() }));
    }
}
