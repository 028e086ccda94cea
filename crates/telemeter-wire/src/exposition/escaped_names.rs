//! Escaped names for readers that may not accept UTF-8 names, such that different names stay different.
//!
//! A name of the first alphabet (letters, digits, `_`, and `:` in metric names) is never changed. Where escaping makes two
//! names equal, each of them is escaped by `escaping=values` instead, which is reversible. An example: under `underscores`,
//! `a.b` becomes `a_b`, but if there is also a label `a_b`, it becomes `U__a_2e_b`. A name for which even that is taken, by
//! another name with the same spelling, cannot be written: its series are left out.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

use super::escaping::{Escaping, NameKind, is_known_name};

/// The escaped forms of a set of names.
#[derive(Debug)]
pub struct EscapedNames {
    escaping: Escaping,
    named: NameKind,
    /// The escaped form of each UTF-8 name; `None` where there is none.
    written: HashMap<String, Option<String>>,
    /// All escaped forms: no other name may be equal to one of them.
    escaped: HashSet<String>,
}

impl EscapedNames {
    /// Finds an escaped form for each of `all`, which has to include every name that [`written`](Self::written) is called
    /// with.
    #[must_use]
    pub fn new(escaping: Escaping, named: NameKind, all: &BTreeSet<String>) -> Self {
        let mut names = Self { escaping, named, written: HashMap::new(), escaped: HashSet::new() };
        if escaping == Escaping::AllowUtf8 {
            return names;
        }
        let others = || all.iter().filter(|name| !is_known_name(name, named));
        let mut unique = HashMap::<Cow<'_, str>, usize>::new();
        for name in others() {
            *unique.entry(escaping.escape(name, named)).or_default() += 1;
        }
        unique.retain(|name, count| *count == 1 && !all.contains(&**name));
        let mut rest = Vec::new();
        for name in others() {
            let escaped = escaping.escape(name, named);
            if unique.contains_key(&escaped) {
                names.escaped.insert(escaped.clone().into_owned());
                names.written.insert(name.clone(), Some(escaped.into_owned()));
            } else {
                rest.push(name);
            }
        }
        for name in rest {
            let escaped = Escaping::Values.escape(name, named).into_owned();
            let is_free = !all.contains(&escaped) && names.escaped.insert(escaped.clone());
            names.written.insert(name.clone(), is_free.then_some(escaped));
        }
        names
    }

    /// The escaped form of `name`; `None` where it has none, and for a name that was not in the set and could be confused.
    #[must_use]
    pub fn written<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        if self.escaping == Escaping::AllowUtf8 {
            return Some(name);
        }
        if is_known_name(name, self.named) {
            return (self.escaped.is_empty() || !self.escaped.contains(name)).then_some(name);
        }
        self.written.get(name)?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(escaping: Escaping, all: &[&str]) -> Vec<Option<String>> {
        let set = all.iter().map(|name| (*name).to_owned()).collect();
        let names = EscapedNames::new(escaping, NameKind::Label, &set);
        all.iter().map(|name| names.written(name).map(str::to_owned)).collect()
    }

    #[test]
    fn no_two_names_become_one() {
        fn check(escaping: Escaping, all: &[&str], expected: &[Option<&str>]) {
            let expected: Vec<_> = expected.iter().map(|name| name.map(str::to_owned)).collect();
            assert_eq!(written(escaping, all), expected, "{escaping:?} {all:?}");
        }
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        check(AllowUtf8, &["a.b", "a_b"], &[Some("a.b"), Some("a_b")]);
        check(Underscores, &["a.b", "c"], &[Some("a_b"), Some("c")]);
        check(Underscores, &["a.b", "a_b"], &[Some("U__a_2e_b"), Some("a_b")]);
        check(Underscores, &["a.b", "a-b"], &[Some("U__a_2e_b"), Some("U__a_2d_b")]);
        check(Underscores, &[".name__", "__name__"], &[Some("_name__"), Some("__name__")]);
        check(Underscores, &["._name__", "__name__"], &[Some("U___2e___name____"), Some("__name__")]);
        check(Dots, &["a.b", "a_dot_b"], &[Some("U__a_2e_b"), Some("a_dot_b")]);
        check(Dots, &["a-_b", "a_-b", "a.b"], &[Some("U__a_2d___b"), Some("U__a___2d_b"), Some("a_dot_b")]);
        check(Values, &["a.b", "U__a_2e_b"], &[None, Some("U__a_2e_b")]);
        check(Underscores, &["a.b", "a_b", "U__a_2e_b"], &[None, Some("a_b"), Some("U__a_2e_b")]);
    }

    #[test]
    fn a_name_that_was_not_in_the_set_is_not_confused_with_another() {
        let names = EscapedNames::new(Escaping::Underscores, NameKind::Label, &BTreeSet::from(["a.b".to_owned()]));
        assert_eq!(names.written("a.b"), Some("a_b"));
        assert_eq!(names.written("a_b"), None);
        assert_eq!(names.written("a-b"), None);
        assert_eq!(names.written("c"), Some("c"));
    }

    proptest! {
        #[test]
        fn names_stay_apart(all in proptest::collection::btree_set("[a_.-]{0,4}|(U__)?[a_2e.]{0,6}|.{0,2}", 0..12)) {
            for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
                for named in [NameKind::Metric, NameKind::Label] {
                    let names = EscapedNames::new(escaping, named, &all);
                    let written: Vec<_> = all.iter().filter_map(|name| names.written(name)).collect();
                    let distinct: BTreeSet<_> = written.iter().collect();
                    prop_assert_eq!(written.len(), distinct.len(), "{:?}", written);
                    prop_assert!(written.iter().all(|name| is_known_name(name, named)));
                }
            }
        }
    }
}
