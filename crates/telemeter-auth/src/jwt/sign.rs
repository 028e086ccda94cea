//! Signs a token.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Claims, Keys};
use crate::{Error, Secret};

/// The claims as a compact JWT (header, payload and signature, separated by dots), signed with the first key.
///
/// # Errors
/// [`Error::Key`] where signing fails because the system provides no randomness.
pub fn sign(keys: &Keys, claims: &Claims) -> Result<Secret, Error> {
    let key = keys.signer();
    let mut token = String::with_capacity(512);
    BASE64_URL_SAFE_NO_PAD.encode_string(format!(r#"{{"alg":"{}"}}"#, key.algorithm.name()), &mut token);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims.to_json(), &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token.into())
}
