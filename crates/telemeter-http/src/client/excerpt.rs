//! What an upstream says in the body of a failure, fit for a line of our log: short, on one line, without secrets.

use bytes::Bytes;
use http::{HeaderMap, header};

/// So many bytes of it are kept.
pub const EXCERPT_BYTES: usize = 256;

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";
/// A word with one of these in it names a secret: what is assigned to it is left out.
const SECRET_WORDS: [&str; 8] =
    ["token", "secret", "password", "passwd", "authorization", "api_key", "apikey", "credential"];
/// The schemes of an `Authorization` header: the word behind one is left out.
const SCHEMES: [&str; 2] = ["bearer", "basic"];
/// So much of a body is looked at: enough for an excerpt, even where most of it is left out.
const MAX_LOOKED_AT: usize = 16 * 1024;
/// A word of so many bytes that looks like base64 is left out: texts of people have no such words.
const OPAQUE_BYTES: usize = 40;

/// The first 256 bytes of a body, on one line. Left out are each of `secrets`, whatever stands behind `Bearer` or `Basic`,
/// what is assigned to a word like `token` or `password`, and long words that look like a token. Empty where the body is no
/// text.
#[must_use]
pub fn excerpt(headers: &HeaderMap, body: &Bytes, secrets: &[&str]) -> String {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return String::new();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_LOOKED_AT)]);
    // A page of HTML, and bytes that are no text, say nothing that a line of a log could show.
    if text.contains('\0') || text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count() > 1 {
        return String::new();
    }
    let text = redacted(&text, secrets.iter().copied().filter(|secret| secret.len() >= 4));
    let mut words = ExcerptText { out: String::new(), hides_next: false, named: false };
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        words.push(word);
        if words.out.len() > EXCERPT_BYTES {
            break;
        }
    }
    let mut out = words.out;
    out.truncate(out.floor_char_boundary(EXCERPT_BYTES));
    out
}

/// `text` with a word in the place of each of `secrets`, wherever it stands; empty ones are passed over.
///
/// What is written in the place of one secret is not looked through for the next: a secret may be a part of that word.
#[must_use]
pub fn redacted<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> String {
    // A character of private use stands for what was found until all are.
    const FOUND: &str = "\u{f8ff}";
    let mut text = text.replace(FOUND, "");
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, FOUND);
    }
    text.replace(FOUND, REDACTED)
}

/// Words on one line, as far as they may be shown.
struct ExcerptText {
    out: String,
    /// Whether the last word says that the next one is a secret.
    hides_next: bool,
    /// Whether the last word names a secret: an `=` or `:` may follow.
    named: bool,
}

impl ExcerptText {
    fn push(&mut self, word: &str) {
        if !self.out.is_empty() {
            self.out.push(' ');
        }
        let hidden = std::mem::take(&mut self.hides_next);
        let mut named = std::mem::take(&mut self.named);
        if hidden && matches!(word, "=" | ":" | "=>") {
            self.out.push_str(word);
            self.hides_next = true;
            return;
        }
        let lower = word.to_ascii_lowercase();
        let bare = |text: &str| text.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
        if SCHEMES.contains(&bare(&lower).as_str()) {
            // `Bearer TOKEN`, also behind `Authorization:`.
            self.out.push_str(word);
            self.hides_next = true;
            return;
        }
        if hidden {
            self.out.push_str(REDACTED);
            return;
        }
        // `a=b&token=c`, `{"token":"c"}`: piece by piece.
        let mut rest = word;
        let mut secret = false;
        while !rest.is_empty() {
            let end = rest.find(['=', ':', '&', ',', ';', '{', '}', '(', ')', '[', ']', '<', '>', '?', '/']);
            let (piece, mark) = match end {
                Some(at) => (&rest[..at], rest[at..].chars().next()),
                None => (rest, None),
            };
            rest = &rest[piece.len() + mark.map_or(0, char::len_utf8)..];
            let is_value = std::mem::take(&mut secret);
            let trimmed = piece.trim_matches(['"', '\'']);
            if !trimmed.is_empty() && (is_value || is_opaque(trimmed)) && trimmed != REDACTED {
                self.out.push_str(&piece.replace(trimmed, REDACTED));
            } else {
                self.out.push_str(piece);
            }
            let names_a_secret = SECRET_WORDS.iter().any(|word| piece.to_ascii_lowercase().contains(word));
            let was_named = std::mem::take(&mut named) && piece.is_empty();
            match mark {
                Some(mark) => {
                    self.out.push(mark);
                    // Of what was left out already, the brackets are no value of their own.
                    secret = matches!(mark, '=' | ':') && (names_a_secret || was_named || is_value && piece.is_empty());
                }
                None => self.named = names_a_secret,
            }
        }
        // `token: c`: the value is the next word.
        self.hides_next = secret;
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

    fn of(body: &str, secrets: &[&str]) -> String {
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
            assert_eq!(of(body, &[]), shown, "{body:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(excerpt(&headers, &Bytes::from_static(b"text"), &[]), "");
    }

    #[test]
    fn it_is_cut_between_two_characters() {
        let shown = of(&"ä".repeat(500), &[]);
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
            let shown = of(body, &[]);
            assert!(!shown.contains("hunter2") && shown.contains(REDACTED), "{body}: {shown}");
        }
        assert_eq!(of("what is s3cr3t here", &["s3cr3t"]), "what is [redacted] here");
        assert_eq!(
            of(r#"{"tenant":"a","token":"hunter2","b":1}"#, &[]),
            r#"{"tenant":"a","token":"[redacted]","b":1}"#
        );
    }

    #[test]
    fn a_secret_that_is_a_part_of_the_word_for_secrets() {
        assert_eq!(redacted("a bad edict", ["a", "", "edict"]), "[redacted] b[redacted]d [redacted]");
        assert_eq!(of("an edict, redacted", &["edict", "redacted"]), "an [redacted], [redacted]");
    }

    #[test]
    fn a_secret_behind_much_that_was_left_out_is_left_out_too() {
        let body = format!("{} {}", "Bearer hunter2 ".repeat(1000), "token=hunter2");
        assert!(!of(&body, &[]).contains("hunter2"));
    }
}
