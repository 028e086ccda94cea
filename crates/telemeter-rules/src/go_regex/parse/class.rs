//! The parser of character classes: `[a-z]`, `[[:alpha:]]`, `\d`, `\pL`.

use super::{RegexParser, RegexProblem};
use crate::go_regex::node::RegexNode;

/// A class without characters, in the syntax of the `regex` crate.
pub(super) const EMPTY_CLASS: &str = "[a&&b]";

/// The names that are legal between `[:` and `:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Unicode's general categories that Go knows; every other name is that of a script.
const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "Any",
];

impl RegexParser<'_> {
    /// Parses a class, of which the `[` was read, up to its `]`. Returns an error where it is not closed, has an
    /// unknown class in it, or a range whose end is before its start.
    pub(super) fn class(&mut self) -> Result<RegexNode, RegexProblem> {
        let negated = self.skip("^");
        let mut items = String::new();
        let mut first = true;
        loop {
            // As in Go: a `]` right after the `[` is one of the characters.
            if !std::mem::take(&mut first) && self.skip("]") {
                return Ok(self.class_of(&items, negated));
            }
            if self.posix(&mut items)? {
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let start = std::mem::replace(&mut self.rest, rest);
                if let Some(item) = self.class_escape()? {
                    items.push_str(&item);
                    continue;
                }
                self.rest = start;
            }
            let low = self.class_char()?;
            let mut high = low;
            let mut ahead = self.rest.chars();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|char| char != ']') {
                self.skip("-");
                high = self.class_char()?;
                if high < low {
                    return Err("a range of characters whose end is before its start".to_owned());
                }
            }
            push_range(&mut items, low, high);
        }
    }

    /// The class of these items, under the flags that are set at this place.
    pub(super) fn class_of(&self, items: &str, negated: bool) -> RegexNode {
        let text = match (items.is_empty(), negated) {
            (true, false) => return RegexNode::Class(EMPTY_CLASS.to_owned()),
            (true, true) => return RegexNode::AnyChar,
            (false, true) => format!("[^{items}]"),
            (false, false) => format!("[{items}]"),
        };
        RegexNode::Class(if self.flags.fold { format!("(?i:{text})") } else { text })
    }

    /// Parses an escape that means several characters, such as `\d`, of which the backslash was read. Returns `None`, and
    /// reads nothing, where the escape means one character.
    pub(super) fn class_escape(&mut self) -> Result<Option<String>, RegexProblem> {
        let start = self.rest;
        let item = match self.next() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\x0c\r ]",
            Some('S') => r"[^\t\n\x0c\r ]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some(char @ ('p' | 'P')) => return self.property(char == 'P').map(Some),
            _ => {
                self.rest = start;
                return Ok(None);
            }
        };
        Ok(Some(item.to_owned()))
    }

    /// Parses `L`, `{Greek}` or `{^Greek}`, of which the `\p` was read. Returns an error for a name that is neither a
    /// category nor a script.
    fn property(&mut self, mut negated: bool) -> Result<String, RegexProblem> {
        let rest = self.rest;
        let mut name = match self.next() {
            Some('{') => {
                let Some((name, rest)) = self.rest.split_once('}') else {
                    return Err(r"\p{ does not end".to_owned());
                };
                self.rest = rest;
                name
            }
            Some(char) => &rest[..char.len_utf8()],
            None => return Err(r"\p wants a name".to_owned()),
        };
        if let Some(plain) = name.strip_prefix('^') {
            (name, negated) = (plain, !negated);
        }
        let letter = if negated { 'P' } else { 'p' };
        if name == "Cs" {
            // No value has surrogates.
            return Ok(if negated { r"\p{Any}" } else { EMPTY_CLASS }.to_owned());
        }
        if CATEGORIES.contains(&name) {
            return Ok(format!(r"\{letter}{{{name}}}"));
        }
        let item = format!(r"\{letter}{{Script={name}}}");
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !plain || regex::Regex::new(&item).is_err() {
            return Err(format!(r"no such class: \p{{{name}}}"));
        }
        Ok(item)
    }

    /// Parses `[:alpha:]` or `[:^alpha:]` and appends it to `items`; `false`, and nothing read, where neither comes
    /// next. Returns an error for an unknown name.
    fn posix(&mut self, items: &mut String) -> Result<bool, RegexProblem> {
        let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("no such class: [:{name}:]"));
        }
        self.rest = rest;
        items.push_str("[:");
        items.push_str(name);
        items.push_str(":]");
        Ok(true)
    }

    /// Reads one character of a class, as it is or as an escape, and returns its code point. Returns an error at the
    /// end of the text.
    fn class_char(&mut self) -> Result<u32, RegexProblem> {
        match self.next() {
            Some('\\') => self.escape(),
            Some(char) => Ok(u32::from(char)),
            None => Err("a class is not closed: ] is missing".to_owned()),
        }
    }
}

/// Appends a range without its surrogates, which no value has.
fn push_range(items: &mut String, low: u32, high: u32) {
    let surrogate = 0xd800..=0xdfff;
    let low = if surrogate.contains(&low) { 0xe000 } else { low };
    let high = if surrogate.contains(&high) { 0xd7ff } else { high };
    if low <= high {
        items.push_str(&format!(r"\x{{{low:x}}}-\x{{{high:x}}}"));
    }
}
