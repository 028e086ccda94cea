//! The step that removes labels: `--elide-label`.

use telemeter_wire::{Arena, SeriesMut};

use crate::{
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Removes the labels of these names from every series.
#[derive(Clone, Debug, Default)]
pub struct Elide {
    names: Vec<String>,
}

impl Elide {
    /// A step from the names of the labels to remove.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect() }
    }

    /// Whether the step removes no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl Transform for Elide {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        counts: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        if !self.names.is_empty() {
            let before = series.labels().len();
            series.retain_labels(|label| !self.names.iter().any(|name| name == label.name));
            counts.elided_labels += (before - series.labels().len()) as u64;
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::through;

    #[test]
    fn elided_labels_are_gone_and_counted() {
        let step = Elide::new(["replica".to_owned(), "pod".to_owned()]);
        let body = "up{a=\"1\",pod=\"p\",replica=\"r\"} 1\nup{replicas=\"2\"} 2\nup{replica=\"r\"} 3";
        let (text, counts) = through(body, &[&step]).expect("kept");
        assert_eq!(text, "up{a=\"1\"} 1\nup{replicas=\"2\"} 2\nup 3\n");
        assert_eq!(counts.elided_labels, 3);
    }
}
