//! The selectors of `--match` and `--match-file`: sent to Prometheus, and applied to its answer.

use std::path::Path;

use telemeter_http::file::{self, FileError};
use telemeter_rules::{Error, Selector, transforms::requested::Requested};

use crate::config::Config;

/// How many characters of a selector a message shows on each side of the error.
const SHOWN: usize = 40;

/// The end of a message about a selector that cannot be parsed.
const SENT_ANYWAY: &str = "it is sent all the same: if Prometheus cannot read it either, no scrape succeeds";

/// All selectors, in the order in which they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Selectors {
    all: Vec<SelectorText>,
    /// Whether series that no selector names are left out.
    is_enforced: bool,
}

/// A selector as it was given, and the flag that it comes from.
#[derive(Clone, Debug)]
struct SelectorText {
    flag: &'static str,
    text: String,
}

/// The filter that the selectors make of an answer.
#[derive(Clone, Debug)]
pub(crate) struct RequestedFilter {
    /// The selectors, compiled; `None` where one of them cannot be applied to an answer.
    pub(crate) requested: Option<Requested>,
    /// Whether series that no selector names are left out; else they are only counted.
    pub(crate) is_enforced: bool,
}

impl Selectors {
    /// The selectors of the configuration and of its file, which has one a line; empty lines and comments (`#`) are
    /// ignored.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn read(config: &Config) -> Result<Self, FileError> {
        let mut selectors = Self::from_flags(config);
        if let Some(path) = &config.match_file {
            // Problems of `--match` are logged also where the file makes the start fail.
            let lines = read_lines(path).inspect_err(|_| selectors.warn_about_problems())?;
            selectors.all.extend(lines.into_iter().map(|text| SelectorText { flag: "--match-file", text }));
        }
        Ok(selectors)
    }

    /// The selectors of `--match` only; `--match-file` is not read here.
    fn from_flags(config: &Config) -> Self {
        let all = config.matches.iter().cloned().map(|text| SelectorText { flag: "--match", text }).collect();
        Self { all, is_enforced: config.leave_out_unrequested }
    }

    /// The selectors as they are sent.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|selector| selector.text.as_str())
    }

    /// Logs a warning for each selector that cannot be parsed, or cannot be applied to an answer.
    pub(crate) fn warn(&self) {
        self.warn_about_problems();
        if self.is_enforced && self.requested_filter().requested.is_none() {
            tracing::warn!(
                "with these selectors the client cannot tell which series were requested: every series that the source \
                 answers with is uploaded"
            );
        }
    }

    /// Logs a warning for each selector that has a problem.
    fn warn_about_problems(&self) {
        for (flag, _, problem) in self.with_problems() {
            if let Some(problem) = problem {
                tracing::warn!("{flag} {problem}");
            }
        }
    }

    /// Each selector: its flag, its text, and the problem with it, if any.
    pub(crate) fn with_problems(&self) -> impl Iterator<Item = (&'static str, &str, Option<String>)> {
        self.all.iter().map(|SelectorText { flag, text }| (*flag, text.as_str(), selector_problem(text)))
    }

    /// The problem with the first selector that cannot be parsed, with its flag.
    pub(crate) fn first_problem(&self) -> Option<String> {
        let unparsed = self.all.iter().find(|one| Selector::parse(&one.text).is_err())?;
        let problem = selector_problem(&unparsed.text)?;
        let cause = problem.strip_suffix(SENT_ANYWAY).map_or(&*problem, |cause| cause.trim_end_matches("; "));
        Some(format!("{} {cause}", unparsed.flag))
    }

    /// The filter that these selectors make of an answer.
    pub(crate) fn requested_filter(&self) -> RequestedFilter {
        let parsed: Option<Vec<Selector>> =
            self.texts().map(|text| Selector::parse(text).ok().filter(Requested::is_checkable)).collect();
        RequestedFilter { requested: parsed.map(|selectors| Requested::new(&selectors)), is_enforced: self.is_enforced }
    }
}

/// Why a selector cannot be parsed, with a caret before the first wrong character, or cannot be applied to an answer;
/// `None` where it can.
fn selector_problem(selector: &str) -> Option<String> {
    match Selector::parse(selector) {
        Ok(read) if Requested::is_checkable(&read) => None,
        Ok(_) => Some(format!(
            "{} may mean metric names that Prometheus writes with underscores: what it selects cannot be told from the \
             answer",
            with_caret(selector, usize::MAX).trim_end_matches('^')
        )),
        Err(Error::Selector { column, problem, .. }) => {
            let shown = with_caret(selector, column - 1);
            Some(format!("{shown} cannot be read at column {column}, at the ^: {problem}; {SENT_ANYWAY}"))
        }
        Err(error) => Some(format!("cannot be read: {error}; {SENT_ANYWAY}")),
    }
}

/// `selector` on one line with a caret after its first `behind` characters, cut to [`SHOWN`] characters on each side.
fn with_caret(selector: &str, behind: usize) -> String {
    let characters: Vec<char> = selector.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (before, after) = characters.split_at(behind.min(characters.len()));
    let text = |characters: &[char]| characters.iter().collect::<String>();
    let (cut, rest) = (before.len().saturating_sub(SHOWN), after.len().min(SHOWN));
    let (left, right) = (if cut > 0 { "..." } else { "" }, if rest < after.len() { "..." } else { "" });
    format!("{left}{}^{}{right}", text(&before[cut..]), text(&after[..rest]))
}

/// The lines of a file, trimmed, without empty lines and those that start with `#`.
fn read_lines(path: &Path) -> Result<Vec<String>, FileError> {
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
            let problem = selector_problem(selector).expect("a problem");
            assert!(problem.starts_with(expected) && !problem.contains(char::is_control), "{problem}");
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
            assert_eq!(selector_problem(selector), None, "{selector}");
        }
    }

    #[test]
    fn the_first_problem_names_its_flag() {
        let all = ["up", "{job=a}", "up,"].map(|text| SelectorText { flag: "--match", text: text.to_owned() }).to_vec();
        let problem = Selectors { all, is_enforced: true }.first_problem().expect("a problem");
        let expected =
            "--match {job=^a} cannot be read at column 6, at the ^: expected a value in quotes, found \"a}\"";
        assert_eq!(problem, expected);
    }

    #[test]
    fn a_selector_that_cannot_be_applied_leaves_the_answer_as_it_is() {
        let is_checkable = |texts: &[&str]| {
            let all = texts.iter().map(|text| SelectorText { flag: "--match", text: (*text).to_owned() }).collect();
            Selectors { all, is_enforced: true }.requested_filter().requested.is_some()
        };
        assert!(is_checkable(&["up", "{job=\"a\"}"]) && is_checkable(&[]));
        assert!(!is_checkable(&["up", "{job=a}"]) && !is_checkable(&["{__name__=~\"a/b\"}"]));
    }
}
