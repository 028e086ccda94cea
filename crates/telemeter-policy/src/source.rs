//! The files that rules are kept in, read with their places.
//!
//! Three forms are told apart by what is in them: YAML (`matches:` bare or in a `ConfigMap`, `match[]` of a scrape, the
//! arguments of a container), flags (`--match`, `--whitelist`, as typed or as in a script), and one selector a line.

mod flags;
mod piece;
#[cfg(test)]
mod tests;
mod yaml;

use telemeter_rules::{Error, Selector};

use self::piece::Piece;

/// A place in a file, counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePosition {
    /// The line.
    pub line: usize,
    /// The character in it; one behind the last where something is missing at the end.
    pub column: usize,
}

/// A rule and where it is written.
#[derive(Clone, Debug)]
pub struct RuleSource {
    /// What it selects.
    pub selector: Selector,
    /// As it is written, without the quotes of a script or of YAML.
    pub text: String,
    /// Where it begins.
    pub place: SourcePosition,
}

/// What cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// Where it goes wrong.
    pub place: SourcePosition,
    /// What was expected, and what is there.
    pub problem: String,
}

/// A file of rules.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// As it is named in messages.
    pub name: String,
    /// Its rules, in their order.
    pub rules: Vec<RuleSource>,
    /// What is no rule, in its order.
    pub faults: Vec<SourceError>,
    lines: Vec<String>,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceForm {
    Yaml,
    Flags,
    Lines,
}

/// What is found while a file is read; places are offsets in characters.
#[derive(Default)]
struct SourceParts {
    rules: Vec<(usize, String, Selector)>,
    faults: Vec<(usize, String)>,
}

impl RuleFile {
    /// Reads the text of a file. Its name counts too: what ends with `.yaml`, `.yml` or `.json` is YAML.
    #[must_use]
    pub fn parse(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let whole = Piece::whole(text);
        let mut found = SourceParts::default();
        match form(name, text) {
            SourceForm::Yaml => yaml::read(&whole, &mut found),
            SourceForm::Flags => flags::read(&whole, &mut found),
            SourceForm::Lines => found.lines(&whole),
        }
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.chars().enumerate().filter(|(_, char)| *char == '\n').map(|(at, _)| at + 1))
            .collect();
        let place = |offset: usize| {
            let line = starts.partition_point(|start| *start <= offset).max(1);
            SourcePosition { line, column: offset - starts[line - 1] + 1 }
        };
        let rules = found.rules.into_iter();
        let faults = found.faults.into_iter();
        Self {
            name: name.to_owned(),
            rules: rules.map(|(at, text, selector)| RuleSource { selector, text, place: place(at) }).collect(),
            faults: faults.map(|(at, problem)| SourceError { place: place(at), problem }).collect(),
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The text of a line, counted from 1; empty behind the last.
    #[must_use]
    pub fn line(&self, line: usize) -> &str {
        self.lines.get(line.wrapping_sub(1)).map_or("", String::as_str)
    }

    /// A place in it, as `FILE:LINE`.
    #[must_use]
    pub fn at(&self, place: SourcePosition) -> String {
        format!("{}:{}", self.name, place.line)
    }

    /// The selectors of its rules, in their order.
    #[must_use]
    pub fn selectors(&self) -> Vec<Selector> {
        self.rules.iter().map(|rule| rule.selector.clone()).collect()
    }
}

fn form(name: &str, text: &str) -> SourceForm {
    if [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
        return SourceForm::Yaml;
    }
    let telling = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // A selector has no blank behind a colon, and does not begin with a bracket or a dash.
    let is_key = |line: &str| {
        let key = line.split_once(": ").map(|(key, _)| key).or_else(|| line.strip_suffix(':'));
        let word = |key: &str| key.chars().all(|char| char.is_ascii_alphanumeric() || "_.-[]'\"/".contains(char));
        key.is_some_and(|key| !key.is_empty() && word(key))
    };
    let is_yaml = |line: &str| line.starts_with("- ") || line == "---" || line.starts_with('[') || is_key(line);
    if telling().any(flags::has_flag) {
        // A list of arguments in YAML begins with its dash or its key.
        return if telling().next().is_some_and(is_yaml) { SourceForm::Yaml } else { SourceForm::Flags };
    }
    if telling().any(is_yaml) { SourceForm::Yaml } else { SourceForm::Lines }
}

impl SourceParts {
    /// One selector a line; blank lines and those that begin with `#` are passed over.
    fn lines(&mut self, piece: &Piece) {
        for line in piece.lines() {
            if !line.starts_with("#") && !line.is_empty() {
                self.rule(&line);
            }
        }
    }

    /// Reads a selector.
    fn rule(&mut self, piece: &Piece) {
        let piece = piece.trimmed();
        let text = piece.text();
        if text.is_empty() {
            return self.faults.push((piece.offset(0), "an empty rule".to_owned()));
        }
        match Selector::parse(&text) {
            Ok(selector) => self.rules.push((piece.offset(0), text, selector)),
            Err(Error::Selector { column, problem, .. }) => {
                self.faults.push((piece.offset(column.saturating_sub(1)), problem));
            }
            Err(error) => self.faults.push((piece.offset(0), error.to_string())),
        }
    }
}
