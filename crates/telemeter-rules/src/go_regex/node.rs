//! The syntax tree of a regular expression, and how it is written in the syntax of the `regex` crate.

use std::fmt::Write as _;

/// A node of the tree. Flags are resolved; captures and lazy repetitions are not kept, since neither changes whether a
/// whole value matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegexNode {
    /// The empty string.
    Empty,
    /// One character, in any case where `fold` is set.
    Literal { char: char, fold: bool },
    /// A character class, in the syntax of the `regex` crate.
    Class(String),
    /// Any character, newline included.
    AnyChar,
    /// The beginning of the value.
    TextStart,
    /// The end of the value.
    TextEnd,
    /// Another empty-width assertion, in the syntax of the `regex` crate.
    Assertion(&'static str),
    /// These nodes in sequence.
    Concat(Vec<RegexNode>),
    /// Any one of these nodes.
    Alternate(Vec<RegexNode>),
    /// The node, from `min` to `max` times; without a limit where `max` is `None`.
    Repeat { node: Box<RegexNode>, min: u32, max: Option<u32> },
}

impl RegexNode {
    /// Whether this is `.*` (`at_least` 0) or `.+` (`at_least` 1).
    pub(crate) fn is_any(&self, at_least: u32) -> bool {
        matches!(self, Self::Repeat { node, min, max: None } if *min == at_least && **node == Self::AnyChar)
    }

    /// Removes the anchors at the start and the end, which always hold because the whole value has to match.
    pub(crate) fn trim_anchors(&mut self) {
        self.trim_side(true);
        self.trim_side(false);
    }

    /// Removes the anchors at one end: those at the start with `front`, else those at the end. A node that was only
    /// anchors becomes [`RegexNode::Empty`]. Repetitions are not searched, since their anchors may be inside the value.
    fn trim_side(&mut self, front: bool) {
        match self {
            Self::TextStart if front => *self = Self::Empty,
            Self::TextEnd if !front => *self = Self::Empty,
            Self::Alternate(nodes) => nodes.iter_mut().for_each(|node| node.trim_side(front)),
            Self::Concat(nodes) => {
                while let Some(node) = if front { nodes.first_mut() } else { nodes.last_mut() } {
                    node.trim_side(front);
                    if *node != Self::Empty {
                        break;
                    }
                    if front {
                        nodes.remove(0);
                    } else {
                        nodes.pop();
                    }
                }
                if nodes.len() <= 1 {
                    *self = nodes.pop().unwrap_or(Self::Empty);
                }
            }
            _ => {}
        }
    }

    /// Appends the expression in the syntax of the `regex` crate.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Empty => {}
            Self::Literal { char, fold: false } => out.push_str(&regex::escape(char.encode_utf8(&mut [0; 4]))),
            Self::Literal { char, fold: true } => {
                out.push_str("(?i:");
                out.push_str(&regex::escape(char.encode_utf8(&mut [0; 4])));
                out.push(')');
            }
            Self::Class(text) => out.push_str(text),
            Self::AnyChar => out.push_str("(?s:.)"),
            Self::TextStart => out.push_str(r"\A"),
            Self::TextEnd => out.push_str(r"\z"),
            Self::Assertion(text) => out.push_str(text),
            Self::Concat(nodes) => {
                for node in nodes {
                    if matches!(node, Self::Alternate(_)) { node.write_group(out) } else { node.write(out) }
                }
            }
            Self::Alternate(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        out.push('|');
                    }
                    node.write(out);
                }
            }
            Self::Repeat { node, min, max } => {
                node.write_group(out);
                // Writing to a `String` does not fail.
                let _ = match (min, max) {
                    (0, None) => out.write_char('*'),
                    (1, None) => out.write_char('+'),
                    (0, Some(1)) => out.write_char('?'),
                    (min, None) => write!(out, "{{{min},}}"),
                    (min, Some(max)) => write!(out, "{{{min},{max}}}"),
                };
            }
        }
    }

    fn write_group(&self, out: &mut String) {
        out.push_str("(?:");
        self.write(out);
        out.push(')');
    }
}
