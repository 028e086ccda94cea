//! From a label's value to what may concern it.

use hashbrown::HashMap;

use super::patterns::Patterns;
use super::trie::Trie;
use crate::go_regex::Shape;
use crate::matcher::{Matcher, Op};

/// How many expressions may share one literal beginning or end before they are joined instead.
const CROWD: usize = 8;

/// What a matcher asks of a value, as far as an index can use it.
#[derive(Clone, Debug)]
pub(super) enum IndexCondition {
    /// It is one of these.
    Exact(Vec<String>),
    /// It begins so, and that is all.
    Prefix(String),
    /// It ends so, and that is all.
    Suffix(String),
    /// It matches an expression: begins with one of `prefixes` and ends with one of `suffixes`, where these are known.
    Expression { prefixes: Vec<String>, suffixes: Vec<String>, source: String },
    /// It is not empty.
    Present,
}

impl IndexCondition {
    /// `None` where a matcher says nothing that an index can use.
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

    /// Smaller is more telling.
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

/// Whether every value passes.
pub(super) fn always_holds(matcher: &Matcher) -> bool {
    matcher.op() == Op::Matches && matcher.shape() == Shape::Any
}

/// Finds the slots whose condition a value may meet. What a slot stands for is the caller's.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueIndex {
    exact: HashMap<Box<str>, u32>,
    prefixes: Trie,
    suffixes: Trie,
    patterns: Option<Patterns>,
    present: Option<u32>,
}

/// What leads to a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SlotKey {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Pattern(String),
    Present,
}

impl ValueIndex {
    /// An index of these conditions, each with an id, and the ids of each slot.
    pub(super) fn build(conditions: Vec<(IndexCondition, u32)>) -> (Self, Vec<Vec<u32>>) {
        let mut crowds = HashMap::<SlotKey, usize>::new();
        for (condition, _) in &conditions {
            if let IndexCondition::Expression { prefixes, suffixes, .. } = condition {
                let prefixes = prefixes.iter().cloned().map(SlotKey::Prefix);
                let suffixes = suffixes.iter().cloned().map(SlotKey::Suffix);
                prefixes.chain(suffixes).for_each(|key| *crowds.entry(key).or_default() += 1);
            }
        }
        let mut slots = Vec::<Vec<u32>>::new();
        let mut slot_of = HashMap::<SlotKey, u32>::new();
        for (condition, id) in conditions {
            for key in keys(condition, &crowds) {
                let slot = *slot_of.entry(key).or_insert_with(|| {
                    slots.push(Vec::new());
                    u32::try_from(slots.len() - 1).expect("fewer keys than bytes of memory")
                });
                let members = &mut slots[slot as usize];
                // One condition's keys come in a row: an id that is there already stands last.
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

    /// Calls `visit` with the slots that `value` may concern until it answers true; whether it did.
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

fn keys(condition: IndexCondition, crowds: &HashMap<SlotKey, usize>) -> Vec<SlotKey> {
    let roomy =
        |keys: &[SlotKey]| !keys.is_empty() && keys.iter().all(|key| crowds.get(key).is_none_or(|&n| n <= CROWD));
    match condition {
        IndexCondition::Exact(values) => values.into_iter().map(SlotKey::Exact).collect(),
        IndexCondition::Prefix(prefix) => vec![SlotKey::Prefix(prefix)],
        IndexCondition::Suffix(suffix) => vec![SlotKey::Suffix(suffix)],
        IndexCondition::Present => vec![SlotKey::Present],
        IndexCondition::Expression { prefixes, suffixes, source } => {
            let prefixes: Vec<_> = prefixes.into_iter().map(SlotKey::Prefix).collect();
            let suffixes: Vec<_> = suffixes.into_iter().map(SlotKey::Suffix).collect();
            if roomy(&prefixes) {
                prefixes
            } else if roomy(&suffixes) {
                suffixes
            } else {
                vec![SlotKey::Pattern(source)]
            }
        }
    }
}
