//! The step that renames metrics: `--rename ALERTS=alerts`.

use telemeter_wire::{Arena, SeriesMut, exposition::NameKind};

use crate::{
    canonical::is_metric_name,
    escaped_name::of_values,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Replaces old metric names by new ones. Each name is looked up once, so that two names can be exchanged.
#[derive(Clone, Debug, Default)]
pub struct Rename {
    names: Vec<(String, String)>,
}

impl Rename {
    /// A step from pairs of an old and a new name. An old name that is escaped by its values (`U__http_2e_status`) also stands for
    /// the UTF-8 name, where no other pair has that.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut names: Vec<(String, String)> = names.into_iter().collect();
        let original = |(old, new): &(String, String)| Some((of_values(old, NameKind::Metric)?, new.clone()));
        let originals: Vec<_> = names.iter().filter_map(original).collect();
        // The first pair of a name counts.
        names.extend(originals);
        Self { names }
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

    #[test]
    fn an_escaped_name_stands_for_the_utf8_name() {
        let pairs = [("U__a_2e_b", "one"), ("U__c_2e_d", "two"), ("c.d", "three"), ("e_f", "four")];
        let step = Rename::new(pairs.map(|(old, new)| (old.to_owned(), new.to_owned())));
        let body = "{\"a.b\"} 1\nU__a_2e_b 2\na_b 3\n{\"c.d\"} 4\nU__c_2e_d 5\n{\"e.f\"} 6";
        let expected = "one 1\none 2\na_b 3\nthree 4\ntwo 5\n{\"e.f\"} 6\n";
        assert_eq!(through(body, &[&step]).expect("kept").0, expected);
    }
}
