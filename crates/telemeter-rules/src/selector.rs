//! `name{label op "value", ...}`: all of the matchers have to hold.
//!
//! Takes what Prometheus takes where it asks for a metric selector (`match[]` of `/federate`), and nothing more: no
//! range, no `offset`, no `@`, no `or`. `{}` and `{job!="c"}` are legal.

mod parse;
mod quote;
#[cfg(test)]
mod tests;

use std::fmt;

use telemeter_wire::Label;

use crate::error::Error;
use crate::matcher::Matcher;
pub(crate) use quote::quote;

/// The longest rule, in bytes.
pub const MAX_RULE_BYTES: usize = 64 << 10;

/// Matchers that all have to hold. Two are equal if they have the same matchers, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

impl Selector {
    /// The selector of these; without any, it selects everything.
    #[must_use]
    pub const fn new(matchers: Vec<Matcher>) -> Self {
        Self { matchers }
    }

    /// Reads a selector. The metric name in front of the braces becomes the first matcher.
    ///
    /// # Errors
    /// [`Error::Selector`] with the column at which it goes wrong; [`Error::RuleTooLong`] over [`MAX_RULE_BYTES`].
    pub fn parse(rule: &str) -> Result<Self, Error> {
        parse::parse(rule).map(Self::new)
    }

    /// Reads one selector a line; blank lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`Error::Line`] for the first line that is none.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, Error> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        lines
            .filter(|(_, rule)| !rule.is_empty() && !rule.starts_with('#'))
            .map(|(line, rule)| Self::parse(rule).map_err(|error| Error::Line { line, error: Box::new(error) }))
            .collect()
    }

    /// The matchers, in the order in which they were written.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether a series with these labels, in any order, passes.
    #[must_use]
    pub fn matches(&self, labels: &[Label<'_>]) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

impl std::str::FromStr for Selector {
    type Err = Error;

    fn from_str(rule: &str) -> Result<Self, Error> {
        Self::parse(rule)
    }
}

impl fmt::Display for Selector {
    /// `{__name__="up",job="a"}`; reads back the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, matcher) in self.matchers.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{matcher}")?;
        }
        f.write_str("}")
    }
}

/// Whether a label name is of the old alphabet, `[a-zA-Z_][a-zA-Z0-9_]*`, and so needs no quotes.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
