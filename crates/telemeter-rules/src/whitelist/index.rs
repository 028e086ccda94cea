//! An index from the value of a label to the rules that may match it.

use hashbrown::HashMap;

use super::patterns::Patterns;
use super::trie::Trie;
use crate::go_regex::Shape;
use crate::matcher::{Matcher, Op};

/// How many expressions may share one literal prefix or suffix; more are joined into one automaton.
const MAX_SHARED_AFFIX: usize = 8;

/// The condition of a matcher on a value, in a form that an index can use.
#[derive(Clone, Debug)]
pub(super) enum IndexCondition {
    /// The value is one of these.
    Exact(Vec<String>),
    /// The value begins with this text, and every such value matches.
    Prefix(String),
    /// The value ends with this text, and every such value matches.
    Suffix(String),
    /// The value matches an expression; each match begins with one of `prefixes` and ends with one of `suffixes`, where
    /// these lists are not empty.
    Expression { prefixes: Vec<String>, suffixes: Vec<String>, source: String },
    /// The value is not empty.
    Present,
}

impl IndexCondition {
    /// The condition of `matcher`; `None` where an index cannot use it.
    pub(super) fn of(matcher: &Matcher) -> Option<Self> {
        let shape = matcher.shape();
        if matcher.op().is_negative() {
            let only_empty = matches!(&shape, Shape::Exact(values) if *values == [""]);
            return only_empty.then_some(Self::Present);
        }
        match shape {
            Shape::Any => None,
            Shape::NonEmpty => Some(Self::Present),
            Shape::Exact(values) => Some(Self::Exact(values)),
            Shape::Prefix { prefix, more: false } => Some(Self::Prefix(prefix)),
            Shape::Prefix { prefix, more: true } => {
                Some(Self::Expression { prefixes: vec![prefix], suffixes: Vec::new(), source: matcher.source() })
            }
            Shape::Suffix { suffix, more: false } => Some(Self::Suffix(suffix)),
            Shape::Suffix { suffix, more: true } => {
                Some(Self::Expression { prefixes: Vec::new(), suffixes: vec![suffix], source: matcher.source() })
            }
            Shape::Other { prefixes, suffixes } => {
                Some(Self::Expression { prefixes, suffixes, source: matcher.source() })
            }
        }
    }

    /// How selective the condition is; smaller is more selective.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Prefix(_) | Self::Suffix(_) => 1,
            Self::Expression { prefixes, suffixes, .. } if prefixes.is_empty() && suffixes.is_empty() => 3,
            Self::Expression { .. } => 2,
            Self::Present => 4,
        }
    }
}

/// Whether the matcher matches every value.
pub(super) fn always_holds(matcher: &Matcher) -> bool {
    matcher.op() == Op::Matches && matcher.shape() == Shape::Any
}

/// Finds the slots whose condition a value may meet. A slot is a number to which the caller assigns rules.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueIndex {
    exact: HashMap<Box<str>, u32>,
    prefixes: Trie,
    suffixes: Trie,
    patterns: Option<Patterns>,
    present: Option<u32>,
}

/// The key under which a slot is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SlotKey {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Pattern(String),
    Present,
}

impl ValueIndex {
    /// Builds an index of conditions, each with the ID of its rule; also returns the IDs of each slot.
    pub(super) fn build(conditions: Vec<(IndexCondition, u32)>) -> (Self, Vec<Vec<u32>>) {
        let mut shared = HashMap::<SlotKey, usize>::new();
        for (condition, _) in &conditions {
            if let IndexCondition::Expression { prefixes, suffixes, .. } = condition {
                let prefixes = prefixes.iter().cloned().map(SlotKey::Prefix);
                let suffixes = suffixes.iter().cloned().map(SlotKey::Suffix);
                prefixes.chain(suffixes).for_each(|key| *shared.entry(key).or_default() += 1);
            }
        }
        let mut slots = Vec::<Vec<u32>>::new();
        let mut slot_of = HashMap::<SlotKey, u32>::new();
        for (condition, id) in conditions {
            for key in keys(condition, &shared) {
                let slot = *slot_of.entry(key).or_insert_with(|| {
                    slots.push(Vec::new());
                    u32::try_from(slots.len() - 1).expect("fewer keys than bytes of memory")
                });
                let members = &mut slots[slot as usize];
                // The keys of one condition come in a row, so an ID that is a member already is the last one.
                if members.last() != Some(&id) {
                    members.push(id);
                }
            }
        }
        let mut index = Self::default();
        let mut patterns = Vec::new();
        for (key, slot) in slot_of {
            match key {
                SlotKey::Exact(value) => {
                    index.exact.insert(value.into(), slot);
                }
                SlotKey::Prefix(prefix) => index.prefixes.insert(prefix.as_bytes(), slot),
                SlotKey::Suffix(suffix) => index.suffixes.insert(&suffix.bytes().rev().collect::<Vec<_>>(), slot),
                SlotKey::Pattern(source) => patterns.push((source, slot)),
                SlotKey::Present => index.present = Some(slot),
            }
        }
        patterns.sort_unstable();
        index.patterns = Patterns::build(&patterns);
        (index, slots)
    }

    /// Calls `visit` with each slot whose condition `value` may meet, until it returns `true`; whether it did.
    #[inline]
    pub(super) fn any(&self, value: &str, visit: &mut impl FnMut(usize) -> bool) -> bool {
        let bytes = value.as_bytes();
        (!self.exact.is_empty() && self.exact.get(value).is_some_and(|&slot| visit(slot as usize)))
            || self.prefixes.any(bytes.len(), |at| bytes[at], visit)
            || self.suffixes.any(bytes.len(), |at| bytes[bytes.len() - 1 - at], visit)
            || self.patterns.as_ref().is_some_and(|patterns| patterns.any(value, visit))
            || self.present.is_some_and(|slot| !value.is_empty() && visit(slot as usize))
    }
}

/// The keys under which a condition is found. `shared` has the number of expressions with each prefix and suffix.
fn keys(condition: IndexCondition, shared: &HashMap<SlotKey, usize>) -> Vec<SlotKey> {
    let is_rare = |key: &SlotKey| shared.get(key).is_none_or(|&count| count <= MAX_SHARED_AFFIX);
    let are_usable = |keys: &[SlotKey]| !keys.is_empty() && keys.iter().all(is_rare);
    match condition {
        IndexCondition::Exact(values) => values.into_iter().map(SlotKey::Exact).collect(),
        IndexCondition::Prefix(prefix) => vec![SlotKey::Prefix(prefix)],
        IndexCondition::Suffix(suffix) => vec![SlotKey::Suffix(suffix)],
        IndexCondition::Present => vec![SlotKey::Present],
        IndexCondition::Expression { prefixes, suffixes, source } => {
            let prefixes: Vec<_> = prefixes.into_iter().map(SlotKey::Prefix).collect();
            let suffixes: Vec<_> = suffixes.into_iter().map(SlotKey::Suffix).collect();
            if are_usable(&prefixes) {
                prefixes
            } else if are_usable(&suffixes) {
                suffixes
            } else {
                vec![SlotKey::Pattern(source)]
            }
        }
    }
}
