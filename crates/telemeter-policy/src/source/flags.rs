//! `--match` and `--whitelist`, as typed in a shell, as in a script, or as the arguments of a manifest, copied out.

use super::{SourceParts, piece::Piece};

const FLAGS: [&str; 2] = ["--match", "--whitelist"];

/// Whether a line has one of our flags as a word, or as the beginning of a word in quotes.
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

/// The flag and its value, where `text` is one of ours with its value.
pub(super) fn value_of(piece: &Piece) -> Option<Piece> {
    let flag = FLAGS.iter().find(|flag| piece.starts_with(&format!("{flag}=")))?;
    Some(piece.part(flag.len() + 1..piece.chars().len()))
}

/// Whether this is one of our flags, whose value stands behind it.
pub(super) fn is_bare_flag(piece: &Piece) -> bool {
    FLAGS.contains(&piece.text().as_str())
}

/// Reads all values of our flags; other words are passed over.
pub(super) fn read(piece: &Piece, found: &mut SourceParts) {
    let mut words = ShellWords { piece, at: 0 };
    while let Some(word) = words.next() {
        if let Some(value) = value_of(&word) {
            found.rule(&value);
        } else if is_bare_flag(&word) {
            match words.next() {
                Some(value) => found.rule(&value),
                None => found.faults.push((word.offset(0), format!("{} without a selector behind it", word.text()))),
            }
        }
    }
}

/// Words as a shell has them, but for one thing: a selector that is not in quotes is taken to the letter, up to the first
/// blank that is outside of its braces. Without a shell there is nobody to take its own quotes away.
struct ShellWords<'p> {
    piece: &'p Piece,
    at: usize,
}

impl ShellWords<'_> {
    fn next(&mut self) -> Option<Piece> {
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
            // Inside of braces everything is the selector's own, up to the end of the line.
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
        // What is missing at the end is missing in front of the quote.
        positions.push(positions.last().map_or(self.at, |last| last + 1));
        Some(self.piece.decoded(&text, &positions))
    }
}

/// Where this character comes next; the end where it does not.
fn position(chars: &[char], from: usize, wanted: char) -> usize {
    let from = from.min(chars.len());
    chars[from..].iter().position(|char| *char == wanted).map_or(chars.len(), |at| from + at)
}

fn ends_line(chars: &[char], at: usize) -> bool {
    matches!(chars.get(at..), None | Some([] | ['\n', ..] | ['\r', '\n', ..]))
}
