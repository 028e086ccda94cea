//! The bearer token of a request.

use http::{HeaderMap, header};

use crate::Error;

/// The longest bearer token that is accepted, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;

/// The token of `Authorization: Bearer TOKEN`; the scheme in upper or lower case.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("authorization", http::HeaderValue::from_static("bearer abc"));
/// assert_eq!(telemeter_auth::bearer::token(&headers), Ok("abc"));
/// ```
///
/// # Errors
/// [`Error::CredentialsMissing`] without the header; [`Error::CredentialsMalformed`] where there are two, another scheme,
/// no token, a token longer than [`MAX_BYTES`], or one with anything but visible ASCII.
pub fn token(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Error::CredentialsMissing)?;
    if values.next().is_some() {
        return Err(Error::CredentialsMalformed("more than one"));
    }
    let value = value.to_str().map_err(|_| Error::CredentialsMalformed("not visible ASCII"))?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::CredentialsMalformed("not a bearer token"));
    }
    let token = token.trim_matches(' ');
    if token.is_empty() {
        return Err(Error::CredentialsMalformed("no token"));
    }
    if token.len() > MAX_BYTES {
        return Err(Error::CredentialsMalformed("too long"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::CredentialsMalformed("not one word"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn refused(value: &[u8]) {
        assert!(matches!(token(&headers(&[value])), Err(Error::CredentialsMalformed(_))));
    }

    #[test]
    fn accepts_the_scheme_in_any_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR   abc  "] {
            assert_eq!(token(&headers(&[value.as_bytes()])), Ok("abc"));
        }
    }

    #[test]
    fn no_header_is_missing_and_two_are_malformed() {
        assert_eq!(token(&HeaderMap::new()), Err(Error::CredentialsMissing));
        assert_eq!(token(&headers(&[b"Bearer a", b"Bearer a"])), Err(Error::CredentialsMalformed("more than one")));
    }

    #[test]
    fn refuses_what_is_not_one_bearer_token() {
        refused(b"");
        refused(b"Bearer");
        refused(b"Bearer ");
        refused(b"Bearer    ");
        refused(b"Bearerabc");
        refused(b"Basic abc");
        refused(b"Bearer a b");
        refused(b"Bearer a\tb");
        refused(b"Bearer\tab");
        refused(b"Bearer a, Bearer b");
        refused(b"Bearer caf\xc3\xa9");
    }

    #[test]
    fn the_longest_token_is_within_the_cap() {
        let longest = "x".repeat(MAX_BYTES);
        assert_eq!(token(&headers(&[format!("Bearer {longest}").as_bytes()])), Ok(longest.as_str()));
        refused(format!("Bearer {longest}x").as_bytes());
    }

    proptest! {
        #[test]
        fn any_header_gives_a_clean_token_or_an_error(value in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value);
                if let Ok(token) = token(&headers) {
                    prop_assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }

        #[test]
        fn what_is_sent_comes_back(sent in "[!-~]{1,80}") {
            let headers = headers(&[format!("Bearer {sent}").as_bytes()]);
            prop_assert_eq!(token(&headers), Ok(sent.as_str()));
        }
    }
}
