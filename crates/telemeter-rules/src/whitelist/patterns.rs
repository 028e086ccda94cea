//! Many regular expressions, matched at once.

use regex::Regex;

use crate::go_regex::anchored;

/// The number of children of a node in the tree of expressions.
const FAN_OUT: usize = 16;
/// The largest program of a joined expression, in bytes.
const MAX_PROGRAM_BYTES: usize = 32 << 20;
/// The most memory for the lazily built automaton of a joined expression, in bytes.
const MAX_AUTOMATON_BYTES: usize = 16 << 20;

/// A tree of expressions. Each node joins all expressions of its subtree into one, so that a value that none of them
/// matches costs one match, at the root.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    /// All expressions of the subtree; `None` for a single one, which its rule checks anyway, and where the program of the
    /// joined expression would be too big.
    joined: Option<Regex>,
    node: PatternNode,
}

#[derive(Clone, Debug)]
enum PatternNode {
    /// The slot of a single expression.
    Slot(u32),
    Children(Vec<Patterns>),
}

impl Patterns {
    /// Builds the tree of expressions, each with its slot and as [`crate::go_regex::Pattern::source`] writes it; `None` for
    /// an empty list.
    pub(super) fn build(patterns: &[(String, u32)]) -> Option<Self> {
        match patterns {
            [] => None,
            [(_, slot)] => Some(Self { joined: None, node: PatternNode::Slot(*slot) }),
            _ => {
                let joined = patterns.iter().map(|(source, _)| format!("(?:{source})")).collect::<Vec<_>>().join("|");
                let joined = anchored(&joined, MAX_PROGRAM_BYTES, MAX_AUTOMATON_BYTES).ok();
                let children = patterns.chunks(patterns.len().div_ceil(FAN_OUT)).filter_map(Self::build).collect();
                Some(Self { joined, node: PatternNode::Children(children) })
            }
        }
    }

    /// Calls `visit` with each slot whose expression `value` may match, until it returns `true`; whether it did.
    pub(super) fn any(&self, value: &str, visit: &mut impl FnMut(usize) -> bool) -> bool {
        if let Some(joined) = &self.joined {
            #[cfg(test)]
            crate::matcher::count_evaluation();
            if !joined.is_match(value) {
                return false;
            }
        }
        match &self.node {
            PatternNode::Slot(slot) => visit(*slot as usize),
            PatternNode::Children(children) => children.iter().any(|child| child.any(value, visit)),
        }
    }
}
