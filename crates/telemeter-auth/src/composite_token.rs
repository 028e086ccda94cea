//! The composite token: the bearer token of a remote-write request, which holds a cluster ID and that cluster's token.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Error, Secret};

/// The longest cluster ID, in bytes.
pub const MAX_CLUSTER_ID_BYTES: usize = 256;
/// The longest authorization token, in bytes.
pub const MAX_AUTHORIZATION_TOKEN_BYTES: usize = 8 * 1024;

/// A decoded composite token: a cluster, the token that the authority knows for it, and the JSON that held both.
#[derive(Clone, PartialEq, Eq)]
pub struct CompositeToken {
    authorization_token: Secret,
    cluster_id: String,
    json: Secret,
}

impl CompositeToken {
    /// The cluster token, by which the authority approves the cluster.
    pub fn authorization_token(&self) -> &Secret {
        &self.authorization_token
    }

    /// The cluster that sends.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The decoded JSON, byte for byte: the authority is asked with it.
    pub fn json(&self) -> &Secret {
        &self.json
    }
}

impl fmt::Debug for CompositeToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CompositeToken").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// Decodes the base64 (either alphabet, padded or not) of `{"authorization_token":…,"cluster_id":…}`.
///
/// The object may have other fields, which the authority sees. But it must have each of the two exactly once, even for a
/// reader that ignores case: otherwise the authority could read another cluster from the same bytes than we do.
///
/// ```
/// use base64::{Engine as _, prelude::BASE64_STANDARD};
/// let sent = BASE64_STANDARD.encode(r#"{"authorization_token":"secret","cluster_id":"c-1"}"#);
/// let token = telemeter_auth::composite_token::decode(&sent)?;
/// assert_eq!(token.cluster_id(), "c-1");
/// # Ok::<(), telemeter_auth::Error>(())
/// ```
///
/// # Errors
/// [`Error::CompositeToken`] with the part that is wrong.
pub fn decode(token: &str) -> Result<CompositeToken, Error> {
    if token.len() > crate::bearer::MAX_BYTES {
        return Err(Error::CompositeToken("too long"));
    }
    let engine = if token.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let json = engine.decode(token).map_err(|_| Error::CompositeToken("not base64"))?;
    let json = String::from_utf8(json).map_err(|_| Error::CompositeToken("not JSON in UTF-8"))?;
    let json = Secret::from(json);

    let mut reader = serde_json::Deserializer::from_str(json.expose());
    let fields =
        reader.deserialize_map(TokenReader).map_err(|_| Error::CompositeToken("not a JSON object of its fields"))?;
    reader.end().map_err(|_| Error::CompositeToken("something follows the JSON object"))?;

    let (authorization_token, cluster_id) = fields?;
    check_field(&authorization_token, MAX_AUTHORIZATION_TOKEN_BYTES, &AUTHORIZATION_TOKEN)?;
    check_field(&cluster_id, MAX_CLUSTER_ID_BYTES, &CLUSTER_ID)?;
    Ok(CompositeToken { authorization_token: authorization_token.into(), cluster_id, json })
}

/// The composite token of a cluster: the base64, standard alphabet, padded, of the JSON that [`decode`] reads.
#[must_use]
pub fn encode(authorization_token: &Secret, cluster_id: &str) -> Secret {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let (token, cluster_id) = (text(authorization_token.expose()), text(cluster_id));
    let json = format!("{{\"authorization_token\":{token},\"cluster_id\":{cluster_id}}}");
    Secret::from(base64::engine::general_purpose::STANDARD.encode(json))
}

/// A field's name, and the error texts for it.
struct FieldMessage {
    name: &'static str,
    missing: &'static str,
    empty: &'static str,
    bad: &'static str,
}

const AUTHORIZATION_TOKEN: FieldMessage = FieldMessage {
    name: "authorization_token",
    missing: "authorization_token is missing",
    empty: "authorization_token is empty",
    bad: "authorization_token is too long or holds control characters",
};
const CLUSTER_ID: FieldMessage = FieldMessage {
    name: "cluster_id",
    missing: "cluster_id is missing",
    empty: "cluster_id is empty",
    bad: "cluster_id is too long or holds control characters",
};

/// Rejects a field that is empty, longer than `max_bytes`, or has control characters, each with its text from
/// `messages`.
fn check_field(value: &str, max_bytes: usize, messages: &FieldMessage) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::CompositeToken(messages.empty));
    }
    if value.len() > max_bytes || value.chars().any(char::is_control) {
        return Err(Error::CompositeToken(messages.bad));
    }
    Ok(())
}

/// Reads the JSON object: token and cluster ID, or our own error where a field is missing.
struct TokenReader;

impl<'de> Visitor<'de> for TokenReader {
    type Value = Result<(String, String), Error>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut token, mut cluster) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let slot = match key.as_str() {
                name if name == AUTHORIZATION_TOKEN.name => &mut token,
                name if name == CLUSTER_ID.name => &mut cluster,
                name if matches_ignoring_case(name) => return Err(de::Error::custom("ambiguous")),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value::<String>()?).is_some() {
                return Err(de::Error::custom("duplicate"));
            }
        }
        Ok(token
            .ok_or(Error::CompositeToken(AUTHORIZATION_TOKEN.missing))
            .and_then(|token| Ok((token, cluster.ok_or(Error::CompositeToken(CLUSTER_ID.missing))?))))
    }
}

/// Whether Go's JSON decoder reads this name as one of the two fields: it ignores case, and it folds `ſ` onto `s` and the
/// Kelvin sign onto `k`.
fn matches_ignoring_case(name: &str) -> bool {
    let folded: String = name.chars().map(|c| if c == 'ſ' { 's' } else { c }).flat_map(char::to_lowercase).collect();
    folded == AUTHORIZATION_TOKEN.name || folded == CLUSTER_ID.name
}

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, CONFIG);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"authorization_token":"a~~>?","cluster_id":"c-1"}"#;

    fn check_json(json: &str) -> Result<CompositeToken, Error> {
        decode(&BASE64_STANDARD.encode(json))
    }

    #[track_caller]
    fn refused(json: &str, reason: &str) {
        let error = check_json(json).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(reason), "{json}: {text}");
        assert!(text.contains(r#"base64 of {"authorization_token":"...","cluster_id":"..."}"#), "{text}");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (token, id) in [("t", "c"), ("a \"quoted\\ one\"", "\u{fc}/+?"), (&"x".repeat(1000), &"y".repeat(256))] {
            let encoded = encode(&Secret::from(token), id);
            let decoded = decode(encoded.expose()).expect("our own token");
            assert_eq!((decoded.authorization_token().expose(), decoded.cluster_id()), (token, id));
        }
        // printf '{"authorization_token":"t","cluster_id":"c"}' | base64
        let expected = "eyJhdXRob3JpemF0aW9uX3Rva2VuIjoidCIsImNsdXN0ZXJfaWQiOiJjIn0=";
        assert_eq!(encode(&Secret::from("t"), "c").expose(), expected);
    }

    #[test]
    fn accepts_both_alphabets_padded_or_not() {
        for engine in [BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD] {
            for pad in ["", " ", "  "] {
                let token = decode(&engine.encode(format!("{GOOD}{pad}"))).unwrap();
                assert_eq!(token.authorization_token().expose(), "a~~>?");
                assert_eq!(token.cluster_id(), "c-1");
                assert_eq!(token.json().expose(), format!("{GOOD}{pad}"));
            }
        }
    }

    #[test]
    fn other_fields_are_ignored() {
        let token = check_json(r#"{"x":{"y":[1,null]},"cluster_id":"c","authorization_token":"a"}"#).unwrap();
        assert_eq!((token.authorization_token().expose(), token.cluster_id()), ("a", "c"));
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(decode("%%%").unwrap_err().to_string().contains("not base64"));
        assert!(decode("").is_err());
        refused("", "not a JSON object");
        refused("[]", "not a JSON object");
        refused("\"x\"", "not a JSON object");
        refused(r#"{"cluster_id":"c"}"#, "authorization_token is missing");
        refused(r#"{"authorization_token":"a"}"#, "cluster_id is missing");
        refused(r#"{"authorization_token":"","cluster_id":"c"}"#, "authorization_token is empty");
        refused(r#"{"authorization_token":"a","cluster_id":""}"#, "cluster_id is empty");
        refused(r#"{"authorization_token":"a","cluster_id":7}"#, "not a JSON object");
        refused(r#"{"authorization_token":"a","cluster_id":null}"#, "not a JSON object");
        refused(r#"{"authorization_token":"a","cluster_id":"c\u0000"}"#, "control characters");
        refused(r#"{"authorization_token":"a\n","cluster_id":"c"}"#, "control characters");
        refused(&format!("{GOOD} {GOOD}"), "something follows");
        refused(&GOOD.replace("c-1", &"c".repeat(257)), "cluster_id is too long");
        refused(&GOOD.replace("a~~>?", &"c".repeat(8 * 1024 + 1)), "authorization_token is too long");
        assert!(decode(&"A".repeat(16 * 1024 + 1)).unwrap_err().to_string().contains("too long"));
    }

    /// The authority may read the last of two fields, or ignore case: then it would approve another cluster.
    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for second in ["cluster_id", "Cluster_ID", "CLUSTER_ID", "clu\u{17f}ter_id", r"cluster\u005fid"] {
            refused(&format!(r#"{{"authorization_token":"a","cluster_id":"c","{second}":"d"}}"#), "not a JSON object");
        }
        refused(r#"{"authorization_token":"a","authorization_toKen":"b","cluster_id":"c"}"#, "not a JSON object");
        let kelvin = "{\"authorization_token\":\"a\",\"authorization_to\u{212a}en\":\"b\",\"cluster_id\":\"c\"}";
        refused(kelvin, "not a JSON object");
    }

    #[test]
    fn the_longest_values_are_within_the_caps() {
        let json = GOOD.replace("c-1", &"c".repeat(256)).replace("a~~>?", &"a".repeat(8 * 1024));
        assert!(check_json(&json).is_ok());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", check_json(r#"{"authorization_token":"hunter2","cluster_id":"c"}"#).unwrap());
        assert!(shown.contains("\"c\"") && !shown.contains("hunter2"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_or_refused(text in "\\PC{0,200}") {
            let _ = decode(&text);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&BASE64_STANDARD.encode(bytes));
        }

        #[test]
        fn what_is_sent_comes_back(token in "[^\\p{Cc}]{1,60}", cluster in "[^\\p{Cc}]{1,60}") {
            let json = serde_json::json!({"authorization_token": token, "cluster_id": cluster}).to_string();
            let decoded = check_json(&json).unwrap();
            prop_assert_eq!(decoded.authorization_token().expose(), token);
            prop_assert_eq!(decoded.cluster_id(), cluster);
            prop_assert_eq!(decoded.json().expose(), json);
        }
    }
}
