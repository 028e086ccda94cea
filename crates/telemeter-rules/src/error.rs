//! What can be wrong with a rule.

use crate::selector::MAX_RULE_BYTES;

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a metric selector.
    #[error("rule {rule}: column {column}: {problem}")]
    Selector {
        /// The rule, quoted, and cut where it is long.
        rule: String,
        /// The character at which it stops making sense, counted from 1.
        column: usize,
        /// What was expected, and what is there.
        problem: String,
    },
    /// Not a regular expression as Go knows them, or one that is too big.
    #[error("regular expression {expression}: {problem}")]
    Regex {
        /// The expression, quoted, and cut where it is long.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A rule longer than any that makes sense.
    #[error("a rule of {bytes} bytes, over the limit of {MAX_RULE_BYTES}")]
    RuleTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A line of a file of rules.
    #[error("line {line}: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong in it.
        error: Box<Error>,
    },
}

/// How many characters of a rule an error shows.
const SHOWN: usize = 120;

/// `text` in quotes, cut where it is long.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
