//! One log line: keys and values in logfmt or JSON, always on one line of text.

use std::fmt::{Display, Write as _};

use super::LogFormat;

/// A line under way.
pub(super) struct LineWriter {
    format: LogFormat,
    text: String,
}

impl LineWriter {
    /// The beginning of a line.
    pub(super) fn new(format: LogFormat) -> Self {
        let mut line = Self::rest(format);
        if format == LogFormat::Json {
            line.text.push('{');
        }
        line
    }

    /// A part of a line that [`LineWriter::finish`] puts at the end.
    pub(super) fn rest(format: LogFormat) -> Self {
        Self { format, text: String::new() }
    }

    /// Adds a text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        match self.format {
            LogFormat::Logfmt | LogFormat::Text if !value.is_empty() && !value.contains(needs_quotes) => {
                self.text.push_str(value)
            }
            LogFormat::Logfmt | LogFormat::Text | LogFormat::Json => quote(&mut self.text, value),
        }
    }

    /// Adds a number or a boolean, which needs no quotes.
    pub(super) fn bare(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    /// The whole line, with its newline.
    pub(super) fn finish(mut self, rest: Self) -> String {
        if !rest.text.is_empty() {
            self.separate();
            self.text.push_str(&rest.text);
        }
        self.text.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        self.text
    }

    fn key(&mut self, key: &str) {
        // A field that is named after a word of Rust.
        let key = key.strip_prefix("r#").unwrap_or(key);
        self.separate();
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

    fn separate(&mut self) {
        if !self.text.is_empty() && self.text != "{" {
            self.text.push(if self.format == LogFormat::Json { ',' } else { ' ' });
        }
    }
}

fn needs_quotes(c: char) -> bool {
    matches!(c, '=' | '"' | '\\') || c.is_whitespace() || must_escape(c)
}

/// What would break a line, play with the terminal that shows it, or make two texts look alike.
pub(crate) fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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

/// `2026-11-22T08:12:08.123Z`.
pub(crate) fn timestamp(unix_ms: i64) -> String {
    let (days, ms) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    // Days since 0000-03-01, in eras of 400 years; years begin in March, so that the leap day is the last.
    let since = days + 719_468;
    let (era, day) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_795_335_128_123, "2026-11-22T08:12:08.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(unix_ms), expected);
        }
    }

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
    fn keys_are_words() {
        let mut line = LineWriter::new(LogFormat::Logfmt);
        line.bare("r#type", 1);
        line.bare("a b=c", true);
        assert_eq!(line.finish(LineWriter::rest(LogFormat::Logfmt)), "type=1 a_b_c=true\n");
    }
}
