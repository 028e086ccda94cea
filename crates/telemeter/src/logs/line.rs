//! One log line: keys and values in logfmt or JSON, always on one line of text.

use std::fmt::{Display, Write as _};

use telemeter_http::human::must_escape;

use super::LogFormat;

/// A line that is being written.
pub(super) struct LineWriter {
    format: LogFormat,
    text: String,
}

impl LineWriter {
    /// Starts a line.
    pub(super) fn new(format: LogFormat) -> Self {
        let mut line = Self::rest(format);
        if format == LogFormat::Json {
            line.text.push('{');
        }
        line
    }

    /// Starts the second part of a line, which [`LineWriter::finish`] appends.
    pub(super) fn rest(format: LogFormat) -> Self {
        Self { format, text: String::new() }
    }

    /// Adds a text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.write_key(key);
        match self.format {
            LogFormat::Logfmt | LogFormat::Text if !value.is_empty() && !value.contains(needs_quotes) => {
                self.text.push_str(value)
            }
            LogFormat::Logfmt | LogFormat::Text | LogFormat::Json => quote(&mut self.text, value),
        }
    }

    /// Adds a number or a boolean, which needs no quotes.
    pub(super) fn bare(&mut self, key: &str, value: impl Display) {
        self.write_key(key);
        let _ = write!(self.text, "{value}");
    }

    /// The whole line, with its newline.
    pub(super) fn finish(mut self, rest: Self) -> String {
        if !rest.text.is_empty() {
            self.write_separator();
            self.text.push_str(&rest.text);
        }
        self.text.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        self.text
    }

    /// Writes a separator, unless this is the first key, then the key and `=` or `:`. In logfmt, `_` replaces each
    /// character of the key that needs quotes.
    fn write_key(&mut self, key: &str) {
        // A field whose name is a keyword of Rust: `r#type`.
        let key = key.strip_prefix("r#").unwrap_or(key);
        self.write_separator();
        match self.format {
            LogFormat::Logfmt | LogFormat::Text => {
                self.text.extend(key.chars().map(|c| if needs_quotes(c) { '_' } else { c }));
                self.text.push('=');
            }
            LogFormat::Json => {
                quote(&mut self.text, key);
                self.text.push(':');
            }
        }
    }

    /// Writes a comma or a blank, unless nothing is written yet.
    fn write_separator(&mut self) {
        if !self.text.is_empty() && self.text != "{" {
            self.text.push(if self.format == LogFormat::Json { ',' } else { ' ' });
        }
    }
}

/// Whether a logfmt value with this character has to be in quotes.
fn needs_quotes(c: char) -> bool {
    matches!(c, '=' | '"' | '\\') || c.is_whitespace() || must_escape(c)
}

/// A JSON string; logfmt's quoted values are the same.
fn quote(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if must_escape(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_on_their_line() {
        fn check(value: &str, expected: &str) {
            let mut line = LineWriter::new(LogFormat::Logfmt);
            line.text("k", value);
            assert_eq!(line.finish(LineWriter::rest(LogFormat::Logfmt)), format!("k={expected}\n"));
            let mut line = LineWriter::new(LogFormat::Json);
            line.text("k", value);
            let text = line.finish(LineWriter::rest(LogFormat::Json));
            assert_eq!(text.matches('\n').count(), 1);
            let object: serde_json::Value = serde_json::from_str(&text).expect("a log line is JSON");
            assert_eq!(object["k"], value);
        }
        check("plain", "plain");
        check("", r#""""#);
        check("two words", r#""two words""#);
        check("a=b", r#""a=b""#);
        check(r#"say "hi" \o/"#, r#""say \"hi\" \\o/""#);
        check("two\nlines\r\n", r#""two\nlines\r\n""#);
        check("\u{1b}[31mred\u{0}\u{7f}", r#""\u001b[31mred\u0000\u007f""#);
        check("a\u{2028}b\u{202e}c\u{85}d", r#""a\u2028b\u202ec\u0085d""#);
        check("a\u{200b}b\u{feff}c", r#""a\u200bb\ufeffc""#);
        check("münchen/żółw", "münchen/żółw");
    }

    #[test]
    fn a_key_is_one_word() {
        let mut line = LineWriter::new(LogFormat::Logfmt);
        line.bare("r#type", 1);
        line.bare("a b=c", true);
        assert_eq!(line.finish(LineWriter::rest(LogFormat::Logfmt)), "type=1 a_b_c=true\n");
    }
}
