//! Go's regular expressions, translated for the `regex` crate.
//!
//! Rules are written for Prometheus, whose expressions are those of Go: RE2's syntax with Perl's classes. The `regex`
//! crate reads nearly the same syntax, and means something else in places: `\d` is Unicode there, `[a&&b]` an
//! intersection, `\<` a word boundary, `a**` legal, `\Q..\E` unknown. So this module parses an expression as Go does, and
//! writes it in a form that has only one meaning.
//!
//! Source: <https://pkg.go.dev/regexp/syntax>.

mod literals;
mod node;
mod parse;
#[cfg(test)]
mod tests;

use regex::{Regex, RegexBuilder};

use crate::error::{Error, excerpt};
pub(crate) use literals::Shape;
use node::RegexNode;

/// The largest compiled program, in bytes; an expression that needs a larger one is an error.
pub const MAX_PROGRAM_BYTES: usize = 8 << 20;

/// The most memory for the lazily built automaton of one expression, in bytes.
const MAX_AUTOMATON_BYTES: usize = 2 << 20;

/// Compiles `expression` as Prometheus does: the whole value has to match, and `.` matches a newline.
///
/// # Errors
/// [`Error::Regex`] for what Go's parser refuses, and for an expression over [`MAX_PROGRAM_BYTES`].
pub fn compile(expression: &str) -> Result<Regex, Error> {
    Pattern::parse(expression)?.compile(expression)
}

/// A parsed expression, without the anchors that always hold.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    node: RegexNode,
}

impl Pattern {
    pub(crate) fn parse(expression: &str) -> Result<Self, Error> {
        match parse::parse(expression) {
            Ok(mut node) => {
                node.trim_anchors();
                Ok(Self { node })
            }
            Err(problem) => Err(Error::Regex { expression: excerpt(expression), problem }),
        }
    }

    /// The form of the values that match.
    pub(crate) fn shape(&self) -> Shape {
        literals::shape(&self.node)
    }

    /// The expression in the syntax of the `regex` crate, without anchors, such that it can be put into a group.
    pub(crate) fn source(&self) -> String {
        let mut out = String::new();
        self.node.write(&mut out);
        out
    }

    /// Compiles the whole-value match; `expression` is the text for the error.
    pub(crate) fn compile(&self, expression: &str) -> Result<Regex, Error> {
        anchored(&self.source(), MAX_PROGRAM_BYTES, MAX_AUTOMATON_BYTES)
            .map_err(|error| Error::Regex { expression: excerpt(expression), problem: problem(&error) })
    }
}

/// Compiles the whole-value match of a [`Pattern::source`], within these limits.
pub(crate) fn anchored(source: &str, program_bytes: usize, automaton_bytes: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?s:{source})$"))
        .size_limit(program_bytes)
        .dfa_size_limit(automaton_bytes)
        .nest_limit(4 * parse::MAX_HEIGHT)
        .build()
}

fn problem(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("too big: its program would take over {limit} bytes"),
        // The message quotes our translation first, which is not the text that was typed; its last line has the error.
        other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}
