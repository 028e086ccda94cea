//! Tells a token of ours from anything else, and remembers it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Caller, Fault, Keys, claims};
use crate::Error;
use crate::bounded::{Bounded, sha256};

/// How many verified tokens are remembered unless told otherwise: about 20 MB when all are there.
///
/// Measured with one label: 320 bytes each, half of it a [`Caller`] and half its place in a table.
pub const REMEMBERED_BY_DEFAULT: usize = 65_536;

/// Verifies tokens. A cluster uses one token for a day, so that it is remembered (by its SHA-256, until it expires):
/// a signature costs a hundred times what the lookup does.
#[derive(Debug)]
pub struct Verifier {
    current: RwLock<Arc<Current>>,
    remember: usize,
}

/// Keys, and the tokens that were verified with them. They come and go together.
#[derive(Debug)]
struct Current {
    keys: Arc<Keys>,
    verified: Bounded<Arc<Caller>>,
}

impl Current {
    fn new(keys: Arc<Keys>, remember: usize) -> Arc<Self> {
        Arc::new(Self { keys, verified: Bounded::new(remember) })
    }
}

impl Verifier {
    /// Verifies with any of the keys and remembers at most `remember` tokens.
    pub fn new(keys: Arc<Keys>, remember: usize) -> Self {
        Self { current: RwLock::new(Current::new(keys, remember)), remember }
    }

    /// The keys in use: those to sign with.
    pub fn keys(&self) -> Arc<Keys> {
        self.current.read().keys.clone()
    }

    /// Takes other keys and forgets all tokens: those that the new keys did not make are refused from now on.
    pub fn replace(&self, keys: Arc<Keys>) {
        *self.current.write() = Current::new(keys, self.remember);
    }

    /// Whom the token names.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Arc<Caller>, Error> {
        if token.len() > crate::bearer::MAX_BYTES {
            return Err(Fault::Malformed("too long").into());
        }
        let current = self.current.read().clone();
        let digest = sha256(token.as_bytes());
        if let Some(caller) = current.verified.get(&digest, now_ms) {
            return Ok(caller);
        }
        let caller = Arc::new(check(&current.keys, token, now_ms)?);
        current.verified.insert(digest, caller.clone(), caller.expires_ms(), now_ms);
        Ok(caller)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<IgnoredAny>,
}

/// All of the work, without a memory.
fn check(keys: &Keys, token: &str, now_ms: i64) -> Result<Caller, Fault> {
    let (message, signature) = token.rsplit_once('.').ok_or(Fault::Malformed("not three parts"))?;
    let (header, payload) = message.split_once('.').ok_or(Fault::Malformed("not three parts"))?;
    let header: Header =
        serde_json::from_slice(&decoded(header)?).map_err(|_| Fault::Malformed("the header is not readable"))?;
    if header.crit.is_some() {
        return Err(Fault::Malformed("it demands an extension"));
    }
    let signature = decoded(signature)?;
    let payload = decoded(payload)?;
    let mut candidates = keys.all().filter(|key| key.algorithm.name() == header.alg).peekable();
    if candidates.peek().is_none() {
        return Err(Fault::Algorithm);
    }
    if !candidates.any(|key| key.made(message.as_bytes(), &signature)) {
        return Err(Fault::Signature);
    }
    claims::read(&payload, now_ms)
}

/// Strict: no padding, no other alphabet, no stray bits. There is one spelling of each token.
fn decoded(part: &str) -> Result<Vec<u8>, Fault> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed("not base64url"))
}
