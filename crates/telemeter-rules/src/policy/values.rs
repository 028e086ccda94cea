//! The values of one label that matchers let pass, as far as they can be compared without trying values.

use std::collections::BTreeSet;

use crate::{go_regex::Shape, matcher::Matcher};

/// The values that pass all matchers on one label. Two are equal where that is certain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Values {
    /// Exactly these; none: no value passes.
    OneOf(BTreeSet<String>),
    /// Every value but `not`, if all of `also` let it pass.
    Every { not: BTreeSet<String>, also: BTreeSet<ValueCondition> },
}

/// What a value begins or ends with, or an expression that it matches; or the opposite.
#[derive(Clone, Debug)]
pub(super) struct ValueCondition {
    negative: bool,
    form: ConditionForm,
    /// Tells it of a value.
    matcher: Matcher,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ConditionForm {
    /// Begins so, and goes on if `more`.
    Prefix { prefix: String, more: bool },
    /// Ends so, and something stands in front if `more`.
    Suffix { suffix: String, more: bool },
    /// Matches this expression, in the syntax of the `regex` crate; all that do begin with one of `prefixes` and end with
    /// one of `suffixes`, of which an empty list says nothing.
    Expression { source: String, prefixes: Vec<String>, suffixes: Vec<String> },
}

impl Values {
    /// Every value, the empty one included.
    pub(super) const ALL: Self = Self::Every { not: BTreeSet::new(), also: BTreeSet::new() };

    /// The values that pass all of these, which are on one label.
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
        // What the others do not let pass need not be named.
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

    /// Whether certainly every value that passes here passes there.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneOf(values), _) => values.iter().all(|value| other.contains(value)),
            (Self::Every { .. }, Self::OneOf(_)) => false,
            (Self::Every { also, .. }, Self::Every { not, also: wanted }) => {
                not.iter().all(|value| !self.contains(value))
                    && wanted.iter().all(|wanted| also.iter().any(|own| own.implies(wanted)))
            }
        }
    }

    /// Whether certainly no value passes both.
    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneOf(values), other) | (other, Self::OneOf(values)) => {
                values.iter().all(|value| !other.contains(value))
            }
            (Self::Every { also: ours, .. }, Self::Every { also: theirs, .. }) => {
                ours.iter().any(|our| theirs.iter().any(|their| our.is_disjoint(their)))
            }
        }
    }
}

/// Leaves of the listed values those that stand in this list too.
fn restrict(listed: &mut Option<BTreeSet<String>>, values: Vec<String>) {
    let values: BTreeSet<String> = values.into_iter().collect();
    *listed = Some(match listed.take() {
        Some(listed) => listed.intersection(&values).cloned().collect(),
        None => values,
    });
}

impl ValueCondition {
    fn implies(&self, other: &Self) -> bool {
        match (self.negative, other.negative) {
            (false, false) => self.form.is_within(&other.form),
            (true, true) => other.form.is_within(&self.form),
            (false, true) => self.form.is_disjoint(&other.form),
            // All but some values are never only those of a form, as far as can be said.
            (true, false) => false,
        }
    }

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
    fn is_within(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match other {
            Self::Prefix { prefix: wanted, more } => match self {
                Self::Prefix { prefix, more: own } => {
                    prefix.starts_with(&**wanted) && (!more || *own || prefix.len() > wanted.len())
                }
                Self::Expression { prefixes, .. } => {
                    says(prefixes, |prefix| prefix.starts_with(&**wanted) && (!more || prefix.len() > wanted.len()))
                }
                Self::Suffix { .. } => false,
            },
            Self::Suffix { suffix: wanted, more } => match self {
                Self::Suffix { suffix, more: own } => {
                    suffix.ends_with(&**wanted) && (!more || *own || suffix.len() > wanted.len())
                }
                Self::Expression { suffixes, .. } => {
                    says(suffixes, |suffix| suffix.ends_with(&**wanted) && (!more || suffix.len() > wanted.len()))
                }
                Self::Prefix { .. } => false,
            },
            Self::Expression { source, .. } => matches!(self, Self::Expression { source: own, .. } if own == source),
        }
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        let apart = |ours: &[String], theirs: &[String], meets: fn(&str, &str) -> bool| {
            says(ours, |our| says(theirs, |their| !meets(our, their) && !meets(their, our)))
        };
        apart(self.prefixes(), other.prefixes(), |one, other| one.starts_with(other))
            || apart(self.suffixes(), other.suffixes(), |one, other| one.ends_with(other))
    }

    /// What the values begin with; none: nothing is known.
    fn prefixes(&self) -> &[String] {
        match self {
            Self::Prefix { prefix, .. } => std::slice::from_ref(prefix),
            Self::Suffix { .. } => &[],
            Self::Expression { prefixes, .. } => prefixes,
        }
    }

    /// What the values end with; none: nothing is known.
    fn suffixes(&self) -> &[String] {
        match self {
            Self::Prefix { .. } => &[],
            Self::Suffix { suffix, .. } => std::slice::from_ref(suffix),
            Self::Expression { suffixes, .. } => suffixes,
        }
    }
}

/// Whether a list says something, and this of all of it.
fn says(list: &[String], of_each: impl Fn(&str) -> bool) -> bool {
    !list.is_empty() && list.iter().all(|text| of_each(text))
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
