//! Verifies our tokens, and caches the result.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::verified::Verified;
use super::{BadToken, Caller, Keys, TokenFault, claims};
use crate::bounded::{Bounded, sha256};

/// The default number of cached tokens: two for each cluster of a large fleet. They take 44 MiB up to 1.8 million tokens,
/// twice that for all.
pub const DEFAULT_CACHED_TOKENS: usize = 2 << 20;

/// The cap on cached callers, at about 320 bytes each: 5 MiB.
const MAX_CALLERS: usize = 16_384;

/// Verifies tokens. A cluster uses one token for a day, so a verified token is cached by its SHA-256 until it expires:
/// verifying a signature takes a hundred times as long as a lookup. In a small fleet the caller of each token is cached,
/// too; beyond 16,384 callers the claims of a cached token are decoded again, without verifying its signature.
#[derive(Debug)]
pub struct TokenVerifier {
    current: RwLock<Arc<VerifierState>>,
    max_tokens: usize,
    max_callers: usize,
}

/// The keys, and the tokens that were verified with them: both are replaced together.
#[derive(Debug)]
struct VerifierState {
    keys: Arc<Keys>,
    verified: Verified,
    callers: Bounded<Arc<Caller>>,
}

impl VerifierState {
    fn new(keys: Arc<Keys>, max_tokens: usize, max_callers: usize) -> Arc<Self> {
        Arc::new(Self { keys, verified: Verified::new(max_tokens), callers: Bounded::new(max_callers) })
    }
}

impl TokenVerifier {
    /// A verifier that accepts a signature of any of the keys, and caches at most `max_tokens` tokens.
    pub fn new(keys: Arc<Keys>, max_tokens: usize) -> Self {
        Self::with_capacities(keys, max_tokens, max_tokens.min(MAX_CALLERS))
    }

    /// A verifier that remembers at most so many verified tokens, and so many callers.
    pub(super) fn with_capacities(keys: Arc<Keys>, max_tokens: usize, max_callers: usize) -> Self {
        Self { current: RwLock::new(VerifierState::new(keys, max_tokens, max_callers)), max_tokens, max_callers }
    }

    /// The keys in use, also for signing.
    pub fn keys(&self) -> Arc<Keys> {
        self.current.read().keys.clone()
    }

    /// Replaces the keys and forgets all tokens: a token that none of the new keys signed is refused from now on.
    pub fn replace(&self, keys: Arc<Keys>) {
        *self.current.write() = VerifierState::new(keys, self.max_tokens, self.max_callers);
    }

    /// The caller of the token.
    ///
    /// # Errors
    /// Why it is not valid; for an expired token, with its caller.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Arc<Caller>, BadToken> {
        if token.len() > crate::bearer::MAX_BYTES {
            return Err(TokenFault::Malformed("too long").into());
        }
        let current = self.current.read().clone();
        let digest = sha256(token.as_bytes());
        if let Some(caller) = current.callers.get(&digest, now_ms) {
            return Ok(caller);
        }
        let caller = if current.verified.contains(&digest, now_ms) {
            Arc::new(claims::read(&decode(TokenParts::split(token)?.payload)?, now_ms)?)
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

/// The parts of a token, encoded as sent.
struct TokenParts<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// The signed text: header and payload.
    message: &'t str,
}

impl<'t> TokenParts<'t> {
    /// Splits a token at its dots, without decoding the parts. A token without two dots is malformed.
    fn split(token: &'t str) -> Result<Self, TokenFault> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed("not three parts"))?;
        Ok(Self { header, payload, signature, message })
    }
}

/// Verifies the signature by the keys of the header's algorithm, and reads the claims; does not use the cache. A header
/// with `crit` is malformed, and an algorithm that no key has is a fault of its own.
fn check(keys: &Keys, token: &str, now_ms: i64) -> Result<Caller, BadToken> {
    let TokenParts { header, payload, signature, message } = TokenParts::split(token)?;
    let header: JwtHeader =
        serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Malformed("the header is not readable"))?;
    if header.crit.is_some() {
        return Err(TokenFault::Malformed("it demands an extension").into());
    }
    let signature = decode(signature)?;
    let payload = decode(payload)?;
    let mut candidates = keys.all().filter(|key| key.algorithm.name() == header.alg).peekable();
    if candidates.peek().is_none() {
        return Err(TokenFault::Algorithm.into());
    }
    if !candidates.any(|key| key.verifies(message.as_bytes(), &signature)) {
        return Err(TokenFault::Signature.into());
    }
    claims::read(&payload, now_ms)
}

/// Decodes a part strictly (no padding, no other alphabet, no stray bits), so that each token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed("not base64url"))
}
