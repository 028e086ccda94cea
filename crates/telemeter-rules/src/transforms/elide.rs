//! The step that removes labels: `--elide-label`.

use telemeter_wire::{Arena, SeriesMut, exposition::NameKind};

use crate::{
    escaped_name::with_originals,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Removes the labels of these names from every series.
#[derive(Clone, Debug, Default)]
pub struct Elide {
    names: Vec<String>,
}

impl Elide {
    /// A step from the names of the labels to remove. A name that is escaped by its values (`U__http_2e_status`) also stands for
    /// the UTF-8 name, since labels arrive here with that.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: with_originals(names, NameKind::Label) }
    }

    /// Whether labels of this name are removed.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|other| other == name)
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
            series.retain_labels(|label| !self.covers(label.name));
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

    #[test]
    fn an_escaped_name_stands_for_the_utf8_name() {
        let step = Elide::new(["U__k8s_2e_pod".to_owned(), "k8s_node".to_owned()]);
        let body = "up{U__k8s_2e_pod=\"1\",\"k8s.node\"=\"n\",\"k8s.pod\"=\"2\",k8s_pod=\"3\"} 1";
        let (text, counts) = through(body, &[&step]).expect("kept");
        assert_eq!((text.as_str(), counts.elided_labels), ("up{\"k8s.node\"=\"n\",k8s_pod=\"3\"} 1\n", 2));
        assert!(step.covers("k8s.pod") && step.covers("U__k8s_2e_pod") && !step.covers("k8s.node"));
    }
}
