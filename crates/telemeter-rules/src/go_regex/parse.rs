//! The parser of regular expressions: accepts the syntax that Go's `regexp/syntax` accepts with its Perl flags, and
//! nothing else.
//!
//! The limits are not all those of Go. Nodes nest at most [`MAX_HEIGHT`] (200) deep, in Go 1,000; there, a capturing
//! group counts as a node, and here no group does. At most [`MAX_OPEN_GROUPS`] groups are open at once, which Go does
//! not limit. Repetition counts have Go's limit, [`MAX_REPEAT`]. The size of the compiled program is limited where it is
//! compiled ([`MAX_PROGRAM_BYTES`](super::MAX_PROGRAM_BYTES)).

mod class;

use super::node::RegexNode;

/// How deep the nodes of an expression may nest: repetitions, sequences and alternations. Two levels are kept for the
/// sequence and the alternation that may enclose the others. Go allows 1,000.
pub(crate) const MAX_HEIGHT: u32 = 200;
/// How many groups may be open at once.
const MAX_OPEN_GROUPS: usize = 1000;
/// The largest count of a repetition, and the largest product of nested ones.
const MAX_REPEAT: u32 = 1000;

/// Why an expression is not valid, in words for the user.
pub(super) type RegexProblem = String;

/// Parses a whole expression.
pub(super) fn parse(text: &str) -> Result<RegexNode, RegexProblem> {
    RegexParser {
        rest: text,
        flags: RegexFlags { newline: true, ..RegexFlags::default() },
        open: Vec::new(),
        frame: OpenGroup::default(),
    }
    .parse_all()
}

#[derive(Clone, Copy, Default)]
pub(super) struct RegexFlags {
    /// `i`: letters match in any case.
    pub(super) fold: bool,
    /// `m`: `^` and `$` match at lines.
    lines: bool,
    /// `s`: `.` matches a newline.
    newline: bool,
}

/// A node with the two figures that are limited.
struct MeasuredNode {
    node: RegexNode,
    /// How deep the node nests; 1 for a leaf.
    height: u32,
    /// The largest product of nested repetition counts.
    repeats: u32,
}

impl MeasuredNode {
    const fn leaf(node: RegexNode) -> Self {
        Self { node, height: 1, repeats: 1 }
    }

    fn of(parts: Vec<Self>, wrap: fn(Vec<RegexNode>) -> RegexNode) -> Self {
        let height = 1 + parts.iter().map(|part| part.height).max().unwrap_or(0);
        let repeats = parts.iter().map(|part| part.repeats).max().unwrap_or(1);
        Self { node: wrap(parts.into_iter().map(|part| part.node).collect()), height, repeats }
    }
}

/// An open group: the alternatives that are complete, and the one that is being parsed.
#[derive(Default)]
struct OpenGroup {
    alternatives: Vec<MeasuredNode>,
    sequence: Vec<MeasuredNode>,
    flags_outside: RegexFlags,
}

impl OpenGroup {
    /// Ends the alternative that is being parsed, and begins the next one. An empty alternative matches the empty
    /// string.
    fn end_alternative(&mut self) {
        let mut sequence = std::mem::take(&mut self.sequence);
        let built = match sequence.len() {
            0 => MeasuredNode::leaf(RegexNode::Empty),
            1 => sequence.remove(0),
            _ => MeasuredNode::of(sequence, RegexNode::Concat),
        };
        self.alternatives.push(built);
    }

    /// Ends the last alternative and returns the node of the group: an alternation, or its only alternative.
    fn finish(mut self) -> MeasuredNode {
        self.end_alternative();
        if self.alternatives.len() == 1 {
            self.alternatives.remove(0)
        } else {
            MeasuredNode::of(self.alternatives, RegexNode::Alternate)
        }
    }
}

pub(super) struct RegexParser<'a> {
    pub(super) rest: &'a str,
    pub(super) flags: RegexFlags,
    open: Vec<OpenGroup>,
    frame: OpenGroup,
}

impl RegexParser<'_> {
    /// Parses the rest of the pattern to its end.
    fn parse_all(mut self) -> Result<RegexNode, RegexProblem> {
        let mut repeated = false;
        while let Some(char) = self.next() {
            let after_repeat = std::mem::take(&mut repeated);
            match char {
                '(' => self.open_group()?,
                ')' => self.close_group()?,
                '|' => self.frame.end_alternative(),
                '^' => {
                    self.push(if self.flags.lines { RegexNode::Assertion("(?m:^)") } else { RegexNode::TextStart })?
                }
                '$' => self.push(if self.flags.lines { RegexNode::Assertion("(?m:$)") } else { RegexNode::TextEnd })?,
                '.' => self.push(if self.flags.newline {
                    RegexNode::AnyChar
                } else {
                    RegexNode::Class(r"[^\n]".to_owned())
                })?,
                '[' => {
                    let class = self.class()?;
                    self.push(class)?;
                }
                '*' | '+' | '?' => {
                    let (min, max) = match char {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.push_repetition(min, max, after_repeat)?;
                    repeated = true;
                }
                '{' => match self.bounds()? {
                    Some((min, max)) => {
                        self.push_repetition(min, max, after_repeat)?;
                        repeated = true;
                    }
                    None => self.literal('{')?,
                },
                '\\' => self.parse_backslash()?,
                char => self.literal(char)?,
            }
        }
        if !self.open.is_empty() {
            return Err("a group is not closed".to_owned());
        }
        Ok(self.frame.finish().node)
    }

    /// Reads one character; `None` at the end.
    pub(super) fn next(&mut self) -> Option<char> {
        let char = self.rest.chars().next()?;
        self.rest = &self.rest[char.len_utf8()..];
        Some(char)
    }

    /// Advances over `text` if it comes next; whether it did.
    pub(super) fn skip(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    fn push(&mut self, node: RegexNode) -> Result<(), RegexProblem> {
        self.push_built(MeasuredNode::leaf(node))
    }

    /// Adds a node to the alternative that is being parsed. Returns an error where it nests too deep ([`MAX_HEIGHT`]).
    fn push_built(&mut self, built: MeasuredNode) -> Result<(), RegexProblem> {
        // Two more: for the sequence and the alternation that may enclose it.
        if built.height + 2 > MAX_HEIGHT {
            return Err(format!("nests over {MAX_HEIGHT} deep"));
        }
        self.frame.sequence.push(built);
        Ok(())
    }

    /// Adds a node for one character, in any case where the flag `i` is set.
    fn literal(&mut self, char: char) -> Result<(), RegexProblem> {
        // Only characters that have a case are folded: the others can still be compared directly.
        let fold = self.flags.fold && (char.is_ascii_alphabetic() || !char.is_ascii());
        self.push(RegexNode::Literal { char, fold })
    }

    /// Parses what follows `(`: a name, flags, or nothing. A group begins, except for flags alone (`(?i)`), which hold
    /// until the end of the group around them. Returns an error for a malformed name or flag, and for more than
    /// [`MAX_OPEN_GROUPS`] open groups.
    fn open_group(&mut self) -> Result<(), RegexProblem> {
        let flags_outside = self.flags;
        if self.skip("?P<") || self.skip("?<") {
            let Some((name, rest)) = self.rest.split_once('>') else {
                return Err("the name of a group is not closed by >".to_owned());
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(format!("{name:?} is not a valid name for a group"));
            }
            self.rest = rest;
        } else if self.skip("?") && !self.flags()? {
            return Ok(());
        }
        if self.open.len() >= MAX_OPEN_GROUPS {
            return Err(format!("over {MAX_OPEN_GROUPS} nested groups"));
        }
        let inner = OpenGroup { flags_outside, ..OpenGroup::default() };
        self.open.push(std::mem::replace(&mut self.frame, inner));
        Ok(())
    }

    /// Parses the flags after `(?`; `true` if a group begins after them (`(?i:`), `false` for flags alone (`(?i)`).
    fn flags(&mut self) -> Result<bool, RegexProblem> {
        let mut flags = self.flags;
        let (mut set, mut seen) = (true, true);
        loop {
            match self.next() {
                Some('i') => flags.fold = set,
                Some('m') => flags.lines = set,
                Some('s') => flags.newline = set,
                Some('U') => {}
                Some('-') if set => {
                    (set, seen) = (false, false);
                    continue;
                }
                Some(end @ (':' | ')')) if seen => {
                    self.flags = flags;
                    return Ok(end == ':');
                }
                Some(char) => return Err(format!("no such group or flag: (?..{char}")),
                None => return Err("a group is not closed".to_owned()),
            }
            seen = true;
        }
    }

    /// Ends the group and adds its node to the group around it, whose flags hold again. Returns an error where no group
    /// is open.
    fn close_group(&mut self) -> Result<(), RegexProblem> {
        let Some(outer) = self.open.pop() else { return Err("unexpected )".to_owned()) };
        let inner = std::mem::replace(&mut self.frame, outer);
        self.flags = inner.flags_outside;
        self.push_built(inner.finish())
    }

    /// Replaces the last node of the open group with its repetition, after the operator was read; a `?` that makes it
    /// lazy is read, too. `max` is `None` where there is no limit. Returns an error where nothing is there to repeat,
    /// where `after_repeat` says that the last node is a repetition with its operator just before, and for nested
    /// counts whose product is over [`MAX_REPEAT`].
    fn push_repetition(&mut self, min: u32, max: Option<u32>, after_repeat: bool) -> Result<(), RegexProblem> {
        // Greedy and lazy repetitions match the same values.
        self.skip("?");
        if after_repeat {
            return Err("a repetition of a repetition, as in a**".to_owned());
        }
        let Some(built) = self.frame.sequence.pop() else {
            return Err("a repetition of nothing".to_owned());
        };
        // As in Go: `*`, `+` and `?` do not count, and `{0}` removes the counts of its operand.
        let counted = !matches!((min, max), (0 | 1, None) | (0, Some(1)));
        let repeats = match max {
            _ if !counted => built.repeats,
            Some(0) => 1,
            _ => built.repeats.saturating_mul(max.unwrap_or(min).max(1)),
        };
        if repeats > MAX_REPEAT {
            return Err(format!("repeats over {MAX_REPEAT} times"));
        }
        let height = built.height + 1;
        self.push_built(MeasuredNode {
            node: RegexNode::Repeat { node: Box::new(built.node), min, max },
            height,
            repeats,
        })
    }

    /// Parses `2}`, `2,}` or `2,5}`. Returns `None`, and reads nothing, for any other text: then the brace is a literal.
    fn bounds(&mut self) -> Result<Option<(u32, Option<u32>)>, RegexProblem> {
        let Some((inner, rest)) = self.rest.split_once('}') else { return Ok(None) };
        let (min, max) = inner
            .split_once(',')
            .map_or((inner, Some(inner)), |(min, max)| (min, if max.is_empty() { None } else { Some(max) }));
        let number = |digits: &str| {
            let plain = !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.len() == 1 || !digits.starts_with('0'));
            // A number that does not fit is over the limit.
            plain.then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
        };
        let Some(min) = number(min) else { return Ok(None) };
        let max = match max.map(number) {
            Some(None) => return Ok(None),
            Some(max) => max,
            None => None,
        };
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
            return Err(format!("bad repetition {{{inner}}}: at most {MAX_REPEAT}, the smaller number first"));
        }
        self.rest = rest;
        Ok(Some((min, max)))
    }

    /// Parses what follows a backslash outside of a class: an anchor, a word boundary, quoted text up to `\E` or to the
    /// end, a class such as `\d`, or an escaped character.
    fn parse_backslash(&mut self) -> Result<(), RegexProblem> {
        let start = self.rest;
        match self.next() {
            Some('A') => self.push(RegexNode::TextStart),
            Some('z') => self.push(RegexNode::TextEnd),
            Some('b') => self.push(RegexNode::Assertion(r"(?-u:\b)")),
            Some('B') => self.push(RegexNode::Assertion(r"(?-u:\B)")),
            Some('Q') => {
                let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                quoted.chars().try_for_each(|char| self.literal(char))
            }
            _ => {
                self.rest = start;
                if let Some(item) = self.class_escape()? {
                    let class = self.class_of(&item, false);
                    return self.push(class);
                }
                let code = self.escape()?;
                match char::from_u32(code) {
                    Some(char) => self.literal(char),
                    // A surrogate is a legal escape, and no value has one.
                    None => self.push(RegexNode::Class(class::EMPTY_CLASS.to_owned())),
                }
            }
        }
    }

    /// Parses an escape that means one character, of which the backslash was read, in a class or outside of one.
    pub(super) fn escape(&mut self) -> Result<u32, RegexProblem> {
        let Some(char) = self.next() else { return Err(r"a \ at the end".to_owned()) };
        let octal = |rest: &str| rest.bytes().next().is_some_and(|byte| (b'0'..=b'7').contains(&byte));
        match char {
            '0'..='7' if char == '0' || octal(self.rest) => {
                let mut code = u32::from(char) - u32::from('0');
                for _ in 0..2 {
                    if octal(self.rest) {
                        code = code * 8 + self.next().map_or(0, |digit| u32::from(digit) - u32::from('0'));
                    }
                }
                Ok(code)
            }
            'x' => self.parse_hexadecimal(),
            'a' => Ok(0x07),
            'f' => Ok(0x0c),
            'n' => Ok(0x0a),
            'r' => Ok(0x0d),
            't' => Ok(0x09),
            'v' => Ok(0x0b),
            char if char.is_ascii() && !char.is_ascii_alphanumeric() => Ok(u32::from(char)),
            char => Err(format!(r"no such escape: \{char}")),
        }
    }

    /// Parses the digits after `\x`: two, or any number in braces. Returns an error for other text, and for a number
    /// over the last code point.
    fn parse_hexadecimal(&mut self) -> Result<u32, RegexProblem> {
        let bad = || Err(r"\x needs two hexadecimal digits, or some in braces".to_owned());
        let digits = if self.skip("{") {
            let Some((digits, rest)) = self.rest.split_once('}') else { return bad() };
            self.rest = rest;
            digits
        } else {
            let Some((digits, rest)) = self.rest.split_at_checked(2) else { return bad() };
            self.rest = rest;
            digits
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return bad();
        }
        match u32::from_str_radix(digits.trim_start_matches('0'), 16) {
            Ok(code) if code <= u32::from(char::MAX) => Ok(code),
            Err(_) if digits.bytes().all(|byte| byte == b'0') => Ok(0),
            _ => Err(format!(r"\x{{{digits}}} is not a character")),
        }
    }
}
