//! The error of parsing a rule: a selector, a regular expression, or a file of rules.

/// Why a text is not a valid rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a metric selector.
    #[error("rule {rule}: column {column}: {problem}")]
    Selector {
        /// The rule, quoted, and cut where it is long.
        rule: String,
        /// The character at which parsing failed, counted from 1.
        column: usize,
        /// What was expected, and what was found.
        problem: String,
    },
    /// The text is not a regular expression in Go's syntax, or its program is too big.
    #[error("regular expression {expression}: {problem}")]
    Regex {
        /// The expression, quoted, and cut where it is long.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The rule is longer than [`MAX_RULE_BYTES`](crate::selector::MAX_RULE_BYTES).
    #[error("a rule of {bytes} bytes, over the limit of {limit_bytes}")]
    RuleTooLong {
        /// The length of the rule.
        bytes: usize,
        /// The longest length that is accepted.
        limit_bytes: usize,
    },
    /// A line of a file of rules is not a valid rule.
    #[error("line {line}: {error}")]
    Line {
        /// The number of the line, counted from 1.
        line: usize,
        /// Why the line is not a valid rule.
        error: Box<Error>,
    },
}

/// How many characters of a rule an error message quotes.
const MAX_EXCERPT_CHARS: usize = 120;

/// `text` in quotes, cut after [`MAX_EXCERPT_CHARS`] characters.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
