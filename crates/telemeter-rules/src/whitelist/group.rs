//! The rules of one slot of the name index, indexed once more by another label.

use hashbrown::HashMap;
use telemeter_wire::Label;

use super::index::{IndexCondition, ValueIndex};
use super::{CompiledRule, NameVerdict};

/// Up to this number, rules are tried one after the other, without an index.
const MAX_LISTED: usize = 4;

/// A group of rules, given by their IDs and divided by what remains to be checked.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleGroup {
    /// A rule of the group has no other condition: every series passes. The group then has no other rules.
    unconditional: bool,
    /// Rules with other conditions on the name only.
    name_only: Vec<u32>,
    /// Rules with conditions that an index cannot use, or all rules of a small group.
    listed: Vec<u32>,
    /// The other rules, by the name of a label that they require.
    labels: HashMap<Box<str>, LabelIndex>,
}

#[derive(Clone, Debug)]
struct LabelIndex {
    values: ValueIndex,
    /// The rules of each slot of `values`.
    slots: Vec<Vec<u32>>,
}

impl RuleGroup {
    /// Builds the group of the rules in `members`, which are indices into `rules`. Where one of them has no further
    /// condition, the others are left out, since every series passes. More than [`MAX_LISTED`] rules are indexed by the
    /// label that narrows them down most.
    pub(super) fn build(rules: &[CompiledRule], members: &[u32]) -> Self {
        let rule = |id: u32| &rules[id as usize];
        if members.iter().any(|&id| rule(id).name.is_empty() && rule(id).rest.is_empty()) {
            return Self { unconditional: true, ..Self::default() };
        }
        let (name_only, mut listed): (Vec<_>, Vec<_>) = members.iter().partition(|&&id| rule(id).rest.is_empty());
        let mut labels = HashMap::new();
        if listed.len() > MAX_LISTED {
            let usable: Vec<_> = listed.iter().map(|&id| (id, usable(rule(id)))).collect();
            listed.clear();
            let shared = count_values(&usable);
            let mut by_label = HashMap::<Box<str>, Vec<(IndexCondition, u32)>>::new();
            for (id, conditions) in usable {
                // The most selective condition; of several exact ones, the one whose value the fewest rules share.
                let best = conditions.into_iter().min_by_key(|(label, condition)| match condition {
                    IndexCondition::Exact(values) => {
                        let most = values.iter().filter_map(|value| shared.get(&(label.to_string(), value.clone())));
                        (condition.rank(), most.max().copied().unwrap_or(0))
                    }
                    _ => (condition.rank(), 0),
                });
                match best {
                    Some((label, condition)) => by_label.entry(label.into()).or_default().push((condition, id)),
                    None => listed.push(id),
                }
            }
            labels.extend(by_label.into_iter().map(|(label, conditions)| {
                let (values, slots) = ValueIndex::build(conditions);
                (label, LabelIndex { values, slots })
            }));
        }
        Self { unconditional: false, name_only, listed, labels }
    }

    /// Whether a rule of the group matches a series with this name and these labels.
    #[inline]
    pub(super) fn any(&self, rules: &[CompiledRule], name: &str, labels: &[Label<'_>]) -> bool {
        let holds = |id: &u32| rules[*id as usize].holds(name, labels);
        self.unconditional
            || self.name_only.iter().any(holds)
            || self.listed.iter().any(holds)
            || (!self.labels.is_empty()
                && labels.iter().any(|label| {
                    self.labels.get(label.name).is_some_and(|index| {
                        index.values.any(label.value, &mut |slot| index.slots[slot].iter().any(holds))
                    })
                }))
    }

    /// The decision about all series of this name; `Depends` also where a certain one would take long to find.
    pub(super) fn by_name(&self, rules: &[CompiledRule], name: &str) -> NameVerdict {
        if self.unconditional || self.name_only.iter().any(|&id| rules[id as usize].name_holds(name)) {
            NameVerdict::Always
        } else if self.listed.is_empty() && self.labels.is_empty() {
            NameVerdict::Never
        } else {
            NameVerdict::Depends
        }
    }
}

/// The conditions that an index can use: those on labels that the rule requires to be present.
fn usable(rule: &CompiledRule) -> Vec<(&str, IndexCondition)> {
    let required = rule.rest.iter().filter(|matcher| !matcher.matches_value(""));
    required.filter_map(|matcher| Some((matcher.name(), IndexCondition::of(matcher)?))).collect()
}

/// The number of rules with each exact value of each label.
fn count_values(usable: &[(u32, Vec<(&str, IndexCondition)>)]) -> HashMap<(String, String), usize> {
    let mut counts = HashMap::new();
    for (label, condition) in usable.iter().flat_map(|(_, conditions)| conditions) {
        if let IndexCondition::Exact(values) = condition {
            for value in values {
                *counts.entry(((*label).to_owned(), value.clone())).or_default() += 1;
            }
        }
    }
    counts
}
