//! Tells a token of ours from anything else, and remembers it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::verified::Verified;
use super::{BadToken, Caller, Keys, TokenFault, claims};
use crate::bounded::{Bounded, sha256};

/// How many verified tokens are remembered unless told otherwise: two for each cluster of a large fleet, 44 MiB for the
/// first 1.8 million and twice that for all.
pub const REMEMBERED_BY_DEFAULT: usize = 2 << 20;

/// Whom a token names is remembered for so many of them, at about 320 bytes each: 5 MiB.
const MAX_CALLERS: usize = 16_384;

/// Verifies tokens. A cluster uses one token for a day, so that it is remembered (by its SHA-256, until it expires):
/// a signature costs a hundred times what the lookup does. Of a small fleet it is known, too, whom each token names; of
/// the others that is read once more.
#[derive(Debug)]
pub struct TokenVerifier {
    current: RwLock<Arc<VerifierState>>,
    remember: usize,
    callers: usize,
}

/// Keys, and the tokens that were verified with them. They come and go together.
#[derive(Debug)]
struct VerifierState {
    keys: Arc<Keys>,
    verified: Verified,
    callers: Bounded<Arc<Caller>>,
}

impl VerifierState {
    fn new(keys: Arc<Keys>, remember: usize, callers: usize) -> Arc<Self> {
        Arc::new(Self { keys, verified: Verified::new(remember), callers: Bounded::new(callers) })
    }
}

impl TokenVerifier {
    /// Verifies with any of the keys and remembers at most `remember` tokens.
    pub fn new(keys: Arc<Keys>, remember: usize) -> Self {
        Self::with(keys, remember, remember.min(MAX_CALLERS))
    }

    pub(super) fn with(keys: Arc<Keys>, remember: usize, callers: usize) -> Self {
        Self { current: RwLock::new(VerifierState::new(keys, remember, callers)), remember, callers }
    }

    /// The keys in use: those to sign with.
    pub fn keys(&self) -> Arc<Keys> {
        self.current.read().keys.clone()
    }

    /// Takes other keys and forgets all tokens: those that the new keys did not make are refused from now on.
    pub fn replace(&self, keys: Arc<Keys>) {
        *self.current.write() = VerifierState::new(keys, self.remember, self.callers);
    }

    /// Whom the token names.
    ///
    /// # Errors
    /// Why it is not good, and whom it named if its time is over.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Arc<Caller>, BadToken> {
        if token.len() > crate::bearer::MAX_BYTES {
            return Err(TokenFault::Malformed("too long").into());
        }
        let current = self.current.read().clone();
        let digest = sha256(token.as_bytes());
        if let Some(caller) = current.callers.get(&digest, now_ms) {
            return Ok(caller);
        }
        let caller = if current.verified.has(&digest, now_ms) {
            Arc::new(claims::read(&decoded(TokenParts::of(token)?.payload)?, now_ms)?)
        } else {
            let caller = Arc::new(check(&current.keys, token, now_ms)?);
            current.verified.insert(&digest, caller.expires_ms(), now_ms);
            caller
        };
        current.callers.insert(digest, caller.clone(), caller.expires_ms(), now_ms);
        Ok(caller)
    }
}

#[derive(Deserialize)]
struct JwtHeader {
    alg: String,
    crit: Option<IgnoredAny>,
}

/// A token's parts, as they are sent.
struct TokenParts<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// What is signed: header and payload.
    message: &'t str,
}

impl<'t> TokenParts<'t> {
    fn of(token: &'t str) -> Result<Self, TokenFault> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed("not three parts"))?;
        Ok(Self { header, payload, signature, message })
    }
}

/// All of the work, without a memory.
fn check(keys: &Keys, token: &str, now_ms: i64) -> Result<Caller, BadToken> {
    let TokenParts { header, payload, signature, message } = TokenParts::of(token)?;
    let header: JwtHeader =
        serde_json::from_slice(&decoded(header)?).map_err(|_| TokenFault::Malformed("the header is not readable"))?;
    if header.crit.is_some() {
        return Err(TokenFault::Malformed("it demands an extension").into());
    }
    let signature = decoded(signature)?;
    let payload = decoded(payload)?;
    let mut candidates = keys.all().filter(|key| key.algorithm.name() == header.alg).peekable();
    if candidates.peek().is_none() {
        return Err(TokenFault::Algorithm.into());
    }
    if !candidates.any(|key| key.made(message.as_bytes(), &signature)) {
        return Err(TokenFault::Signature.into());
    }
    claims::read(&payload, now_ms)
}

/// Strict: no padding, no other alphabet, no stray bits. There is one spelling of each token.
fn decoded(part: &str) -> Result<Vec<u8>, TokenFault> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed("not base64url"))
}
