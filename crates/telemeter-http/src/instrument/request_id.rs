//! The ID of one request, in our log and in the response.

use std::collections::hash_map::RandomState;
use std::fmt::{Display, Formatter};
use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;

const MAX_BYTES: usize = 64;

/// The ID of a request, which each request carries as an extension: the caller's own `X-Request-Id` where it is 1 to 64
/// characters of `[A-Za-z0-9._-]`, else 16 random hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; MAX_BYTES],
    len: u8,
}

impl RequestId {
    /// The ID for a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let theirs = headers.get(super::X_REQUEST_ID).map(http::HeaderValue::as_bytes);
        theirs.and_then(Self::from_header).unwrap_or_else(Self::random)
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Takes over the ID that the caller sent. `None` where it is empty, longer than [`MAX_BYTES`], or has characters
    /// other than letters, digits, `.`, `_` and `-`.
    fn from_header(theirs: &[u8]) -> Option<Self> {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if theirs.is_empty() || theirs.len() > MAX_BYTES || !theirs.iter().all(harmless) {
            return None;
        }
        let mut text = [0; MAX_BYTES];
        text[..theirs.len()].copy_from_slice(theirs);
        Some(Self { text, len: u8::try_from(theirs.len()).ok()? })
    }

    /// A keyed hash of a counter: it is unique enough, and reveals nothing.
    fn random() -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut bits = KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
        let mut text = [0; MAX_BYTES];
        for digit in &mut text[..16] {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
        Self { text, len: 16 }
    }
}

impl Display for RequestId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(theirs: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", theirs.parse().unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_harmless_id_is_kept() {
        for theirs in ["a", "Abc-1.2_3", &"x".repeat(64)] {
            assert_eq!(id(theirs).as_str(), theirs);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_random_one() {
        for theirs in ["", "a b", "a\"b", "<script>", "a=b", &"x".repeat(65)] {
            let ours = id(theirs);
            assert_ne!(ours.as_str(), theirs);
            assert_eq!(ours.as_str().len(), 16);
            assert!(ours.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
