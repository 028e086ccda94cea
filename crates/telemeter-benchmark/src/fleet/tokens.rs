//! Signs access tokens with the server's own key. As with the real exchange, a cluster uses one token for a day. For
//! clusters that upload again only the signature is kept, because the rest of a token can be computed from the ID.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use telemeter_auth::{
    Error,
    jwt::{self, Claims, Keys},
};

use super::stamp::{GeneratedId, ID_BYTES};

/// The label with the cluster ID as its value.
pub(super) const ID_LABEL: &str = "_id";
/// The lifetime of tokens that the server grants by default.
const LIFETIME: Duration = Duration::from_secs(86_400);

/// Signs access tokens for clusters.
pub(super) struct TokenMint {
    keys: Keys,
    now_ms: i64,
    kept: Option<SignatureCache>,
}

/// The signatures of clusters that upload again, and the text that they sign.
struct SignatureCache {
    /// The header in base64 with the full stop after it; the same for all tokens.
    header: String,
    /// The claims of one cluster as JSON; `ids` has the offsets of the ID in them.
    claims: Vec<u8>,
    ids: Vec<usize>,
    /// The length of a signature in base64 with the full stop before it; the same for all clusters.
    signature_bytes: usize,
    /// The signatures by index of the cluster; only zeros where there is none yet. The operating system allocates
    /// memory only for pages that are written.
    signatures: Mutex<Vec<u8>>,
}

impl TokenMint {
    /// Signs tokens that are valid from `now_ms` on. `again` is how many clusters upload more than once.
    pub(super) fn new(key_file: &Path, now_ms: i64, again: Option<u64>) -> Result<Self, Error> {
        let mut mint = Self { keys: Keys::load(&[key_file])?, now_ms, kept: None };
        if let Some(clusters) = again {
            let id = [b'#'; ID_BYTES];
            mint.kept = Some(SignatureCache::new(&mint.sign_token(&id)?, &id, clusters));
        }
        Ok(mint)
    }

    /// Returns the token of the cluster at `index` with this ID.
    pub(super) fn token(&self, index: u64, id: &GeneratedId) -> Result<String, Error> {
        if let Some(token) = self.kept.as_ref().and_then(|kept| kept.token(index, id)) {
            return Ok(token);
        }
        let token = self.sign_token(id)?;
        if let Some(kept) = &self.kept {
            kept.keep(index, &token);
        }
        Ok(token)
    }

    /// Makes a new access token for the cluster with this ID.
    fn sign_token(&self, id: &GeneratedId) -> Result<String, Error> {
        let id = String::from_utf8_lossy(id).into_owned();
        let labels = BTreeMap::from([(ID_LABEL.to_owned(), id.clone())]);
        Ok(jwt::sign(&self.keys, &Claims::new(id, labels, self.now_ms, LIFETIME))?.expose().to_owned())
    }
}

impl SignatureCache {
    fn new(token: &str, id: &GeneratedId, clusters: u64) -> Self {
        let (header, rest) = token.split_once('.').expect("a token has three parts");
        let (claims, signature) = rest.split_once('.').expect("a token has three parts");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("our own token");
        let signature_bytes = signature.len() + 1;
        let bytes = usize::try_from(clusters).unwrap_or(usize::MAX).saturating_mul(signature_bytes);
        Self {
            header: format!("{header}."),
            ids: (0..claims.len()).filter(|&at| claims[at..].starts_with(id)).collect(),
            claims,
            signature_bytes,
            signatures: Mutex::new(vec![0; bytes]),
        }
    }

    /// The bytes in `signatures` that belong to the cluster at this index.
    fn range(&self, index: u64) -> Range<usize> {
        let start = index as usize * self.signature_bytes;
        start..start + self.signature_bytes
    }

    /// The access token, made from the common header and claims and the kept signature; `None` where no signature is
    /// kept for this index yet.
    fn token(&self, index: u64, id: &GeneratedId) -> Option<String> {
        let mut claims = self.claims.clone();
        for &at in &self.ids {
            claims[at..at + ID_BYTES].copy_from_slice(id);
        }
        let mut token = self.header.clone();
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signatures = self.signatures.lock();
        let signature = &signatures[self.range(index)];
        (signature[0] == b'.').then(|| token + &String::from_utf8_lossy(signature))
    }

    /// Keeps the signature of the cluster's token, with the dot before it.
    fn keep(&self, index: u64, token: &str) {
        let signature = &token.as_bytes()[token.len() - self.signature_bytes..];
        self.signatures.lock()[self.range(index)].copy_from_slice(signature);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_cluster_that_comes_again_has_the_same_token_and_the_server_takes_it() {
        const NOW_MS: i64 = 1_795_330_870_734;
        let key = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::rand::SystemRandom::new(),
        )
        .expect("randomness");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.der");
        std::fs::write(&file, key.as_ref()).expect("written");
        let mint = TokenMint::new(&file, NOW_MS, Some(3)).expect("a key");
        let once = TokenMint::new(&file, NOW_MS, None).expect("a key");
        let verifier = jwt::TokenVerifier::new(Arc::new(Keys::load(&[&file]).expect("a key")), 0);
        for index in [2, 0, 1, 2] {
            let id: GeneratedId =
                format!("0000000{index}-0000-4000-8000-000000000001").into_bytes().try_into().expect("36 bytes");
            let text = String::from_utf8_lossy(&id).into_owned();
            let token = mint.token(index, &id).expect("signed");
            assert_eq!(mint.token(index, &id).expect("kept"), token);
            let other = once.token(index, &id).expect("signed");
            assert_ne!(once.token(index, &id).expect("signed anew"), other, "nothing is kept");
            for token in [token, other] {
                let caller = verifier.verify(&token, NOW_MS).expect("the key is the server's");
                assert_eq!((caller.account(), caller.label(ID_LABEL)), (text.as_str(), Some(text.as_str())));
            }
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_named() {
        let error = TokenMint::new(Path::new("/nowhere"), 0, None).err().expect("no key");
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
