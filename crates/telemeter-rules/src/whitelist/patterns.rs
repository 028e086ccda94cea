//! Many expressions, asked at once.

use regex::Regex;

use crate::go_regex::anchored;

/// How many parts a set is cut into to find out which of them matched.
const FAN_OUT: usize = 16;
/// What the program and the automaton of a joined expression may take, in bytes.
const MAX_PROGRAM_BYTES: usize = 32 << 20;
const MAX_AUTOMATON_BYTES: usize = 16 << 20;

/// Expressions in a tree: a node's gate is all below it joined to one, so that a value that none of them matches is
/// told so by the first gate.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    /// `None` above a single expression, which the rule itself asks, and where joined they would be too big.
    gate: Option<Regex>,
    below: PatternNode,
}

#[derive(Clone, Debug)]
enum PatternNode {
    Slot(u32),
    Parts(Vec<Patterns>),
}

impl Patterns {
    /// `None` of no expressions. Each is as [`crate::go_regex::Pattern::source`] writes it.
    pub(super) fn build(patterns: &[(String, u32)]) -> Option<Self> {
        match patterns {
            [] => None,
            [(_, slot)] => Some(Self { gate: None, below: PatternNode::Slot(*slot) }),
            _ => {
                let joined = patterns.iter().map(|(source, _)| format!("(?:{source})")).collect::<Vec<_>>().join("|");
                let gate = anchored(&joined, MAX_PROGRAM_BYTES, MAX_AUTOMATON_BYTES).ok();
                let parts = patterns.chunks(patterns.len().div_ceil(FAN_OUT)).filter_map(Self::build).collect();
                Some(Self { gate, below: PatternNode::Parts(parts) })
            }
        }
    }

    /// Calls `visit` with the slots whose expression `value` may match until it answers true; whether it did.
    pub(super) fn any(&self, value: &str, visit: &mut impl FnMut(usize) -> bool) -> bool {
        if let Some(gate) = &self.gate {
            #[cfg(test)]
            crate::matcher::count_evaluation();
            if !gate.is_match(value) {
                return false;
            }
        }
        match &self.below {
            PatternNode::Slot(slot) => visit(*slot as usize),
            PatternNode::Parts(parts) => parts.iter().any(|part| part.any(value, visit)),
        }
    }
}
