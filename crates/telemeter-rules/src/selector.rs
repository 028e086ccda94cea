//! Selectors: `name{label op "value", ...}`, of which all matchers have to hold.
//!
//! The syntax is that of `match[]` of Prometheus' `/federate`, and nothing more: no range, no `offset`, no `@`, no `or`.
//! `{}` and `{job!="c"}` are legal.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use telemeter_wire::Label;

use crate::error::Error;
use crate::matcher::Matcher;

/// The longest rule that [`Selector::parse`] accepts, in bytes.
pub const MAX_RULE_BYTES: usize = 64 << 10;

/// A list of matchers that all have to hold. Two selectors are equal if they have the same matchers, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

impl Selector {
    /// A selector of these matchers; an empty list selects every series.
    #[must_use]
    pub const fn new(matchers: Vec<Matcher>) -> Self {
        Self { matchers }
    }

    /// Parses a selector. The metric name in front of the braces becomes the first matcher.
    ///
    /// ```
    /// use telemeter_rules::Selector;
    /// use telemeter_wire::Label;
    ///
    /// let selector = Selector::parse(r#"up{job=~"node|etcd"}"#)?;
    /// assert!(selector.matches(&[Label::new("__name__", "up"), Label::new("job", "etcd")]));
    /// assert!(!selector.matches(&[Label::new("__name__", "up")]));
    ///
    /// let error = Selector::parse("up{job=etcd}").unwrap_err();
    /// assert_eq!(error.to_string(), r#"rule "up{job=etcd}": column 8: expected a value in quotes, found "etcd}""#);
    /// # Ok::<(), telemeter_rules::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Selector`] with the column at which parsing failed; [`Error::RuleTooLong`] over [`MAX_RULE_BYTES`].
    ///
    /// Source: <https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors>.
    pub fn parse(rule: &str) -> Result<Self, Error> {
        parse::parse(rule).map(Self::new)
    }

    /// Parses one selector per line; blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`Error::Line`] for the first line that is not a selector.
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

    /// Whether all matchers hold for a series with these labels, in any order.
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
    /// `{__name__="up",job="a"}`; [`Selector::parse`] reads the same selector from it.
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
