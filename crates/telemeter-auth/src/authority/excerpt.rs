//! What the authority says in the body of a failure, fit for our log.

use telemeter_http::client::redacted;

/// So much of a body is shown, before escaping.
const MAX_BYTES: usize = 256;
/// A word of at least this many characters that is a part of a secret is taken for it.
const MIN_PART_CHARS: usize = 8;
const REDACTED: &str = "[redacted]";

/// The start of `body` on one line: control characters escaped, each secret and each longer part of one removed.
pub(super) fn excerpt(body: &[u8], secrets: &[&str]) -> String {
    // As they are, and as JSON writes them.
    let in_json: Vec<String> = secrets.iter().map(|secret| serde_json::to_string(secret).unwrap_or_default()).collect();
    let in_json = in_json.iter().filter_map(|quoted| quoted.get(1..quoted.len().saturating_sub(1)));
    let text = redacted(String::from_utf8_lossy(body).trim(), secrets.iter().copied().chain(in_json));
    let text = without_parts(&text, secrets);
    let end = text.floor_char_boundary(MAX_BYTES);
    let rest = if end < text.len() { "..." } else { "" };
    format!("{}{rest}", text[..end].escape_debug())
}

/// An authority that shortens a token shows a part of it.
fn without_parts(text: &str, secrets: &[&str]) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=' | '~');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = match is_of_word(c) {
            true => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            false => c.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        let is_part = word.len() >= MIN_PART_CHARS && secrets.iter().any(|secret| secret.contains(word));
        shown.push_str(if is_part { REDACTED } else { word });
        rest = after;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(excerpt(body.as_bytes(), &["hunter2-hunter2.x", "a\"b\\c", ""]), expected, "{body}");
    }

    #[test]
    fn one_line_without_secrets() {
        check("", "");
        check("  no such cluster\n", "no such cluster");
        check("a\r\nlevel=error\u{1b}[2J\u{202e}\0", "a\\r\\nlevel=error\\u{1b}[2J\\u{202e}\\0");
        check("{\"token\":\"hunter2-hunter2.x\"}", "{\\\"token\\\":\\\"[redacted]\\\"}");
        check("said a\"b\\c or a\\\"b\\\\c", "said [redacted] or [redacted]");
        // A part of a secret, unless it is a short word.
        check("token hunter2-hunt... x", "token [redacted]... x");
        check("the hunter is 2", "the hunter is 2");
        assert_eq!(excerpt(b"a bad edict", &["a", "edict"]), "[redacted] b[redacted]d [redacted]");
        check("caf\u{e9} \u{1f980}", "caf\u{e9} \u{1f980}");
        assert_eq!(excerpt(b"\xff\xfe", &[]), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn its_length_is_bounded_and_no_character_is_cut() {
        assert_eq!(excerpt("x".repeat(256).as_bytes(), &[]), "x".repeat(256));
        assert_eq!(excerpt("x".repeat(257).as_bytes(), &[]), format!("{}...", "x".repeat(256)));
        assert_eq!(
            excerpt(format!("x{}", "\u{e9}".repeat(200)).as_bytes(), &[]),
            format!("x{}...", "\u{e9}".repeat(127))
        );
        let straddling = format!("{}hunter2-hunter2.x", "x ".repeat(124));
        assert!(!excerpt(straddling.as_bytes(), &["hunter2-hunter2.x"]).contains("hunter2"));
    }
}
