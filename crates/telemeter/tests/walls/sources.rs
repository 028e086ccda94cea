//! Reads the source files of a crate as modules, and finds the modules that each of them names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The path of a module in its crate: `["forward", "queue"]` is `src/forward/queue.rs`, the empty path is `src/lib.rs`.
pub(crate) type Module = Vec<String>;

/// Returns all Rust files below `folder`, in no defined order.
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

/// Returns the modules of the crate with sources in `src`, each with its code without comments, strings and unit tests.
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

/// Returns the text of a file without comments, strings, and the unit tests at its end.
fn code(text: &str) -> String {
    let text = text.find("#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests]);
    let mut code = String::new();
    for line in text.lines() {
        let mut parts = line.split('"');
        code.push_str(parts.next().unwrap_or_default().split("//").next().unwrap_or_default());
        // Every second part is a string. A string of several lines is not recognised, which is harmless: it names no
        // module.
        for part in parts.skip(1).step_by(2) {
            code.push(' ');
            code.push_str(part.split("//").next().unwrap_or_default());
        }
        code.push('\n');
    }
    code
}

/// Returns the modules of the same crate that the code of `module` names: in a `use`, or in a path that begins with
/// `crate` or `super`.
pub(crate) fn named(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    paths(code).into_iter().filter_map(|path| resolve(module, &path, modules)).filter(|other| other != module).collect()
}

/// Returns the paths of `use` declarations, expanded, and those that begin with `crate` or `super`.
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

/// Expands `a::{b, c::{d, e}}` to `a::b`, `a::c::d` and `a::c::e`.
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

/// Returns the module that contains the item of a path; `None` where the item is not in this crate.
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
