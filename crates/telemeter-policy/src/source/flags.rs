//! Parses the values of `--match` and `--whitelist` in a shell command, a script, or copied arguments of a manifest.

use super::{SourceParts, piece::Piece};

const FLAGS: [&str; 2] = ["--match", "--whitelist"];

/// Whether a line has one of these flags as a word, or at the beginning of a word in quotes.
pub(super) fn has_flag(line: &str) -> bool {
    let begins = |before: &str| {
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before);
        before.is_empty() || before.ends_with([' ', '\t', '[', ','])
    };
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['=', ' ', '\t', '"', '\'', '\\']);
    FLAGS
        .iter()
        .any(|flag| line.match_indices(flag).any(|(at, _)| begins(&line[..at]) && ends(&line[at + flag.len()..])))
}

/// The value of `--match=VALUE` or `--whitelist=VALUE`; `None` for other words.
pub(super) fn value_of(piece: &Piece) -> Option<Piece> {
    let flag = FLAGS.iter().find(|flag| piece.starts_with(&format!("{flag}=")))?;
    Some(piece.part(flag.len() + 1..piece.chars().len()))
}

/// Whether the word is one of these flags alone, so that the next word is its value.
pub(super) fn is_bare_flag(piece: &Piece) -> bool {
    FLAGS.contains(&piece.text().as_str())
}

/// Parses all values of these flags; other words are skipped.
pub(super) fn read(piece: &Piece, found: &mut SourceParts) {
    let mut words = ShellWords { piece, at: 0 };
    while let Some(word) = words.next_word() {
        if let Some(value) = value_of(&word) {
            found.rule(&value);
        } else if is_bare_flag(&word) {
            match words.next_word() {
                Some(value) => found.rule(&value),
                None => found.faults.push((word.offset(0), format!("{} without a selector behind it", word.text()))),
            }
        }
    }
}

/// Splits a text into words as a shell does, with one exception: a selector without quotes around it is taken literally, up
/// to the first blank outside of its braces, because outside of a shell its own quotes are not removed.
struct ShellWords<'p> {
    piece: &'p Piece,
    at: usize,
}

impl ShellWords<'_> {
    /// The next word, without its quotes; `None` at the end. Comments and the line breaks behind a backslash are
    /// skipped. A quote or brace that is not closed ends with the text, braces also with their line.
    fn next_word(&mut self) -> Option<Piece> {
        let chars = self.piece.chars();
        loop {
            while chars.get(self.at).is_some_and(|char| char.is_whitespace()) {
                self.at += 1;
            }
            match chars.get(self.at)? {
                '#' => self.at = position(chars, self.at, '\n'),
                '\\' if ends_line(chars, self.at + 1) => self.at = position(chars, self.at, '\n'),
                _ => break,
            }
        }
        let (mut text, mut positions) = (String::new(), Vec::new());
        let mut braces = 0_usize;
        let mut quoted_by: Option<char> = None;
        while let Some(&char) = chars.get(self.at) {
            let mut push = |char, at| {
                text.push(char);
                positions.push(at);
            };
            // Inside of braces, all characters up to the end of the line belong to the selector.
            if braces > 0 {
                match char {
                    '\n' => break,
                    '\\' if quoted_by.is_none() && ends_line(chars, self.at + 1) => break,
                    '\\' if quoted_by.is_some_and(|quote| quote != '`') => {
                        push(char, self.at);
                        self.at += 1;
                        if let Some(&next) = chars.get(self.at).filter(|next| **next != '\n') {
                            push(next, self.at);
                            self.at += 1;
                        }
                        continue;
                    }
                    '"' | '\'' | '`' => match quoted_by {
                        Some(quote) if quote == char => quoted_by = None,
                        Some(_) => {}
                        None => quoted_by = Some(char),
                    },
                    '{' if quoted_by.is_none() => braces += 1,
                    '}' if quoted_by.is_none() => braces -= 1,
                    _ => {}
                }
                push(char, self.at);
                self.at += 1;
                continue;
            }
            match char {
                char if char.is_whitespace() => break,
                '\\' if ends_line(chars, self.at + 1) => break,
                '\'' => {
                    let end = position(chars, self.at + 1, '\'');
                    (self.at + 1..end).for_each(|at| push(chars[at], at));
                    self.at = end + 1;
                }
                '"' => {
                    let mut at = self.at + 1;
                    while let Some(&inner) = chars.get(at).filter(|inner| **inner != '"') {
                        let escaped = chars.get(at + 1).filter(|next| inner == '\\' && "\"\\$`".contains(**next));
                        push(escaped.copied().unwrap_or(inner), at);
                        at += if escaped.is_some() { 2 } else { 1 };
                    }
                    self.at = at + 1;
                }
                char => {
                    braces += usize::from(char == '{');
                    push(char, self.at);
                    self.at += 1;
                }
            }
        }
        self.at = self.at.min(chars.len());
        // The end of the word is before its closing quote.
        positions.push(positions.last().map_or(self.at, |last| last + 1));
        Some(self.piece.decoded(&text, &positions))
    }
}

/// The next position of `expected`; the end where there is none.
fn position(chars: &[char], from: usize, expected: char) -> usize {
    let from = from.min(chars.len());
    chars[from..].iter().position(|char| *char == expected).map_or(chars.len(), |at| from + at)
}

/// Whether the text or the line ends at this position.
fn ends_line(chars: &[char], at: usize) -> bool {
    matches!(chars.get(at..), None | Some([] | ['\n', ..] | ['\r', '\n', ..]))
}
