//! A part of a file with the offset in the file of each of its characters, also after quotes and escapes were decoded.

use std::ops::Range;

/// Characters and their offsets in the file, in characters.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    chars: Vec<char>,
    /// The offset of each character, and of the end.
    offsets: Vec<usize>,
}

impl Piece {
    /// A whole file.
    pub(super) fn whole(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let offsets = (0..=chars.len()).collect();
        Self { chars, offsets }
    }

    /// A text that was decoded from `self`: `positions` are the positions of its characters in `self`, and of the end.
    pub(super) fn decoded(&self, text: &str, positions: &[usize]) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let at = |index: usize| self.offset(positions.get(index).or(positions.last()).copied().unwrap_or(0));
        let offsets = (0..=chars.len()).map(at).collect();
        Self { chars, offsets }
    }

    /// The characters in this range, as far as they exist.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.chars.len());
        let start = range.start.min(end);
        Self { chars: self.chars[start..end].to_vec(), offsets: self.offsets[start..=end].to_vec() }
    }

    /// The characters of the piece.
    pub(super) fn chars(&self) -> &[char] {
        &self.chars
    }

    /// The characters, decoded where the part was in quotes.
    pub(super) fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// The offset of a character in the file; for a position after the last character, the offset of the end.
    pub(super) fn offset(&self, position: usize) -> usize {
        self.offsets[position.min(self.chars.len())]
    }

    /// Whether the piece has no character.
    pub(super) fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// Whether the piece begins with this text.
    pub(super) fn starts_with(&self, text: &str) -> bool {
        let mut chars = self.chars.iter();
        text.chars().all(|expected| chars.next() == Some(&expected))
    }

    /// The piece without white space at both ends.
    pub(super) fn trimmed(&self) -> Self {
        let is_visible = |char: &char| !char.is_whitespace();
        let start = self.chars.iter().position(is_visible).unwrap_or(self.chars.len());
        let end = self.chars.iter().rposition(is_visible).map_or(start, |last| last + 1);
        self.part(start..end)
    }

    /// The lines, each trimmed.
    pub(super) fn lines(&self) -> Vec<Self> {
        let mut lines = Vec::new();
        let mut start = 0;
        for line in self.chars.split(|char| *char == '\n') {
            lines.push(self.part(start..start + line.len()).trimmed());
            start += line.len() + 1;
        }
        lines
    }
}
