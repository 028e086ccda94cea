//! The JSON that `/authorize` answers: the server writes it, the client reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Secret;

/// The only version of the format.
pub const VERSION: u32 = 1;

/// An access token of ours, and the labels that uploads with it must carry.
///
/// Source: Go: `pkg/authorize/token_store.go`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenResponse {
    /// [`VERSION`].
    pub version: u32,
    /// The JWT.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub token: Secret,
    /// How long the token is valid.
    pub expires_in_seconds: i64,
    /// The values of the labels, by name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl TokenResponse {
    /// An answer of the current [`VERSION`].
    pub fn new(token: Secret, expires_in_seconds: i64, labels: BTreeMap<String, String>) -> Self {
        Self { version: VERSION, token, expires_in_seconds, labels }
    }

    /// Compact JSON, the fields in the order of the struct, as in Go; but `<`, `>` and `&` are not escaped.
    ///
    /// # Panics
    /// Never: numbers and texts always have a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts always have a JSON form")
    }

    /// Reads an answer; unknown fields are ignored.
    ///
    /// # Errors
    /// What is wrong with the JSON, in a text that holds no byte of it.
    pub fn from_json(json: &[u8]) -> Result<Self, &'static str> {
        let response: Self = serde_json::from_slice(json).map_err(|_| "the answer is not the JSON of a token")?;
        if response.version != VERSION {
            return Err("the answer has an unknown version");
        }
        if response.token.expose().is_empty() {
            return Err("the answer holds an empty token");
        }
        Ok(response)
    }
}

/// Serializes the secret itself, which a [`Secret`] otherwise never shows.
fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Deserializes a text into a [`Secret`].
fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::from)
}

/// Go prints a map without entries as `null` or as `{}`.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GOLDEN: &str = r#"{"version":1,"token":"a.b.c","expiresInSeconds":86400,"labels":{"_id":"c-1","x":"y"}}"#;

    #[test]
    fn prints_what_go_prints_and_reads_it_back() {
        let labels = [("x", "y"), ("_id", "c-1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let response = TokenResponse::new("a.b.c".into(), 86_400, labels.into());
        assert_eq!(String::from_utf8(response.to_json()).unwrap(), GOLDEN);
        assert_eq!(TokenResponse::from_json(GOLDEN.as_bytes()), Ok(response.clone()));
        assert!(!format!("{response:?}").contains("a.b.c"));
    }

    #[test]
    fn labels_may_be_null_or_absent_and_other_fields_are_ignored() {
        for json in [
            r#"{"version":1,"token":"t","expiresInSeconds":1,"labels":null}"#,
            r#"{"version":1,"token":"t","expiresInSeconds":1,"later":[{}]}"#,
        ] {
            assert!(TokenResponse::from_json(json.as_bytes()).unwrap().labels.is_empty());
        }
    }

    #[test]
    fn rejects_an_answer_without_a_usable_token() {
        for json in [
            "",
            "<html>",
            "{}",
            r#"{"version":2,"token":"t","expiresInSeconds":1}"#,
            r#"{"version":1,"token":"","expiresInSeconds":1}"#,
            r#"{"version":1,"token":"t"}"#,
        ] {
            assert!(TokenResponse::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
