//! The parser of selectors: recursive descent over the text, with the column of each error.

use telemeter_wire::series::NAME_LABEL;

use super::MAX_RULE_BYTES;
use crate::error::{Error, excerpt};
use crate::matcher::{Matcher, Op};
use crate::quote::unquote;

/// Words that are not metric names, in lower or upper case: Prometheus parses them as keywords and numbers.
const RESERVED: [&str; 8] = ["atan2", "bool", "group_left", "group_right", "ignoring", "inf", "nan", "on"];

/// The matchers of a selector, in the order in which they are written.
pub(super) fn parse(rule: &str) -> Result<Vec<Matcher>, Error> {
    if rule.len() > MAX_RULE_BYTES {
        return Err(Error::RuleTooLong { bytes: rule.len(), limit_bytes: MAX_RULE_BYTES });
    }
    SelectorParser { rule, at: 0 }.parse_selector()
}

struct SelectorParser<'a> {
    rule: &'a str,
    /// The offset of the next byte to be parsed.
    at: usize,
}

impl<'a> SelectorParser<'a> {
    /// Parses the whole text: a metric name, matchers in braces, or both. Returns an error for a keyword as name, and
    /// for any text after the selector.
    fn parse_selector(mut self) -> Result<Vec<Matcher>, Error> {
        let mut matchers = Vec::new();
        self.skip_space();
        let name = self.word(true);
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            self.at -= name.len();
            return Err(self.expected("a metric name that is no keyword, or {"));
        }
        if !name.is_empty() {
            matchers.push(Matcher::new(NAME_LABEL, Op::Equal, name)?);
            self.skip_space();
        }
        if self.skip("{") {
            self.matchers(&mut matchers)?;
        } else if name.is_empty() {
            return Err(self.expected("a metric name or {"));
        }
        self.skip_space();
        if self.rest().is_empty() { Ok(matchers) } else { Err(self.expected("the end of the rule")) }
    }

    /// Parses the matchers behind an opening brace, and the closing brace.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), Error> {
        self.skip_space();
        while !self.skip("}") {
            matchers.push(self.matcher()?);
            self.skip_space();
            if self.skip(",") {
                self.skip_space();
            } else if !self.rest().starts_with('}') {
                return Err(self.expected("\",\" or \"}\""));
            }
        }
        Ok(())
    }

    /// Parses one matcher, or, in quotes and without an operator, the metric name.
    fn matcher(&mut self) -> Result<Matcher, Error> {
        let quoted = self.rest().starts_with(['"', '\'', '`']);
        let start = self.at;
        let name = if quoted { self.quoted()? } else { self.word(false).to_owned() };
        if !quoted && name.is_empty() {
            return Err(self.expected("a label name or \"}\""));
        }
        self.skip_space();
        if quoted && (self.rest().is_empty() || self.rest().starts_with([',', '}'])) {
            return Matcher::new(NAME_LABEL, Op::Equal, &name).map_err(|error| self.within(start, &error));
        }
        let op = if self.skip("=~") {
            Op::Matches
        } else if self.skip("!~") {
            Op::NotMatches
        } else if self.skip("!=") {
            Op::NotEqual
        } else if self.skip("=") {
            Op::Equal
        } else {
            return Err(self.expected("one of =, !=, =~, !~"));
        };
        self.skip_space();
        let start = self.at;
        if !self.rest().starts_with(['"', '\'', '`']) {
            return Err(self.expected("a value in quotes"));
        }
        let value = self.quoted()?;
        Matcher::new(&name, op, &value).map_err(|error| self.within(start, &error))
    }

    fn rest(&self) -> &'a str {
        &self.rule[self.at..]
    }

    /// Advances over `token` if it comes next; whether it did.
    fn skip(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Advances over white space, and over comments up to the end of their line.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches([' ', '\t', '\n', '\r']);
            self.at = self.rule.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        }
    }

    /// Parses an identifier, which may have colons if it is a metric name; empty where none comes next.
    fn word(&mut self, colons: bool) -> &'a str {
        let rest = self.rest();
        let first = |char: char| char.is_ascii_alphabetic() || char == '_' || (colons && char == ':');
        if !rest.starts_with(first) {
            return "";
        }
        let end = rest.find(|char: char| !first(char) && !char.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let (text, used) = unquote(self.rest()).map_err(|(offset, problem)| self.error(self.at + offset, problem))?;
        self.at += used;
        Ok(text)
    }

    /// An error at this position: the text that was expected, and the first characters that are there instead.
    fn expected(&self, what: &str) -> Error {
        let mut rest = self.rest().chars();
        let found = match rest.next() {
            Some(_) => format!("found {:?}", self.rest().chars().take(12).collect::<String>()),
            None => "it ends here".to_owned(),
        };
        self.error(self.at, format!("expected {what}, {found}"))
    }

    fn within(&self, offset: usize, error: &Error) -> Error {
        self.error(offset, error.to_string())
    }

    fn error(&self, offset: usize, problem: String) -> Error {
        let column = self.rule[..offset].chars().count() + 1;
        Error::Selector { rule: excerpt(self.rule), column, problem }
    }
}
