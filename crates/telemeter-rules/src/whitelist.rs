//! A list of selectors, of which one has to hold.
//!
//! The list is compiled once, so that a series meets only the rules that may concern it. Rules are found by what they
//! say of the metric name: an exact name or each of several by hash, a literal beginning or end in a trie, any other
//! expression in a joint automaton. Where many rules are found so, and for those that say nothing of the name, the
//! same is done once more for the most telling of their other labels. An index only leaves out rules that cannot
//! match; what it finds is still checked in full.

mod group;
mod index;
mod patterns;
#[cfg(test)]
mod tests;
mod trie;

use hashbrown::HashSet;
use telemeter_wire::Label;
use telemeter_wire::series::NAME_LABEL;

use crate::error::Error;
use crate::matcher::{Matcher, value_of};
use crate::selector::Selector;
use group::RuleGroup;
use index::{IndexCondition, ValueIndex};

/// Compiled rules: a series passes if one of them selects it, or if there are none.
#[derive(Clone, Debug, Default)]
pub struct Whitelist {
    selectors: Vec<Selector>,
    rules: Vec<CompiledRule>,
    names: ValueIndex,
    /// The rules of each slot of `names`.
    named: Vec<RuleGroup>,
    /// The rules that no name leads to.
    unnamed: RuleGroup,
}

/// A selector, as far as the way to it has not checked it yet.
#[derive(Clone, Debug)]
struct CompiledRule {
    name: Vec<Matcher>,
    rest: Vec<Matcher>,
}

impl CompiledRule {
    #[inline]
    fn holds(&self, name: &str, labels: &[Label<'_>]) -> bool {
        self.name_holds(name) && self.rest.iter().all(|matcher| matcher.matches(labels))
    }

    #[inline]
    fn name_holds(&self, name: &str) -> bool {
        self.name.iter().all(|matcher| matcher.matches_value(name))
    }
}

/// What a metric name alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameVerdict {
    /// Every series of this name passes.
    Always,
    /// None does.
    Never,
    /// The other labels decide.
    Depends,
}

impl Whitelist {
    /// Compiles `selectors`.
    #[must_use]
    pub fn new(selectors: Vec<Selector>) -> Self {
        let mut seen = HashSet::new();
        let mut rules = Vec::new();
        let mut conditions = Vec::new();
        let mut unnamed = Vec::new();
        for selector in &selectors {
            let mut matchers = selector.matchers().to_vec();
            matchers.sort_unstable();
            matchers.dedup();
            if !seen.insert(matchers.clone()) {
                continue;
            }
            matchers.retain(|matcher| !index::always_holds(matcher));
            let (name, rest) = matchers.into_iter().partition(|matcher| matcher.name() == NAME_LABEL);
            let mut rule = CompiledRule { name, rest };
            let id = u32::try_from(rules.len()).expect("fewer rules than bytes of memory");
            match name_condition(&mut rule) {
                Some(IndexCondition::Exact(values)) if values.is_empty() => continue,
                Some(condition) => conditions.push((condition, id)),
                None => unnamed.push(id),
            }
            rules.push(rule);
        }
        let (names, slots) = ValueIndex::build(conditions);
        let named = slots.iter().map(|members| RuleGroup::build(&rules, members)).collect();
        let unnamed = RuleGroup::build(&rules, &unnamed);
        Self { selectors, rules, names, named, unnamed }
    }

    /// Reads and compiles one selector a line; blank lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`Error::Line`] for the first line that is no selector.
    pub fn parse_lines(text: &str) -> Result<Self, Error> {
        Selector::parse_lines(text).map(Self::new)
    }

    /// Whether a series with these labels passes.
    #[must_use]
    pub fn allows(&self, labels: &[Label<'_>]) -> bool {
        if self.selectors.is_empty() {
            return true;
        }
        let name = value_of(labels, NAME_LABEL);
        self.names.any(name, &mut |slot| self.named[slot].any(&self.rules, name, labels))
            || self.unnamed.any(&self.rules, name, labels)
    }

    /// What is known of every series of this name, so that a run of them is asked about once.
    #[must_use]
    pub fn by_name(&self, name: &str) -> NameVerdict {
        if self.selectors.is_empty() {
            return NameVerdict::Always;
        }
        let mut verdict = self.unnamed.by_name(&self.rules, name);
        if verdict != NameVerdict::Always {
            self.names.any(name, &mut |slot| {
                match self.named[slot].by_name(&self.rules, name) {
                    NameVerdict::Never => {}
                    found => verdict = found,
                }
                verdict == NameVerdict::Always
            });
        }
        verdict
    }

    /// The first rule, counted from 0 in the order given, that lets a series with these labels pass. Tries one after
    /// the other: for explaining, not for every series.
    #[must_use]
    pub fn rule_for(&self, labels: &[Label<'_>]) -> Option<usize> {
        self.selectors.iter().position(|selector| selector.matches(labels))
    }

    /// The rules, in the order given.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// How many rules were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.selectors.len()
    }

    /// Whether there are none, so that everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.selectors.is_empty()
    }
}

impl FromIterator<Selector> for Whitelist {
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        Self::new(selectors.into_iter().collect())
    }
}

/// The most telling condition on the name, and `rule` without what it settles.
fn name_condition(rule: &mut CompiledRule) -> Option<IndexCondition> {
    let (position, condition) = rule
        .name
        .iter()
        .enumerate()
        .filter_map(|(position, matcher)| Some((position, IndexCondition::of(matcher)?)))
        .min_by_key(|(_, condition)| condition.rank())?;
    match condition {
        // That there is a name says nothing.
        IndexCondition::Present => None,
        IndexCondition::Exact(mut values) => {
            values.retain(|value| rule.name_holds(value));
            rule.name.clear();
            Some(IndexCondition::Exact(values))
        }
        IndexCondition::Expression { .. } => Some(condition),
        // Found by it, a name meets it.
        IndexCondition::Prefix(_) | IndexCondition::Suffix(_) => {
            rule.name.remove(position);
            Some(condition)
        }
    }
}
