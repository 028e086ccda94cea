//! The selectors that say what leaves: sent to the source, and held against what it answers with.

use std::path::Path;

use telemeter_http::file::{self, FileError};
use telemeter_rules::{Error, Selector, transforms::requested::Requested};

use crate::config::Config;

/// How much of a long selector is shown on each side of its fault, in characters.
const SHOWN: usize = 40;

const SENT: &str = "it is sent all the same: if Prometheus cannot read it either, no scrape succeeds";

/// All selectors, in the order in which they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Selectors {
    all: Vec<SelectorText>,
    /// Whether what no selector asked for is left out.
    is_enforced: bool,
}

/// A selector as it was written.
#[derive(Clone, Debug)]
struct SelectorText {
    /// The flag that it comes from.
    flag: &'static str,
    text: String,
}

/// How an answer is held against the selectors.
#[derive(Clone, Debug)]
pub(crate) struct RequestedFilter {
    /// The selectors, compiled; `None` where one of them cannot be judged by.
    pub(crate) requested: Option<Requested>,
    /// Whether what none asked for is left out, and not only counted.
    pub(crate) is_enforced: bool,
}

impl Selectors {
    /// Those of the configuration, and those of its file: one a line, without empty lines and comments (`#`).
    pub(crate) fn read(config: &Config) -> Result<Self, FileError> {
        let mut selectors = Self::of_flags(config);
        if let Some(path) = &config.match_file {
            // What is wrong with `--match` is told although the file ends the start.
            let lines = lines(path).inspect_err(|_| selectors.warn_of_problems())?;
            selectors.all.extend(lines.into_iter().map(|text| SelectorText { flag: "--match-file", text }));
        }
        Ok(selectors)
    }

    fn of_flags(config: &Config) -> Self {
        let all = config.matches.iter().cloned().map(|text| SelectorText { flag: "--match", text }).collect();
        Self { all, is_enforced: config.leave_out_unrequested }
    }

    /// The selectors as they are sent.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|selector| selector.text.as_str())
    }

    /// Logs a warning for each selector that is none to us, or that an answer cannot be held against.
    pub(crate) fn warn(&self) {
        self.warn_of_problems();
        if self.is_enforced && self.asked().requested.is_none() {
            tracing::warn!(
                "because of these selectors nobody can tell which series were asked for: whatever the source answers \
                 with is uploaded"
            );
        }
    }

    fn warn_of_problems(&self) {
        for (flag, _, problem) in self.with_problems() {
            if let Some(problem) = problem {
                tracing::warn!("{flag} {problem}");
            }
        }
    }

    /// Each selector with its flag, and what is wrong with it.
    pub(crate) fn with_problems(&self) -> impl Iterator<Item = (&'static str, &str, Option<String>)> {
        self.all.iter().map(|SelectorText { flag, text }| (*flag, text.as_str(), doubt(text)))
    }

    /// What is wrong with the first selector that cannot be read.
    pub(crate) fn first_doubt(&self) -> Option<String> {
        let unread = self.all.iter().find(|one| Selector::parse(&one.text).is_err())?;
        let doubt = doubt(&unread.text)?;
        Some(format!("{} {}", unread.flag, doubt.strip_suffix(SENT).map_or(&*doubt, |d| d.trim_end_matches("; "))))
    }

    /// What an answer is held against.
    pub(crate) fn asked(&self) -> RequestedFilter {
        let parsed: Option<Vec<Selector>> =
            self.texts().map(|text| Selector::parse(text).ok().filter(Requested::is_checkable)).collect();
        RequestedFilter { requested: parsed.map(|selectors| Requested::new(&selectors)), is_enforced: self.is_enforced }
    }
}

/// What is wrong with a selector, and a caret in front of the character where it goes wrong.
fn doubt(selector: &str) -> Option<String> {
    match Selector::parse(selector) {
        Ok(read) if Requested::is_checkable(&read) => None,
        Ok(_) => Some(format!(
            "{} may mean metric names that Prometheus writes with underscores: what it selects cannot be told from the \
             answer",
            marked(selector, usize::MAX).trim_end_matches('^')
        )),
        Err(Error::Selector { column, problem, .. }) => {
            let marked = marked(selector, column - 1);
            Some(format!("{marked} cannot be read at column {column}, at the ^: {problem}; {SENT}"))
        }
        Err(error) => Some(format!("cannot be read: {error}; {SENT}")),
    }
}

/// `selector` in one line, with a caret behind so many of its characters, and without what is far from there.
fn marked(selector: &str, behind: usize) -> String {
    let characters: Vec<char> = selector.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (before, after) = characters.split_at(behind.min(characters.len()));
    let text = |characters: &[char]| characters.iter().collect::<String>();
    let (cut, rest) = (before.len().saturating_sub(SHOWN), after.len().min(SHOWN));
    let (left, right) = (if cut > 0 { "..." } else { "" }, if rest < after.len() { "..." } else { "" });
    format!("{left}{}^{}{right}", text(&before[cut..]), text(&after[..rest]))
}

fn lines(path: &Path) -> Result<Vec<String>, FileError> {
    let content = file::read_text(path, file::LARGE)?;
    let lines = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_shown_with_a_caret() {
        fn check(selector: &str, expected: &str) {
            let doubt = doubt(selector).expect("a doubt");
            assert!(doubt.starts_with(expected) && !doubt.contains(char::is_control), "{doubt}");
        }
        check("{job=up}", "{job=^up} cannot be read at column 6, at the ^: expected a value in quotes, found \"up}\"");
        check("up,down", "up^,down cannot be read at column 3, at the ^: ");
        check("up\ndown", "up ^down cannot be read at column 4, at the ^: ");
        check("{é=1}", "{^é=1} cannot be read at column 2, at the ^: ");
        check("{job=\"a\"", "{job=\"a\"^ cannot be read at column 9, at the ^: ");
        check("rate(up[5m])", "rate^(up[5m]) cannot be read at column 5");
        check(
            &format!("{{{}job=up{}}}", "a=\"1\",".repeat(100), ",b=\"1\"".repeat(100)),
            "...a=\"1\",a=\"1\",a=\"1\",a=\"1\",a=\"1\",a=\"1\",job=^up,b=\"1\",b=\"1\",b=\"1\",b=\"1\",b=\"1\",b=\"1\",b... cannot",
        );
        check(&"a".repeat(100_000), "cannot be read: a rule of 100000 bytes");
        check("{a=~\"(\"}", "{a=~^\"(\"} cannot be read at column 5");
        check("{__name__=~\"a\\\\.b\"}", "{__name__=~\"a\\\\.b\"} may mean metric names");
        for selector in ["up", "{__name__=\"up\"}", "{}", "{\"http.status\"=\"x\"}", "up{a=~\"b|c\"}"] {
            assert_eq!(doubt(selector), None, "{selector}");
        }
    }

    #[test]
    fn the_first_doubt_names_its_flag() {
        let all = ["up", "{job=a}", "up,"].map(|text| SelectorText { flag: "--match", text: text.to_owned() }).to_vec();
        let doubt = Selectors { all, is_enforced: true }.first_doubt().expect("a doubt");
        let expected =
            "--match {job=^a} cannot be read at column 6, at the ^: expected a value in quotes, found \"a}\"";
        assert_eq!(doubt, expected);
    }

    #[test]
    fn a_selector_that_cannot_be_checked_by_leaves_the_answer_as_it_is() {
        let is_checkable = |texts: &[&str]| {
            let all = texts.iter().map(|text| SelectorText { flag: "--match", text: (*text).to_owned() }).collect();
            Selectors { all, is_enforced: true }.asked().requested.is_some()
        };
        assert!(is_checkable(&["up", "{job=\"a\"}"]) && is_checkable(&[]));
        assert!(!is_checkable(&["up", "{job=a}"]) && !is_checkable(&["{__name__=~\"a/b\"}"]));
    }
}
