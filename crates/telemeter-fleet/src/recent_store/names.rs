//! How names are written for a reader that may know only the old alphabet, so that no two become one.
//!
//! A name of the old alphabet is always written as it is. Where escaping makes another name the same as that of somebody
//! else, it is written with `escaping=values` instead, which no other shares; all of those that would have become one are.
//! A name that cannot be told apart even so, since another is spelled like its escaped form, has none: its series are left
//! out.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

use telemeter_wire::exposition::{Escaping, NameKind, is_known_name};

/// The names that are written for those of the other alphabet.
pub(super) struct Names {
    escaping: Escaping,
    named: NameKind,
    written: HashMap<String, Option<String>>,
    /// What they are written as: no other may be.
    taken: HashSet<String>,
}

impl Names {
    /// Finds a name for each of `all`, under which there are to be all that will be asked for.
    pub(super) fn new(escaping: Escaping, named: NameKind, all: &BTreeSet<String>) -> Self {
        let mut names = Self { escaping, named, written: HashMap::new(), taken: HashSet::new() };
        if escaping == Escaping::AllowUtf8 {
            return names;
        }
        let others = || all.iter().filter(|name| !is_known_name(name, named));
        let mut wanted = HashMap::<Cow<'_, str>, usize>::new();
        for name in others() {
            *wanted.entry(escaping.escape(name, named)).or_default() += 1;
        }
        wanted.retain(|name, count| *count == 1 && !all.contains(&**name));
        let mut rest = Vec::new();
        for name in others() {
            let escaped = escaping.escape(name, named);
            if wanted.contains_key(&escaped) {
                names.taken.insert(escaped.clone().into_owned());
                names.written.insert(name.clone(), Some(escaped.into_owned()));
            } else {
                rest.push(name);
            }
        }
        for name in rest {
            let escaped = Escaping::Values.escape(name, named).into_owned();
            let is_free = !all.contains(&escaped) && names.taken.insert(escaped.clone());
            names.written.insert(name.clone(), is_free.then_some(escaped));
        }
        names
    }

    /// How `name` is written; `None` where it cannot be told apart, or came too late to be.
    pub(super) fn written<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        if self.escaping == Escaping::AllowUtf8 {
            return Some(name);
        }
        if is_known_name(name, self.named) {
            return (self.taken.is_empty() || !self.taken.contains(name)).then_some(name);
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
        let names = Names::new(escaping, NameKind::Label, &set);
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
    fn what_came_too_late_is_not_mistaken_for_another() {
        let names = Names::new(Escaping::Underscores, NameKind::Label, &BTreeSet::from(["a.b".to_owned()]));
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
                    let names = Names::new(escaping, named, &all);
                    let written: Vec<_> = all.iter().filter_map(|name| names.written(name)).collect();
                    let distinct: BTreeSet<_> = written.iter().collect();
                    prop_assert_eq!(written.len(), distinct.len(), "{:?}", written);
                    prop_assert!(written.iter().all(|name| is_known_name(name, named)));
                }
            }
        }
    }
}
