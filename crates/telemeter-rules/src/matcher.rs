//! Matchers: conditions `name op value` on one label, as in PromQL.
//!
//! An absent label has the empty value, and a regular expression has to match the whole value.

use std::fmt;

use hashbrown::HashSet;
use regex::Regex;
use telemeter_wire::Label;
use telemeter_wire::series::is_label_name;

use crate::error::Error;
use crate::go_regex::{Pattern, Shape};
use crate::quote::quote;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `=`: the value is this one.
    Equal,
    /// `!=`: it is not.
    NotEqual,
    /// `=~`: the whole value matches this expression.
    Matches,
    /// `!~`: it does not.
    NotMatches,
}

impl Op {
    /// The operator as rules spell it: `=`, `!=`, `=~`, `!~`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }

    pub(crate) const fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotMatches)
    }
}

/// One condition on one label. Two matchers are equal if their name, operator and value are.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Box<str>,
    op: Op,
    value: Box<str>,
    test: ValueTest,
}

/// The cheapest test for a value that `=` or `=~` matches; `!=` and `!~` negate its result.
#[derive(Clone, Debug)]
enum ValueTest {
    Any,
    NonEmpty,
    Equals,
    OneOf(HashSet<Box<str>>),
    Prefix { prefix: Box<str>, more: bool },
    Suffix { suffix: Box<str>, more: bool },
    Regex(Regex),
}

impl Matcher {
    /// A matcher on the label `name`; for `=~` and `!~`, `value` is a regular expression in Go's syntax.
    ///
    /// # Errors
    /// [`Error::Regex`] if that expression is not valid or too big.
    pub fn new(name: &str, op: Op, value: &str) -> Result<Self, Error> {
        let test = match op {
            Op::Equal | Op::NotEqual => ValueTest::Equals,
            Op::Matches | Op::NotMatches => ValueTest::of_expression(value)?,
        };
        Ok(Self { name: name.into(), op, value: value.into(), test })
    }

    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    #[must_use]
    pub const fn op(&self) -> Op {
        self.op
    }

    /// The value or the expression that the label is compared with, as it was given to [`new`](Self::new).
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a series with these labels, in any order, meets the condition.
    #[inline]
    #[must_use]
    pub fn matches(&self, labels: &[Label<'_>]) -> bool {
        self.matches_value(value_of(labels, &self.name))
    }

    /// Whether a label with this value meets the condition; an absent label has the empty value.
    #[inline]
    #[must_use]
    pub fn matches_value(&self, value: &str) -> bool {
        #[cfg(test)]
        count_evaluation();
        let is_match = match &self.test {
            ValueTest::Any => true,
            ValueTest::NonEmpty => !value.is_empty(),
            ValueTest::Equals => *value == *self.value,
            ValueTest::OneOf(values) => values.contains(value),
            ValueTest::Prefix { prefix, more } => {
                value.strip_prefix(&**prefix).is_some_and(|rest| !more || !rest.is_empty())
            }
            ValueTest::Suffix { suffix, more } => {
                value.strip_suffix(&**suffix).is_some_and(|rest| !more || !rest.is_empty())
            }
            ValueTest::Regex(regex) => regex.is_match(value),
        };
        is_match != self.op.is_negative()
    }

    /// The form of the values that `=` or `=~` would match; for `!=` and `!~`, the form of those that are excluded.
    pub(crate) fn shape(&self) -> Shape {
        match (self.op, Pattern::parse(&self.value)) {
            (Op::Matches | Op::NotMatches, Ok(pattern)) => pattern.shape(),
            _ => Shape::Exact(vec![self.value.to_string()]),
        }
    }

    /// The expression of `=~` and `!~` in the syntax of the `regex` crate, without anchors; empty for `=` and `!=`.
    pub(crate) fn source(&self) -> String {
        match (self.op, Pattern::parse(&self.value)) {
            (Op::Matches | Op::NotMatches, Ok(pattern)) => pattern.source(),
            _ => String::new(),
        }
    }

    fn key(&self) -> (&str, Op, &str) {
        (&self.name, self.op, &self.value)
    }
}

impl ValueTest {
    fn of_expression(expression: &str) -> Result<Self, Error> {
        let pattern = Pattern::parse(expression)?;
        Ok(match pattern.shape() {
            Shape::Any => Self::Any,
            Shape::NonEmpty => Self::NonEmpty,
            Shape::Exact(values) => Self::OneOf(values.into_iter().map(Into::into).collect()),
            Shape::Prefix { prefix, more } => Self::Prefix { prefix: prefix.into(), more },
            Shape::Suffix { suffix, more } => Self::Suffix { suffix: suffix.into(), more },
            Shape::Other { .. } => Self::Regex(pattern.compile(expression)?),
        })
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Matcher {}

impl PartialOrd for Matcher {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Matcher {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Matcher {
    /// `name="value"`, quoted so that [`Selector::parse`](crate::Selector::parse) reads the same matcher.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            quote(&self.name, f)?;
        }
        f.write_str(self.op.as_str())?;
        quote(&self.value, f)
    }
}

/// The value of the label `name`; empty where there is no such label.
#[inline]
pub(crate) fn value_of<'a>(labels: &[Label<'a>], name: &str) -> &'a str {
    labels.iter().find(|label| label.name == name).map_or("", |label| label.value)
}

#[cfg(test)]
thread_local! {
    static EVALUATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts the test of one value, so that tests can compare the work of two whitelists.
#[cfg(test)]
pub(crate) fn count_evaluation() {
    EVALUATIONS.set(EVALUATIONS.get() + 1);
}

/// How many values this thread tested since the last call.
#[cfg(test)]
pub(crate) fn take_evaluations() -> usize {
    EVALUATIONS.replace(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn operators() {
        let check = |op, value: &str, matching: &[&str], others: &[&str]| {
            let matcher = Matcher::new("l", op, value).unwrap();
            for text in matching {
                assert!(matcher.matches_value(text), "{matcher} and {text:?}");
            }
            for text in others {
                assert!(!matcher.matches_value(text), "{matcher} and {text:?}");
            }
        };
        check(Op::Equal, "a", &["a"], &["", "b", "aa"]);
        check(Op::Equal, "", &[""], &["a"]);
        check(Op::NotEqual, "a", &["", "b"], &["a"]);
        check(Op::Matches, "a", &["a"], &["", "ba", "ab", "b"]);
        check(Op::Matches, "a|bc|", &["a", "bc", ""], &["b", "abc"]);
        check(Op::Matches, "x(a|b)y", &["xay", "xby"], &["xy", "xaby"]);
        check(Op::Matches, "abc.*", &["abc", "abcd", "abc\n\u{e9}"], &["ab", "xabc"]);
        check(Op::Matches, "abc.+", &["abcd", "abc\n"], &["abc"]);
        check(Op::Matches, ".*abc", &["abc", "\nabc"], &["abcd", ""]);
        check(Op::Matches, ".+abc", &["xabc", "\nabc"], &["abcd", "abc", ""]);
        check(Op::Matches, ".*", &["", "a", "\n"], &[]);
        check(Op::Matches, ".+", &["a", "\n"], &[""]);
        check(Op::NotMatches, "a.*", &["", "b"], &["a", "ab"]);
        check(Op::NotMatches, ".+", &[""], &["a"]);
        check(Op::NotMatches, ".*", &[], &["", "a"]);
    }

    #[test]
    fn an_absent_label_is_empty() {
        let labels = [Label::new("a", "1"), Label::new("b", "2")];
        let check = |op, value, expected| {
            assert_eq!(Matcher::new("c", op, value).unwrap().matches(&labels), expected, "c{}{value}", op.as_str());
        };
        check(Op::Equal, "", true);
        check(Op::NotEqual, "x", true);
        check(Op::NotEqual, "", false);
        check(Op::Matches, "x*", true);
        check(Op::Matches, "x+", false);
        check(Op::NotMatches, "x+", true);
        check(Op::NotMatches, ".*", false);
    }

    #[test]
    fn the_cheapest_test_is_chosen() {
        let test = |expression| Matcher::new("l", Op::Matches, expression).unwrap().test;
        assert!(matches!(test("abc"), ValueTest::OneOf(_)));
        assert!(matches!(test("^(abc|d(e|f))$"), ValueTest::OneOf(_)));
        assert!(matches!(test("abc.*"), ValueTest::Prefix { more: false, .. }));
        assert!(matches!(test("^abc.+$"), ValueTest::Prefix { more: true, .. }));
        assert!(matches!(test(".*abc"), ValueTest::Suffix { more: false, .. }));
        assert!(matches!(test(".+abc"), ValueTest::Suffix { more: true, .. }));
        assert!(matches!(test(".*"), ValueTest::Any));
        assert!(matches!(test(".+"), ValueTest::NonEmpty));
        // Only where it means the same.
        assert!(matches!(test("(?-s)abc.*"), ValueTest::Regex(_)));
        assert!(matches!(test("(?i)abc"), ValueTest::Regex(_)));
        assert!(matches!(test("(a|b).*"), ValueTest::Regex(_)));
    }
}
