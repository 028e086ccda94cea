//! The composite token: how a Prometheus that remote-writes to us names its cluster and itself.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Error, Secret};

/// The longest cluster ID.
pub const MAX_CLUSTER_ID_BYTES: usize = 256;
/// The longest authorization token.
pub const MAX_AUTHORIZATION_TOKEN_BYTES: usize = 8 * 1024;

/// The two names that a composite token holds, and the JSON that held them.
#[derive(Clone, PartialEq, Eq)]
pub struct CompositeToken {
    authorization_token: Secret,
    cluster_id: String,
    json: Secret,
}

impl CompositeToken {
    /// Who vouches for the cluster.
    pub fn authorization_token(&self) -> &Secret {
        &self.authorization_token
    }

    /// The cluster that sends.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The token as decoded, byte for byte: the authority is asked with it.
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
/// Other fields may stand beside the two; the authority sees them. But each of the two stands there exactly once, also
/// for a reader that ignores case: the authority must not find another cluster in these bytes than we do.
///
/// # Errors
/// [`Error::CompositeToken`] saying which part is wrong.
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
    check(&authorization_token, MAX_AUTHORIZATION_TOKEN_BYTES, &AUTHORIZATION_TOKEN)?;
    check(&cluster_id, MAX_CLUSTER_ID_BYTES, &CLUSTER_ID)?;
    Ok(CompositeToken { authorization_token: authorization_token.into(), cluster_id, json })
}

/// What to say of a field.
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

fn check(value: &str, max_bytes: usize, wording: &FieldMessage) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::CompositeToken(wording.empty));
    }
    if value.len() > max_bytes || value.chars().any(char::is_control) {
        return Err(Error::CompositeToken(wording.bad));
    }
    Ok(())
}

/// Reads the object; what JSON cannot say against it comes back as our own error.
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
                name if could_be_read_as_ours(name) => return Err(de::Error::custom("ambiguous")),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value::<String>()?).is_some() {
                return Err(de::Error::custom("doubled"));
            }
        }
        Ok(token
            .ok_or(Error::CompositeToken(AUTHORIZATION_TOKEN.missing))
            .and_then(|token| Ok((token, cluster.ok_or(Error::CompositeToken(CLUSTER_ID.missing))?))))
    }
}

/// Go's JSON matches names without regard to case, and folds two characters outside ASCII onto letters.
fn could_be_read_as_ours(name: &str) -> bool {
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
    fn takes_both_alphabets_padded_or_not() {
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
    fn other_fields_may_stand_beside() {
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

    /// The authority may read the last of two fields, or ignore case: then it would vouch for another cluster.
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
