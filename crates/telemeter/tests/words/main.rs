//! Checks the words in the sources and the documentation: none of the words that readers did not understand, and no
//! type name with two meanings.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Words and phrases that readers misunderstood, and what to write instead. A `*` at the end matches any further
/// letters. Case is ignored.
const REFUSED: &[(&str, &str)] = &[
    ("doubled", "duplicate"),
    ("stands twice", "is there twice, is duplicate"),
    ("stand twice", "are there twice, are duplicate"),
    ("see there", "a sentence that says what is to be found there"),
    ("of these parts", "a sentence with a subject"),
    ("true of any", "a sentence with a subject"),
    ("tollbooth*", "authority"),
    ("surroundings", "context"),
    ("vouch*", "approve"),
    ("vouched", "approved"),
    ("remembered yes", "cached approval"),
    ("the yes", "the approval"),
    ("is out", "is unavailable"),
    ("was out", "was unavailable"),
    ("whoever", "the caller, the client, the operator"),
    ("door", "authorization mode, route, listener"),
    ("doors", "authorization modes, routes, listeners"),
    ("occasion*", "rules of a cycle"),
    ("manner", "way, behaviour"),
    ("judge*", "check, apply the rules"),
    ("memo", "cache"),
    ("lane", "permits"),
    ("lanes", "permits"),
];

/// Files that may use one of these words, each with the word and the reason; an empty word means all words.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("crates/telemeter/tests/words/main.rs", "", "lists them"),
    ("docs/compatibility.md", "tollbooth", "names files of the Go program"),
];

/// Type names that may be defined in more than one module.
const REPEATED: &[&str] = &["Config", "Error", "Inner", "Metrics"];

/// Test files that define the messages of a protobuf specification again, with the names of the specification.
const SPECIFICATIONS: &[&str] = &["tests/support/body.rs", "tests/support/body_v2.rs", "tests/oracle/messages"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the files in `folder` with one of these endings, each with its path from the root and its text. Built and
/// installed files are omitted.
fn files(folder: &Path, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if !["target", "node_modules", ".git", "images", "corpus", "artifacts"].contains(&&*name) {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let below = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((below, fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// Whether a line contains this word or phrase, with no letter or digit directly before or after it; the parts of a
/// name count as words.
fn has(line: &str, refused: &str) -> bool {
    let (phrase, more) = refused.strip_suffix('*').map_or((refused, false), |phrase| (phrase, true));
    line.match_indices(phrase).any(|(at, _)| {
        let is_end = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
        is_end(line[..at].chars().next_back()) && (more || is_end(line[at + phrase.len()..].chars().next()))
    })
}

#[test]
fn no_word_is_used_that_readers_did_not_understand() {
    let mut found = Vec::new();
    for (path, text) in files(&root(), &[".rs", ".md", ".html", ".sh", ".toml", ".yaml"]) {
        if path == "CHANGELOG.md" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (refused, instead) in REFUSED {
                let is_allowed = |(file, word, _): &(&str, &str, &str)| *file == path && refused.starts_with(word);
                if has(&line, refused) && !ALLOWED.iter().any(is_allowed) {
                    found.push(format!("{path}:{}: {refused}: write {instead}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_word_is_found_in_names_and_sentences_and_not_in_other_words() {
    let check = |line: &str, word: &str, expected: bool| assert_eq!(has(line, word), expected, "{word} in {line}");
    check("the door is open", "door", true);
    check("let door_of_store = 1;", "door", true);
    check("indoors", "door", false);
    check("it judges", "judge*", true);
    check("it judges", "judge", false);
    check("prejudge", "judge*", false);
    check("the store is out.", "is out", true);
    check("this outbound call is outbound", "is out", false);
}

/// Returns the name of the type that a line of Rust defines, if it defines one.
fn defined(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    let (indented, mut public) = (rest.len() < line.len(), false);
    if let Some(after) = rest.strip_prefix("pub") {
        public = true;
        rest = match after.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => after,
        }
        .trim_start();
    }
    let (keyword, rest) = rest.split_once(' ')?;
    let is_type = match keyword {
        "struct" | "enum" | "trait" | "union" => true,
        // A type in an `impl` is not a new name.
        "type" => public || !indented,
        _ => false,
    };
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
    let name = &rest[..end];
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

#[test]
fn a_type_name_means_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in files(&root().join("crates"), &[".rs"]) {
        if SPECIFICATIONS.iter().any(|specification| path.contains(specification)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(name) = defined(line) {
                places.entry(name.to_owned()).or_default().push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(places.len() > 500, "the sources were not found");
    places.retain(|name, places| places.len() > 1 && !REPEATED.contains(&&**name));
    assert!(places.is_empty(), "type names with several meanings: {places:#?}");
}

#[test]
fn definitions_are_told_from_other_lines() {
    let check = |line: &str, expected: Option<&str>| assert_eq!(defined(line), expected, "{line}");
    check("pub struct Queue<T> {", Some("Queue"));
    check("    pub(super) enum Queue {", Some("Queue"));
    check("trait Queue: Send {", Some("Queue"));
    check("type Queue = Vec<u8>;", Some("Queue"));
    check("    type Target = Queue;", None);
    check("/// struct Queue", None);
    check("impl Queue {", None);
    check("let structure = Queue;", None);
}
