//! The step that sets labels to fixed values: those of `--label`, and those that `/authorize` returned with the token.

use telemeter_wire::{Arena, Label, SeriesMut};

use crate::{
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Sets these labels on every series, whatever value they had. Canonical labels stay canonical.
#[derive(Clone, Debug, Default)]
pub struct SetLabels {
    labels: Vec<(String, String)>,
}

impl SetLabels {
    /// A step from names and values. An empty value removes the label.
    #[must_use]
    pub fn new(labels: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { labels: labels.into_iter().collect() }
    }

    /// Whether the step sets no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl Transform for SetLabels {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        for (name, value) in &self.labels {
            let label = Label { name, value };
            if value.is_empty() {
                series.retain_labels(|old| old.name != name);
            } else if let Some(at) = series.labels().iter().position(|old| old.name == name) {
                if series.labels()[at].value != value {
                    series.labels_mut()[at] = label;
                }
            } else {
                let at = series.labels().iter().position(|old| *old.name > **name);
                series.insert_label(at.unwrap_or(usize::MAX), label);
            }
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::through;

    #[test]
    fn labels_are_set_in_their_place() {
        fn check(labels: &[(&str, &str)], body: &str, expected: &str) {
            let step = SetLabels::new(labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
            assert_eq!(through(body, &[&step]).expect("kept").0, expected);
        }
        check(&[], "up{a=\"1\"} 1", "up{a=\"1\"} 1\n");
        check(&[("b", "2")], "up{a=\"1\",c=\"3\"} 1\nup 2", "up{a=\"1\",b=\"2\",c=\"3\"} 1\nup{b=\"2\"} 2\n");
        check(&[("a", "2")], "up{a=\"1\"} 1", "up{a=\"2\"} 1\n");
        check(&[("a", "")], "up{a=\"1\"} 1", "up 1\n");
        check(&[("z", "1"), ("y", "2")], "up{a=\"1\"} 1", "up{a=\"1\",y=\"2\",z=\"1\"} 1\n");
    }
}
