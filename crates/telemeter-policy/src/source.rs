//! Parses files of rules, and keeps the position of each rule.
//!
//! There are three forms, which are detected by the content: YAML (`matches:` alone or in a `ConfigMap`, `match[]` of a
//! scrape, the arguments of a container), flags (`--match`, `--whitelist`, as typed or in a script), and one selector per
//! line.

mod flags;
mod piece;
#[cfg(test)]
mod tests;
mod yaml;

use telemeter_rules::{Error, Selector};

use self::piece::Piece;

/// A position in a file, counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePosition {
    /// The number of the line.
    pub line: usize,
    /// The number of the character in the line; one more than the last where something is missing at the end.
    pub column: usize,
}

/// A rule in a file.
#[derive(Clone, Debug)]
pub struct RuleSource {
    /// The parsed rule.
    pub selector: Selector,
    /// The rule as it is written, without the quotes of a script or of YAML.
    pub text: String,
    /// The position of its first character.
    pub position: SourcePosition,
}

/// A part of a file that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// The position at which parsing failed.
    pub position: SourcePosition,
    /// What was expected, and what was found.
    pub problem: String,
}

/// A file of rules.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// The name for messages.
    pub name: String,
    /// The rules, in their order.
    pub rules: Vec<RuleSource>,
    /// The parts that cannot be parsed, in their order.
    pub faults: Vec<SourceError>,
    lines: Vec<String>,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceForm {
    Yaml,
    Flags,
    Lines,
}

/// The rules and faults of a file, with their offsets in characters.
#[derive(Default)]
struct SourceParts {
    rules: Vec<(usize, String, Selector)>,
    faults: Vec<(usize, String)>,
}

impl RuleFile {
    /// Parses the text of a file. A file whose name ends with `.yaml`, `.yml` or `.json` is YAML, whatever its content.
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
        let position_of = |offset: usize| {
            let line = starts.partition_point(|start| *start <= offset).max(1);
            SourcePosition { line, column: offset - starts[line - 1] + 1 }
        };
        let rules = found.rules.into_iter();
        let faults = found.faults.into_iter();
        Self {
            name: name.to_owned(),
            rules: rules.map(|(at, text, selector)| RuleSource { selector, text, position: position_of(at) }).collect(),
            faults: faults.map(|(at, problem)| SourceError { position: position_of(at), problem }).collect(),
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The text of a line, counted from 1; empty where there is no such line.
    #[must_use]
    pub fn line(&self, line: usize) -> &str {
        self.lines.get(line.wrapping_sub(1)).map_or("", String::as_str)
    }

    /// A position in the file, as `FILE:LINE`.
    #[must_use]
    pub fn at(&self, position: SourcePosition) -> String {
        format!("{}:{}", self.name, position.line)
    }

    /// The selectors of its rules, in their order.
    #[must_use]
    pub fn selectors(&self) -> Vec<Selector> {
        self.rules.iter().map(|rule| rule.selector.clone()).collect()
    }
}

/// Detects the form of a file.
fn form(name: &str, text: &str) -> SourceForm {
    if [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
        return SourceForm::Yaml;
    }
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // A selector has no blank after a colon, and does not begin with a bracket or a dash.
    let is_key = |line: &str| {
        let key = line.split_once(": ").map(|(key, _)| key).or_else(|| line.strip_suffix(':'));
        let word = |key: &str| key.chars().all(|char| char.is_ascii_alphanumeric() || "_.-[]'\"/".contains(char));
        key.is_some_and(|key| !key.is_empty() && word(key))
    };
    let is_yaml = |line: &str| line.starts_with("- ") || line == "---" || line.starts_with('[') || is_key(line);
    // A selector may have a flag in a value.
    if lines().any(|line| flags::has_flag(line) && Selector::parse(line).is_err()) {
        // A list of arguments in YAML begins with a dash or a key.
        return if lines().next().is_some_and(is_yaml) { SourceForm::Yaml } else { SourceForm::Flags };
    }
    if lines().any(is_yaml) { SourceForm::Yaml } else { SourceForm::Lines }
}

impl SourceParts {
    /// Parses one selector per line; blank lines and lines that begin with `#` are skipped.
    fn lines(&mut self, piece: &Piece) {
        for line in piece.lines() {
            if !line.starts_with("#") && !line.is_empty() {
                self.rule(&line);
            }
        }
    }

    /// Parses a selector.
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
