//! Whether a 401 calls our token invalid: the challenges of its `WWW-Authenticate`.
//!
//! Source: RFC 6750 3 and 3.1; RFC 9110 11.2, 11.3, 11.6.1 and 5.6.4.

use http::{HeaderMap, header};

/// Whether a challenge of the scheme `Bearer` has `error="invalid_token"`: the token that was sent is expired, revoked or
/// malformed.
pub(super) fn is_invalid_token(headers: &HeaderMap) -> bool {
    headers.get_all(header::WWW_AUTHENTICATE).iter().any(|value| says_invalid_token(value.as_bytes()))
}

/// One header field may hold several challenges, and commas separate both challenges and the parameters of one: a part that
/// begins with two words begins a challenge.
fn says_invalid_token(field: &[u8]) -> bool {
    let mut is_bearer = false;
    for part in parts(field) {
        let part = part.trim_ascii();
        let word_end = part.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(part.len());
        let (word, rest) = part.split_at(word_end);
        let after = rest.trim_ascii_start();
        let parameter = if after.first() == Some(&b'=') {
            part
        } else {
            is_bearer = word.eq_ignore_ascii_case(b"bearer");
            after
        };
        if is_bearer && is_error_invalid_token(parameter) {
            return true;
        }
    }
    false
}

/// Whether the parameter of a challenge is `error=invalid_token`, with or without quotes.
fn is_error_invalid_token(parameter: &[u8]) -> bool {
    let Some(equals) = parameter.iter().position(|byte| *byte == b'=') else { return false };
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    name.eq_ignore_ascii_case(b"error") && value == b"invalid_token"
}

/// Whether the byte may occur in a `token` of HTTP, such as the name of a scheme.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The parts between commas that are outside of quoted strings.
fn parts(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    field.split(move |byte| {
        let ends_part = *byte == b',' && !is_quoted;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        ends_part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_token_as_invalid_or_does_not() {
        for (field, expected) in [
            (r#"Bearer realm="example", error="invalid_token", error_description="The access token expired""#, true),
            (r#"bearer error="invalid_token""#, true),
            ("Bearer error=invalid_token", true),
            (r#"Bearer ERROR = "invalid_token""#, true),
            (r#"Basic realm="a, b", Bearer error="invalid_token""#, true),
            (r#"Bearer realm="x",error="invalid_token", Basic realm="y""#, true),
            (r#"Bearer realm="say \"hi\", ok", error="invalid_token""#, true),
            ("", false),
            ("Bearer", false),
            (r#"Bearer realm="example""#, false),
            (r#"Bearer error="invalid_request""#, false),
            (r#"Bearer error="insufficient_scope""#, false),
            (r#"Bearer error="INVALID_TOKEN""#, false),
            (r#"Bearer realm="error=invalid_token""#, false),
            (r#"Bearer realm="x, error=\"invalid_token\"""#, false),
            (r#"Bearer error_description="invalid_token""#, false),
            (r#"DPoP error="invalid_token""#, false),
            (r#"Bearer realm="x", Basic error="invalid_token""#, false),
            (r#"error="invalid_token""#, false),
        ] {
            assert_eq!(says_invalid_token(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn any_of_several_fields_may_say_it() {
        let mut headers = HeaderMap::new();
        headers.append(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic realm=x"));
        assert!(!is_invalid_token(&headers));
        let bearer = http::HeaderValue::from_static("Bearer error=\"invalid_token\"");
        headers.append(header::WWW_AUTHENTICATE, bearer);
        assert!(is_invalid_token(&headers));
    }
}
