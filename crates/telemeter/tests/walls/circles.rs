//! Checks that no two modules use each other, directly or through others, except a module and its submodules.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::sources::{Module, modules, named};

/// Returns the modules that each module uses, without its own ancestors and descendants.
fn uses(modules: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<Module>> {
    let related = |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
    modules
        .iter()
        .map(|(module, code)| {
            let used = named(module, code, modules).into_iter().filter(|used| !related(module, used));
            (module, used.collect())
        })
        .collect()
}

/// Returns all modules that a module uses, directly or through others.
fn reachable<'m>(from: &'m Module, uses: &'m BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<&'m Module> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(uses.get(module).into_iter().flatten().filter(|used| reached.insert(*used)));
    }
    reached
}

/// Returns a line for each module that uses itself through others, with the modules that it uses on the way.
fn circles(modules: &BTreeMap<Module, String>) -> Vec<String> {
    let uses = uses(modules);
    let mut circles = Vec::new();
    for (module, used) in &uses {
        let on_circle: Vec<_> = used.iter().filter(|used| reachable(used, &uses).contains(module)).collect();
        if !on_circle.is_empty() {
            let names: Vec<_> = on_circle.iter().map(|used| used.join("::")).collect();
            circles.push(format!("{} uses {}", module.join("::"), names.join(", ")));
        }
    }
    circles
}

#[test]
fn files_use_each_other_in_one_direction() {
    for (name, _) in crate::ARROWS {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let modules = modules(&src);
        assert!(modules.len() > 2, "{} has no sources", src.display());
        let circles = circles(&modules);
        assert!(circles.is_empty(), "{name}: these files use each other in a circle: {circles:#?}");
    }
}

#[test]
fn a_circle_is_found_and_a_parent_is_none() {
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let module = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let modules = files.iter().map(|(path, code)| (module(path), (*code).to_owned())).collect();
        assert_eq!(circles(&modules), expected);
    };
    check(&[("", "mod a; use a::A;"), ("a", "use super::B;")], &[]);
    check(&[("", ""), ("a", "use crate::b::B;"), ("b", "")], &[]);
    check(&[("", ""), ("a", "use crate::b::B;"), ("b", "fn f() { super::a::f() }")], &["a uses b", "b uses a"]);
    check(
        &[
            ("", ""),
            ("a", "use crate::{b::{B, C}, std};"),
            ("b", "use super::c;"),
            ("c", "pub(crate) use crate::a::A;"),
        ],
        &["a uses b", "b uses c", "c uses a"],
    );
    check(&[("", ""), ("a", ""), ("a::b", "use crate::a::c::C;"), ("a::c", "use super::A;")], &[]);
}
