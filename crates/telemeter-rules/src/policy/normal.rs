//! The normal form of a selector: equal for two selectors that differ only in how they are written.

use std::collections::{BTreeMap, BTreeSet};

use telemeter_wire::series::NAME_LABEL;

use super::values::Values;
use crate::{matcher::Matcher, selector::Selector};

/// A selector as a set of values for each label. The order of matchers, quotes, and different spellings of one condition
/// (`=~"a"` and `="a"`, `=~".+"` and `!=""`) make no difference. Two that are equal select the same series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalizedSelector {
    /// The values of each label that the selector restricts.
    labels: BTreeMap<Box<str>, Values>,
}

impl NormalizedSelector {
    /// The normal form of a selector.
    #[must_use]
    pub fn of(selector: &Selector) -> Self {
        let mut by_label: BTreeMap<&str, Vec<&Matcher>> = BTreeMap::new();
        for matcher in selector.matchers() {
            by_label.entry(matcher.name()).or_default().push(matcher);
        }
        let labels = by_label.into_iter().map(|(name, matchers)| (name.into(), Values::of(matchers)));
        Self { labels: labels.filter(|(_, values)| !values.is_all()).collect() }
    }

    /// A label of which no value passes, so that certainly the selector selects no series.
    #[must_use]
    pub fn never(&self) -> Option<&str> {
        self.labels.iter().find(|(_, values)| values.is_none()).map(|(name, _)| &**name)
    }

    /// Whether certainly every series is selected.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        self.labels.is_empty()
    }

    /// Whether it selects only series without a metric name, which senders do not have.
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        matches!(self.labels.get(NAME_LABEL), Some(Values::OneOf(names)) if names.iter().all(String::is_empty))
    }

    /// Whether it also selects the series without labels.
    #[must_use]
    pub fn selects_empty(&self) -> bool {
        self.labels.values().all(|values| values.contains(""))
    }

    /// The metric names that it selects, where it lists them.
    #[must_use]
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        match self.labels.get(NAME_LABEL) {
            Some(Values::OneOf(names)) => Some(names),
            _ => None,
        }
    }

    /// Whether certainly every series that `other` selects is selected by this selector, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.never().is_some() || self.labels.iter().all(|(name, values)| other.values(name).is_within(values))
    }

    /// Whether certainly no series is selected by both.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.never().is_some()
            || other.never().is_some()
            || self.labels.iter().any(|(name, values)| values.is_disjoint(other.values(name)))
    }

    /// The selector restricted to one metric name; `None` where it does not select that name.
    #[must_use]
    pub fn of_name(&self, name: &str) -> Option<Self> {
        if !self.values(NAME_LABEL).contains(name) {
            return None;
        }
        let mut narrowed = self.clone();
        narrowed.labels.insert(NAME_LABEL.into(), Values::OneOf(BTreeSet::from([name.to_owned()])));
        Some(narrowed)
    }

    /// Updates the selector for a step that sets a label of every series to `value`; an empty value removes the label.
    pub fn set_label(&mut self, name: &str, value: &str) {
        self.labels.insert(name.into(), Values::OneOf(BTreeSet::from([value.to_owned()])));
    }

    /// Updates the selector for a step that replaces the values of a label by unknown ones; empty values stay.
    pub fn forget_label(&mut self, name: &str) {
        let only_empty = Values::OneOf(BTreeSet::from([String::new()]));
        if self.labels.get(name).is_some_and(|values| *values != only_empty) {
            self.labels.remove(name);
        }
    }

    /// Updates the selector for a step that renames metrics, given as pairs of the old and the new name.
    pub fn rename(&mut self, renames: &[(String, String)]) {
        let renamed = |name: &String| renames.iter().find(|(old, _)| old == name).map_or(name, |(_, new)| new).clone();
        if let Some(Values::OneOf(names)) = self.labels.get_mut(NAME_LABEL) {
            *names = names.iter().map(renamed).collect();
        } else if renames.iter().any(|(old, _)| self.values(NAME_LABEL).contains(old)) {
            // Some of the names change, and the set of those that result cannot be represented.
            self.labels.remove(NAME_LABEL);
        }
    }

    fn values(&self, name: &str) -> &Values {
        const ALL: &Values = &Values::ALL;
        self.labels.get(name).unwrap_or(ALL)
    }
}
