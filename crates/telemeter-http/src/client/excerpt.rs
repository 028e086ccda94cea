//! A short excerpt of the body of an error response, for one log line: without line breaks and without secrets.

use bytes::Bytes;
use http::{HeaderMap, header};

/// The longest excerpt, in bytes.
pub(super) const EXCERPT_BYTES: usize = 256;

/// The text that replaces a secret.
const REDACTED: &str = "[redacted]";
/// A word that contains one of these is the name of a secret: the value assigned to it is redacted.
const SECRET_NAMES: [&str; 8] =
    ["token", "secret", "password", "passwd", "authorization", "api_key", "apikey", "credential"];
/// The schemes of an `Authorization` header: the word after one is redacted.
const SCHEMES: [&str; 2] = ["bearer", "basic"];
/// The part of a body that is read, which is enough for an excerpt, even where most of it is redacted.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// A word of at least this many bytes that looks like base64 is redacted: prose has no such words.
const OPAQUE_BYTES: usize = 40;
/// A word of at least this many bytes that is part of a secret is redacted, since a server may shorten a token in its
/// message.
const MIN_PART_BYTES: usize = 8;

/// The first 256 bytes of a body, on one line; empty where the body is compressed or not text.
///
/// These are redacted: each of `secrets`, also as JSON escapes it, and longer parts of one; any word after `Bearer` or
/// `Basic`; any value assigned to a name like `token` or `password`; and long words that look like a token. Invisible
/// characters are escaped.
#[must_use]
pub fn excerpt(headers: &HeaderMap, body: &Bytes, secrets: &[&str]) -> String {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return String::new();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_BODY_BYTES)]);
    if text.contains('\0') || text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count() > 1 {
        return String::new();
    }
    let in_json: Vec<String> = secrets.iter().map(|secret| json_escaped(secret)).collect();
    let text = redacted(&text, secrets.iter().copied().chain(in_json.iter().map(String::as_str)));
    let text = redact_longer_parts(&text, secrets);
    let mut line = ExcerptLine { out: String::new(), is_next_secret: false, is_secret_name: false };
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        line.push_word(word);
        if line.out.len() > EXCERPT_BYTES {
            break;
        }
    }
    visible(&line.out)
}

/// `text` with `[redacted]` in place of each of `secrets`; empty secrets are ignored.
///
/// A secret may be part of the word `redacted`. So each occurrence is first replaced by one character of the private
/// use area, and those characters by the word at the end: with the secrets `a` and `edict`, `an edict` becomes
/// `[redacted]n [redacted]`.
#[must_use]
pub fn redacted<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> String {
    const PLACEHOLDER: &str = "\u{f8ff}";
    let mut text = text.replace(PLACEHOLDER, "");
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, PLACEHOLDER);
    }
    text.replace(PLACEHOLDER, REDACTED)
}

/// A secret as it is written inside a JSON string, without the quotes.
fn json_escaped(secret: &str) -> String {
    let mut escaped = String::with_capacity(secret.len());
    for c in secret.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Redacts words that are a longer part of a secret.
fn redact_longer_parts(text: &str, secrets: &[&str]) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=' | '~');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = match is_of_word(c) {
            true => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            false => c.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        // The word inside `[redacted]` may be part of a secret, too, and stays.
        let is_part = word.len() >= MIN_PART_BYTES
            && !REDACTED.contains(word)
            && secrets.iter().any(|secret| secret.contains(word));
        out.push_str(if is_part { REDACTED } else { word });
        rest = after;
    }
    out
}

/// The first [`EXCERPT_BYTES`] of `text`, with characters escaped that are invisible or that reorder text.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(EXCERPT_BYTES));
    for c in text.chars() {
        let before = out.len();
        match c {
            '"' | '\'' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
        if out.len() > EXCERPT_BYTES {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Words joined by single spaces; a word is redacted where the words before it announce a secret.
struct ExcerptLine {
    out: String,
    /// Whether the last word announces that the next one is a secret.
    is_next_secret: bool,
    /// Whether the last word is the name of a secret, so that a `=` or `:` may follow before its value.
    is_secret_name: bool,
}

impl ExcerptLine {
    /// Appends a word, and redacts its secrets: all of a word that follows `Bearer` or the name of a secret, values of
    /// secret names in `a=b&token=c`, and pieces that look like tokens. Updates both flags for the word after it.
    fn push_word(&mut self, word: &str) {
        if !self.out.is_empty() {
            self.out.push(' ');
        }
        let is_secret_word = std::mem::take(&mut self.is_next_secret);
        let mut is_after_name = std::mem::take(&mut self.is_secret_name);
        if is_secret_word && matches!(word, "=" | ":" | "=>") {
            self.out.push_str(word);
            self.is_next_secret = true;
            return;
        }
        let lower = word.to_ascii_lowercase();
        if SCHEMES.contains(&lower.trim_matches(|c: char| !c.is_ascii_alphanumeric())) {
            // This is `Bearer TOKEN`, also after `Authorization:`.
            self.out.push_str(word);
            self.is_next_secret = true;
            return;
        }
        if is_secret_word {
            self.out.push_str(REDACTED);
            return;
        }
        // Words such as `a=b&token=c` and `{"token":"c"}` are split into pieces, each with the character that ends it.
        let mut rest = word;
        let mut is_next_value_secret = false;
        while !rest.is_empty() {
            let end = rest.find(['=', ':', '&', ',', ';', '{', '}', '(', ')', '[', ']', '<', '>', '?', '/']);
            let (piece, mark) = match end {
                Some(at) => (&rest[..at], rest[at..].chars().next()),
                None => (rest, None),
            };
            rest = &rest[piece.len() + mark.map_or(0, char::len_utf8)..];
            let is_secret_value = std::mem::take(&mut is_next_value_secret);
            let trimmed = piece.trim_matches(['"', '\'']);
            if !trimmed.is_empty() && (is_secret_value || is_opaque(trimmed)) && trimmed != REDACTED {
                self.out.push_str(&piece.replace(trimmed, REDACTED));
            } else {
                self.out.push_str(piece);
            }
            let names_a_secret = SECRET_NAMES.iter().any(|name| piece.to_ascii_lowercase().contains(name));
            let is_mark_after_name = std::mem::take(&mut is_after_name) && piece.is_empty();
            match mark {
                Some(mark) => {
                    self.out.push(mark);
                    // After `token==` or `token=:` the value is in the next piece.
                    is_next_value_secret = matches!(mark, '=' | ':')
                        && (names_a_secret || is_mark_after_name || is_secret_value && piece.is_empty());
                }
                None => self.is_secret_name = names_a_secret,
            }
        }
        // In `token: c` the value is the next word.
        self.is_next_secret = is_next_value_secret;
    }
}

fn is_opaque(word: &str) -> bool {
    word.len() >= OPAQUE_BYTES
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'~'))
        && word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn excerpt_of(body: &str, secrets: &[&str]) -> String {
        excerpt(&HeaderMap::new(), &Bytes::copy_from_slice(body.as_bytes()), secrets)
    }

    #[test]
    fn a_short_text_is_shown_on_one_line() {
        for (body, shown) in [
            ("remote write receiver needs to be enabled\n", "remote write receiver needs to be enabled"),
            ("two\r\n  lines\u{1b}[31m", "two lines [31m"),
            ("", ""),
            (
                r#"{"status":"error","error":"out of order sample"}"#,
                r#"{"status":"error","error":"out of order sample"}"#,
            ),
            ("the token is not known", "the token is not known"),
            ("store gateway: no tenant", "store gateway: no tenant"),
            ("\u{0}\u{1}binary", ""),
        ] {
            assert_eq!(excerpt_of(body, &[]), shown, "{body:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(excerpt(&headers, &Bytes::from_static(b"text"), &[]), "");
    }

    #[test]
    fn it_is_cut_between_two_characters() {
        let shown = excerpt_of(&"ä".repeat(500), &[]);
        assert_eq!((shown.len(), shown.chars().count()), (256, 128));
    }

    #[test]
    fn no_secret_is_shown() {
        let long = "hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        for body in [
            "Bearer hunter2",
            "bad Authorization: Bearer hunter2 given",
            "bad Authorization: hunter2",
            "token=hunter2&x=1",
            "x=1&access_token=hunter2",
            "token = hunter2",
            "token : hunter2 and more",
            r#"{"token":"hunter2"}"#,
            r#"{"token": "hunter2"}"#,
            r#"{"authorization_token":"hunter2","cluster_id":"c1"}"#,
            "client_secret: hunter2",
            "https://user/?password=hunter2",
            "Basic hunter2",
            "given \"Bearer hunter2\"",
            long,
            &format!("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{long} is not valid"),
        ] {
            let shown = excerpt_of(body, &[]);
            assert!(!shown.contains("hunter2") && shown.contains(REDACTED), "{body}: {shown}");
        }
        assert_eq!(excerpt_of("what is s3cr3t here", &["s3cr3t"]), "what is [redacted] here");
        assert_eq!(
            excerpt_of(r#"{"tenant":"a","token":"hunter2","b":1}"#, &[]),
            r#"{"tenant":"a","token":"[redacted]","b":1}"#
        );
    }

    #[test]
    fn a_secret_may_be_a_part_of_the_word_redacted() {
        assert_eq!(redacted("a bad edict", ["a", "", "edict"]), "[redacted] b[redacted]d [redacted]");
        assert_eq!(excerpt_of("an edict, redacted", &["edict", "redacted"]), "an [redacted], [redacted]");
    }

    #[test]
    fn a_secret_after_many_others_is_redacted_too() {
        let body = format!("{} {}", "Bearer hunter2 ".repeat(1000), "token=hunter2");
        assert!(!excerpt_of(&body, &[]).contains("hunter2"));
    }

    #[test]
    fn a_longer_part_of_a_secret_and_its_json_form_are_redacted() {
        let secrets = ["hunter2-hunter2.x", "a\"b\\c", ""];
        for (body, shown) in [
            ("token hunter2-hunt... x", "token [redacted]... x"),
            ("the hunter is 2", "the hunter is 2"),
            (r#"said a"b\c or a\"b\\c"#, "said [redacted] or [redacted]"),
            ("{\"is\":\"hunter2-hunter2.x\"}", "{\"is\":\"[redacted]\"}"),
        ] {
            assert_eq!(excerpt_of(body, &secrets), shown, "{body}");
        }
        let at_the_end = format!("{}hunter2-hunter2.x", "x ".repeat(124));
        assert!(!excerpt_of(&at_the_end, &secrets).contains("hunter2"));
    }

    #[test]
    fn invisible_characters_are_escaped_and_no_escape_is_cut() {
        assert_eq!(excerpt_of("a\u{202e}b \u{e9} \u{1f980}", &[]), "a\\u{202e}b \u{e9} \u{1f980}");
        assert_eq!(excerpt_of(&"x".repeat(257), &[]), "x".repeat(256));
        assert_eq!(excerpt_of(&format!("{}\u{202e}", "x".repeat(250)), &[]), "x".repeat(250));
    }
}
