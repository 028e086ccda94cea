//! The whitelist: a list of selectors, of which one has to match.
//!
//! The list is compiled once into an index, so that a series is compared only with rules that may match it. Rules are
//! indexed by their condition on the metric name: exact names by hash, a literal prefix or suffix in a trie, all other
//! expressions in one joined automaton. Where one name leads to many rules, and for rules without a condition on the name,
//! a second index does the same for the most selective of their other labels. An index only leaves out rules that cannot
//! match; the rules that it finds are still checked in full.

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

/// A compiled list of selectors: a series passes if one of them matches it, or if the list is empty.
///
/// ```
/// use telemeter_rules::{NameVerdict, Whitelist};
/// use telemeter_wire::Label;
///
/// let whitelist = Whitelist::parse_lines("# comments are skipped\nup{job=\"node\"}\n{__name__=~\"cluster:.*\"}")?;
/// assert!(whitelist.allows(&[Label::new("__name__", "up"), Label::new("job", "node")]));
/// assert!(!whitelist.allows(&[Label::new("__name__", "up"), Label::new("job", "etcd")]));
///
/// assert_eq!(whitelist.by_name("cluster:cpu:sum"), NameVerdict::Always);
/// assert_eq!(whitelist.by_name("up"), NameVerdict::Depends);
/// # Ok::<(), telemeter_rules::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Whitelist {
    selectors: Vec<Selector>,
    rules: Vec<CompiledRule>,
    /// The index of metric names.
    names: ValueIndex,
    /// The rules of each slot of `names`.
    named: Vec<RuleGroup>,
    /// The rules without a usable condition on the metric name.
    unnamed: RuleGroup,
}

/// The matchers of a selector that its index has not checked yet.
#[derive(Clone, Debug)]
struct CompiledRule {
    /// The matchers on the metric name.
    name: Vec<Matcher>,
    /// The matchers on other labels.
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

/// The whitelist's decision about all series of one metric name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameVerdict {
    /// Every series of this name passes.
    Always,
    /// No series of this name passes.
    Never,
    /// The other labels decide.
    Depends,
}

impl Whitelist {
    /// Compiles `selectors`.
    #[must_use]
    pub fn new(selectors: Vec<Selector>) -> Self {
        let mut distinct = HashSet::new();
        let mut rules = Vec::new();
        let mut conditions = Vec::new();
        let mut unnamed = Vec::new();
        for selector in &selectors {
            let mut matchers = selector.matchers().to_vec();
            matchers.sort_unstable();
            matchers.dedup();
            if !distinct.insert(matchers.clone()) {
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

    /// Parses and compiles one selector per line; blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`Error::Line`] for the first line that is no selector.
    pub fn parse_lines(text: &str) -> Result<Self, Error> {
        Selector::parse_lines(text).map(Self::new)
    }

    /// Whether a series with these labels, in any order, passes.
    #[must_use]
    pub fn allows(&self, labels: &[Label<'_>]) -> bool {
        if self.selectors.is_empty() {
            return true;
        }
        let name = value_of(labels, NAME_LABEL);
        self.names.any(name, &mut |slot| self.named[slot].any(&self.rules, name, labels))
            || self.unnamed.any(&self.rules, name, labels)
    }

    /// The decision about all series of this metric name, so that a family needs only one look-up.
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
                    other => verdict = other,
                }
                verdict == NameVerdict::Always
            });
        }
        verdict
    }

    /// The index of the first selector that matches a series with these labels. Tries one selector after the other, without
    /// the index: for explanations, not for the data path.
    #[must_use]
    pub fn rule_for(&self, labels: &[Label<'_>]) -> Option<usize> {
        self.selectors.iter().position(|selector| selector.matches(labels))
    }

    /// The selectors, in the order in which they were given.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The number of selectors that were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.selectors.len()
    }

    /// Whether there are no selectors, so that every series passes.
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

/// The most selective condition on the name. Removes from `rule` the matchers that the index then has checked.
fn name_condition(rule: &mut CompiledRule) -> Option<IndexCondition> {
    let (position, condition) = rule
        .name
        .iter()
        .enumerate()
        .filter_map(|(position, matcher)| Some((position, IndexCondition::of(matcher)?)))
        .min_by_key(|(_, condition)| condition.rank())?;
    match condition {
        // Every series has a name.
        IndexCondition::Present => None,
        IndexCondition::Exact(mut values) => {
            values.retain(|value| rule.name_holds(value));
            rule.name.clear();
            Some(IndexCondition::Exact(values))
        }
        IndexCondition::Expression { .. } => Some(condition),
        // A name that is found by its prefix or suffix meets the condition.
        IndexCondition::Prefix(_) | IndexCondition::Suffix(_) => {
            rule.name.remove(position);
            Some(condition)
        }
    }
}
