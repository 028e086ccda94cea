//! Sets of label values: the values that pass all matchers on one label, in a form that can be compared.

use std::collections::BTreeSet;

use crate::{go_regex::Shape, matcher::Matcher};

/// The values that pass all matchers on one label. If two are equal, they are the same set; the converse is not certain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Values {
    /// Exactly these values; an empty list means that no value passes.
    OneOf(BTreeSet<String>),
    /// Every value that is not in `not` and meets all of `also`.
    Every { not: BTreeSet<String>, also: BTreeSet<ValueCondition> },
}

/// A condition on a value: its prefix, its suffix or an expression that it matches; or the negation of that.
#[derive(Clone, Debug)]
pub(super) struct ValueCondition {
    negative: bool,
    form: ConditionForm,
    /// The matcher of this condition, to test a value.
    matcher: Matcher,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ConditionForm {
    /// The value begins with `prefix`, followed by at least one character if `more`.
    Prefix { prefix: String, more: bool },
    /// The value ends with `suffix`, after at least one character if `more`.
    Suffix { suffix: String, more: bool },
    /// The value matches this expression, in the syntax of the `regex` crate; each match begins with one of `prefixes` and
    /// ends with one of `suffixes`, where these lists are not empty.
    Expression { source: String, prefixes: Vec<String>, suffixes: Vec<String> },
}

impl Values {
    /// Every value, the empty one included.
    pub(super) const ALL: Self = Self::Every { not: BTreeSet::new(), also: BTreeSet::new() };

    /// The values that pass all of these matchers, which are on one label.
    pub(super) fn of<'m>(matchers: impl IntoIterator<Item = &'m Matcher> + Clone) -> Self {
        let mut listed: Option<BTreeSet<String>> = None;
        let (mut not, mut also) = (BTreeSet::new(), BTreeSet::new());
        for matcher in matchers.clone() {
            let negative = matcher.op().is_negative();
            let form = match matcher.shape() {
                Shape::Any if negative => return Self::OneOf(BTreeSet::new()),
                Shape::Any => continue,
                Shape::NonEmpty if negative => {
                    restrict(&mut listed, vec![String::new()]);
                    continue;
                }
                Shape::NonEmpty => {
                    not.insert(String::new());
                    continue;
                }
                Shape::Exact(values) if negative => {
                    not.extend(values);
                    continue;
                }
                Shape::Exact(values) => {
                    restrict(&mut listed, values);
                    continue;
                }
                Shape::Prefix { prefix, more } => ConditionForm::Prefix { prefix, more },
                Shape::Suffix { suffix, more } => ConditionForm::Suffix { suffix, more },
                Shape::Other { prefixes, suffixes } => {
                    ConditionForm::Expression { source: matcher.source(), prefixes, suffixes }
                }
            };
            also.insert(ValueCondition { negative, form, matcher: matcher.clone() });
        }
        if let Some(mut values) = listed {
            values.retain(|value| matchers.clone().into_iter().all(|matcher| matcher.matches_value(value)));
            return Self::OneOf(values);
        }
        // A value that another condition excludes need not be listed.
        not.retain(|value| also.iter().all(|condition: &ValueCondition| condition.matcher.matches_value(value)));
        Self::Every { not, also }
    }

    /// Whether this value passes.
    pub(super) fn contains(&self, value: &str) -> bool {
        match self {
            Self::OneOf(values) => values.contains(value),
            Self::Every { not, also } => {
                !not.contains(value) && also.iter().all(|condition| condition.matcher.matches_value(value))
            }
        }
    }

    /// Whether every value passes.
    pub(super) fn is_all(&self) -> bool {
        *self == Self::ALL
    }

    /// Whether certainly no value passes.
    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::OneOf(values) => values.is_empty(),
            Self::Every { also, .. } => {
                also.iter().any(|one| !one.negative && also.iter().any(|other| one.is_disjoint(other)))
            }
        }
    }

    /// Whether certainly every value of this set is in `other`.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneOf(values), _) => values.iter().all(|value| other.contains(value)),
            (Self::Every { .. }, Self::OneOf(_)) => false,
            (Self::Every { also, .. }, Self::Every { not, also: other_also }) => {
                not.iter().all(|value| !self.contains(value))
                    && other_also.iter().all(|other| also.iter().any(|condition| condition.implies(other)))
            }
        }
    }

    /// Whether certainly no value is in both sets.
    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneOf(values), other) | (other, Self::OneOf(values)) => {
                values.iter().all(|value| !other.contains(value))
            }
            (Self::Every { also, .. }, Self::Every { also: other_also, .. }) => {
                also.iter().any(|one| other_also.iter().any(|other| one.is_disjoint(other)))
            }
        }
    }
}

/// Intersects the listed values, if there are any yet, with `values`.
fn restrict(listed: &mut Option<BTreeSet<String>>, values: Vec<String>) {
    let values: BTreeSet<String> = values.into_iter().collect();
    *listed = Some(match listed.take() {
        Some(listed) => listed.intersection(&values).cloned().collect(),
        None => values,
    });
}

impl ValueCondition {
    /// Whether certainly every value that passes this condition passes the other one; false also where that cannot be
    /// told.
    fn implies(&self, other: &Self) -> bool {
        match (self.negative, other.negative) {
            (false, false) => self.form.is_within(&other.form),
            (true, true) => other.form.is_within(&self.form),
            (false, true) => self.form.is_disjoint(&other.form),
            // A negated condition passes more values than a positive one, as far as can be said.
            (true, false) => false,
        }
    }

    /// Whether certainly no value passes both conditions; false also where that cannot be told.
    fn is_disjoint(&self, other: &Self) -> bool {
        match (self.negative, other.negative) {
            (false, false) => self.form.is_disjoint(&other.form),
            (false, true) => self.form.is_within(&other.form),
            (true, false) => other.form.is_within(&self.form),
            (true, true) => false,
        }
    }

    fn key(&self) -> (bool, &ConditionForm) {
        (self.negative, &self.form)
    }
}

impl ConditionForm {
    /// Whether certainly every value of this form has the other form, too; false also where that cannot be told.
    fn is_within(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match other {
            Self::Prefix { prefix: outer, more } => match self {
                Self::Prefix { prefix, more: own } => {
                    prefix.starts_with(&**outer) && (!more || *own || prefix.len() > outer.len())
                }
                Self::Expression { prefixes, .. } => {
                    all_of(prefixes, |prefix| prefix.starts_with(&**outer) && (!more || prefix.len() > outer.len()))
                }
                Self::Suffix { .. } => false,
            },
            Self::Suffix { suffix: outer, more } => match self {
                Self::Suffix { suffix, more: own } => {
                    suffix.ends_with(&**outer) && (!more || *own || suffix.len() > outer.len())
                }
                Self::Expression { suffixes, .. } => {
                    all_of(suffixes, |suffix| suffix.ends_with(&**outer) && (!more || suffix.len() > outer.len()))
                }
                Self::Prefix { .. } => false,
            },
            Self::Expression { source, .. } => matches!(self, Self::Expression { source: own, .. } if own == source),
        }
    }

    /// Whether certainly no value has both forms: the beginnings or the ends that they require exclude each other.
    /// False also where that cannot be told.
    fn is_disjoint(&self, other: &Self) -> bool {
        let exclude_each_other = |own: &[String], others: &[String], contains: fn(&str, &str) -> bool| {
            all_of(own, |one| all_of(others, |other| !contains(one, other) && !contains(other, one)))
        };
        exclude_each_other(self.prefixes(), other.prefixes(), |one, other| one.starts_with(other))
            || exclude_each_other(self.suffixes(), other.suffixes(), |one, other| one.ends_with(other))
    }

    /// The prefixes, one of which each value has; an empty list means that they are not known.
    fn prefixes(&self) -> &[String] {
        match self {
            Self::Prefix { prefix, .. } => std::slice::from_ref(prefix),
            Self::Suffix { .. } => &[],
            Self::Expression { prefixes, .. } => prefixes,
        }
    }

    /// The suffixes, one of which each value has; an empty list means that they are not known.
    fn suffixes(&self) -> &[String] {
        match self {
            Self::Prefix { .. } => &[],
            Self::Suffix { suffix, .. } => std::slice::from_ref(suffix),
            Self::Expression { suffixes, .. } => suffixes,
        }
    }
}

/// Whether the list is known (not empty) and `condition` holds for each of its texts.
fn all_of(list: &[String], condition: impl Fn(&str) -> bool) -> bool {
    !list.is_empty() && list.iter().all(|text| condition(text))
}

impl PartialEq for ValueCondition {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ValueCondition {}

impl PartialOrd for ValueCondition {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ValueCondition {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl std::hash::Hash for ValueCondition {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
