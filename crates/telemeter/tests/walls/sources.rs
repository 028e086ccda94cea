//! The source files of a crate as modules, and which module's items each of them names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A module's path below its crate: `["forward", "queue"]` is `src/forward/queue.rs`, empty is `src/lib.rs`.
pub(crate) type Module = Vec<String>;

/// All Rust files below `folder`, in no order.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules of the crate whose sources are below `src`, each with its code: without comments, strings and unit tests.
pub(crate) fn modules(src: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for file in rust_files(src) {
        let name = file.strip_prefix(src).unwrap().with_extension("");
        let mut module: Module = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if ["lib", "main", "mod"].contains(&&*module[module.len() - 1]) {
            module.pop();
        }
        if !module.iter().any(|part| part == "tests") && module.first().is_none_or(|part| part != "bin") {
            modules.insert(module, code(&fs::read_to_string(&file).unwrap()));
        }
    }
    modules
}

/// A file's text without comments, without what is between quotes, and without the unit tests at its end.
fn code(text: &str) -> String {
    let text = text.find("#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests]);
    let mut code = String::new();
    for line in text.lines() {
        let mut parts = line.split('"');
        code.push_str(parts.next().unwrap_or_default().split("//").next().unwrap_or_default());
        // Every second part is a string. One that goes on over lines costs accuracy, not safety: it names no module.
        for part in parts.skip(1).step_by(2) {
            code.push(' ');
            code.push_str(part.split("//").next().unwrap_or_default());
        }
        code.push('\n');
    }
    code
}

/// The modules of the same crate whose items the code of `module` names: in a `use`, or in a path that begins with `crate` or
/// `super`.
pub(crate) fn named(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    paths(code).into_iter().filter_map(|path| resolve(module, &path, modules)).filter(|other| other != module).collect()
}

/// Paths of `use` declarations, written out, and those that begin with `crate` or `super`.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let starts_word = code[..at].chars().next_back().is_none_or(|before| before.is_whitespace() || before == ')');
        if let (true, Some(end)) = (starts_word, code[at..].find(';')) {
            expand("", &code[at + "use ".len()..at + end], &mut paths);
        }
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
            let end = code[at..].find(|letter| !is_path(letter)).map_or(code.len(), |length| at + length);
            paths.push(code[at..end].to_owned());
        }
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        paths.push(format!("{prefix}{}", name.trim()));
        return;
    };
    let prefix = format!("{prefix}{}", before.trim());
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        expand(&prefix, &inner[start..], paths);
    }
}

/// The module that a path leads into; `None` where it leads out of the crate.
fn resolve(module: &Module, path: &str, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut at = match *parts.peek()? {
        "crate" => {
            parts.next();
            Module::new()
        }
        "self" | "super" => {
            let mut at = module.clone();
            while let Some(part) = parts.next_if(|part| ["self", "super"].contains(part)) {
                if part == "super" {
                    at.pop();
                }
            }
            at
        }
        first => {
            let child: Module = module.iter().cloned().chain([first.to_owned()]).collect();
            modules.contains_key(&child).then(|| module.clone())?
        }
    };
    for part in parts {
        at.push(part.to_owned());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    modules.contains_key(&at).then_some(at)
}
