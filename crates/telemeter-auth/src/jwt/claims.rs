//! The claims of our token: the account, the labels, and the times between which it is valid.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BadToken, TokenFault};

/// The issuer of our tokens (`iss`).
pub const ISSUER: &str = "telemeter.selfsigned";
/// The audience of our tokens (`aud`).
pub const AUDIENCE: &str = "telemeter-client";
/// The largest difference to the clock of another replica.
const LEEWAY_SECONDS: f64 = 60.0;

/// The claims of a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The account that the authority caller.
    pub account: String,
    /// The labels that every upload must carry.
    pub labels: BTreeMap<String, String>,
    /// When it is issued and becomes valid (`iat`, `nbf`), in seconds since 1970.
    pub issued: i64,
    /// When it expires (`exp`), in seconds since 1970.
    pub expires: i64,
}

impl Claims {
    /// The claims of a token that is valid from `now_ms` (milliseconds since 1970) for `lifetime`.
    pub fn new(account: String, labels: BTreeMap<String, String>, now_ms: i64, lifetime: Duration) -> Self {
        let issued = now_ms.div_euclid(1000);
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Self { account, labels, issued, expires: issued.saturating_add(lifetime) }
    }

    /// The payload as JSON, its fields sorted by name as in Go.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let payload = WrittenClaims {
            aud: AUDIENCE,
            exp: self.expires,
            iat: self.issued,
            iss: ISSUER,
            nbf: self.issued,
            sub: &self.account,
            private: WrittenLabels { labels: &self.labels },
        };
        serde_json::to_vec(&payload).expect("numbers and texts always have a JSON form")
    }
}

#[derive(Serialize)]
struct WrittenClaims<'a> {
    aud: &'a str,
    exp: i64,
    iat: i64,
    iss: &'a str,
    nbf: i64,
    sub: &'a str,
    #[serde(rename = "telemeter.openshift.io")]
    private: WrittenLabels<'a>,
}

#[derive(Serialize)]
struct WrittenLabels<'a> {
    labels: &'a BTreeMap<String, String>,
}

/// The caller that a verified token names. It is stored in two allocations, because many callers are cached: with the
/// account `acct` and the label `a="b"`, `text` is `acctab` and `ends` is `[4, 5, 6]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account, then the name and value of each label, concatenated.
    text: Box<str>,
    /// The end of each part within `text`.
    ends: Box<[u32]>,
    expires_ms: i64,
}

impl Caller {
    /// A caller with these labels, valid until `expires_ms` (milliseconds since 1970). Of two labels with one name the later
    /// counts.
    pub fn new<N, V>(account: &str, labels: impl IntoIterator<Item = (N, V)>, expires_ms: i64) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let parts = || std::iter::once(account).chain(labels.iter().flat_map(|(name, value)| [&**name, &**value]));
        let text: String = parts().collect();
        let ends = parts()
            .scan(0_usize, |end, part| {
                *end += part.len();
                Some(u32::try_from(*end).unwrap_or(u32::MAX))
            })
            .collect();
        Self { text: text.into(), ends, expires_ms }
    }

    /// The authority's name for the caller.
    pub fn account(&self) -> &str {
        self.nth_text(0)
    }

    /// The labels that its uploads must carry, sorted by name.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        (0..self.ends.len() / 2).map(|label| (self.nth_text(2 * label + 1), self.nth_text(2 * label + 2)))
    }

    /// The value of one label: with the partition label's name, the cluster ID.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().find(|label| label.0 == name).map(|label| label.1)
    }

    /// When the token expires, in milliseconds since 1970.
    pub fn expires_ms(&self) -> i64 {
        self.expires_ms
    }

    /// The text at this index of those that are joined in `text`.
    fn nth_text(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start as usize..self.ends[index] as usize]
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Caller")
            .field("account", &self.account())
            .field("labels", &self.labels().collect::<Vec<_>>())
            .field("expires_ms", &self.expires_ms)
            .finish()
    }
}

/// A payload as it is read. A duplicate field is an error.
#[derive(Deserialize)]
struct ReadClaims {
    aud: Option<Audience>,
    exp: Option<f64>,
    iat: Option<f64>,
    iss: Option<String>,
    nbf: Option<f64>,
    sub: Option<String>,
    #[serde(rename = "telemeter.openshift.io")]
    private: Option<ReadLabels>,
}

#[derive(Deserialize)]
struct ReadLabels {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Whether one of the audiences is [`AUDIENCE`], which only our own tokens have.
    fn is_from_mock(&self) -> bool {
        match self {
            Self::One(name) => name == AUDIENCE,
            Self::Many(names) => names.iter().any(|name| name == AUDIENCE),
        }
    }
}

/// Reads the payload of a token with a verified signature, and checks issuer, audience and times, with some leeway.
///
/// # Errors
/// [`BadToken`] with the fault. Only an expired token's error also has its caller.
pub(super) fn read(payload: &[u8], now_ms: i64) -> Result<Caller, BadToken> {
    let read: ReadClaims =
        serde_json::from_slice(payload).map_err(|_| TokenFault::Malformed("the claims are not readable"))?;
    if read.iss.as_deref() != Some(ISSUER) {
        return Err(TokenFault::Issuer.into());
    }
    if !read.aud.is_some_and(|audience| audience.is_from_mock()) {
        return Err(TokenFault::Audience.into());
    }
    let now = now_ms as f64 / 1000.0;
    let expires = read.exp.ok_or(TokenFault::Malformed("it never expires"))?;
    let caller = || -> Result<Caller, BadToken> {
        let account = read.sub.filter(|sub| !sub.is_empty()).ok_or(TokenFault::Malformed("it names no subject"))?;
        let labels = read.private.ok_or(TokenFault::Malformed("it holds no labels"))?.labels.unwrap_or_default();
        Ok(Caller::new(&account, labels, (expires * 1000.0) as i64))
    };
    if now > expires + LEEWAY_SECONDS {
        let caller = caller().ok().map(Box::new);
        return Err(BadToken { fault: TokenFault::Expired, caller });
    }
    if [read.nbf, read.iat].into_iter().flatten().any(|from| now < from - LEEWAY_SECONDS) {
        return Err(TokenFault::NotYetValid.into());
    }
    caller()
}
