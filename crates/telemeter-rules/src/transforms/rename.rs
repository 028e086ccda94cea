//! The step that renames metrics: `--rename ALERTS=alerts`.

use telemeter_wire::{Arena, SeriesMut};

use crate::{
    canonical::is_metric_name,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Replaces old metric names by new ones. Each name is looked up once, so that two names can be exchanged.
#[derive(Clone, Debug, Default)]
pub struct Rename {
    names: Vec<(String, String)>,
}

impl Rename {
    /// A step from pairs of an old and a new name.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { names: names.into_iter().collect() }
    }
}

impl Transform for Rename {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let name = series.view().name();
        if let Some((_, new)) = self.names.iter().find(|(old, _)| old == name) {
            for label in series.labels_mut().iter_mut().filter(|label| is_metric_name(label)) {
                label.value = new;
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
    fn only_whole_names_change_and_only_once() {
        let pairs = [("ALERTS", "alerts"), ("a", "b"), ("b", "a")];
        let step = Rename::new(pairs.map(|(old, new)| (old.to_owned(), new.to_owned())));
        let body = "ALERTS{ALERTS=\"ALERTS\"} 1\nALERTS_FOR_STATE 2\na 3\nb 4";
        let expected = "alerts{ALERTS=\"ALERTS\"} 1\nALERTS_FOR_STATE 2\nb 3\na 4\n";
        assert_eq!(through(body, &[&step]).expect("kept").0, expected);
    }
}
