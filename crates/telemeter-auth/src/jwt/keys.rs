//! The signing keys: their algorithms, and how they are read from files.

use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, ParsedPublicKey, VerificationAlgorithm,
};
use aws_lc_rs::{hkdf, hmac};
use telemeter_http::{file, pem};
use zeroize::Zeroizing;

use crate::Error;

/// The algorithm of a signature. A key has exactly one; a token's header cannot choose another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// ECDSA with P-521 and SHA-512.
    Es512,
    /// RSA with PKCS #1 v1.5 and SHA-256.
    Rs256,
}

impl Algorithm {
    /// Its name in a token's header (`alg`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm with which the crypto library verifies such a signature: of ECDSA as two numbers at fixed length,
    /// of RSA by a key of 2048 to 8192 bits.
    fn verification_algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

const CURVES: [(Algorithm, &EcdsaSigningAlgorithm); 3] = [
    (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
    (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
];

/// Private keys: the first signs, all verify.
pub struct Keys {
    signer: KeyPair,
    others: Vec<KeyPair>,
}

impl Keys {
    /// Reads the files, PEM or DER, each with one private key in PKCS #1, PKCS #8 or SEC 1.
    ///
    /// # Errors
    /// [`Error::Key`] with the file that is not usable, or where there is none.
    pub fn load<P: AsRef<Path>>(files: &[P]) -> Result<Self, Error> {
        let keys = files.iter().map(|file| {
            let path = file.as_ref();
            let bytes = file::read(path, file::SMALL).map_err(|error| Error::Key(error.to_string()))?;
            KeyPair::parse(&Zeroizing::new(bytes)).map_err(|reason| {
                let name = path.display().to_string();
                Error::Key(format!("{name}: {}", reason.replace("FILE", &name)))
            })
        });
        Self::from_pairs(keys.collect::<Result<_, _>>()?)
    }

    /// Reads keys from the bytes of such files.
    ///
    /// # Errors
    /// [`Error::Key`] for the first that is not usable, or where there is none.
    pub fn parse<B: AsRef<[u8]>>(keys: &[B]) -> Result<Self, Error> {
        let keys = keys.iter().map(|key| KeyPair::parse(key.as_ref()).map_err(|reason| Error::Key(reason.to_owned())));
        Self::from_pairs(keys.collect::<Result<_, _>>()?)
    }

    /// A new P-256 key, which no other process has.
    ///
    /// # Errors
    /// [`Error::Key`] where the system provides no randomness.
    pub fn generate() -> Result<Self, Error> {
        let failed = |_| Error::Key("cannot generate one".to_owned());
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let key = KeyPair::ec(Algorithm::Es256, pair).map_err(|reason| Error::Key(reason.to_owned()))?;
        Ok(Self { signer: key, others: Vec::new() })
    }

    /// The algorithm of the key that signs.
    pub fn algorithm(&self) -> Algorithm {
        self.signer.algorithm
    }

    /// 32 bytes derived (HKDF, then HMAC) from the signing key and `purpose`: a secret that replicas with the same key share,
    /// from which the key cannot be computed. The format of the key's file makes no difference.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let tag = hmac::sign(&self.signer.seed, purpose.as_bytes());
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(tag.as_ref());
        derived
    }

    /// The first key signs, all of them verify. [`Error::Key`] where there is none.
    fn from_pairs(keys: Vec<KeyPair>) -> Result<Self, Error> {
        let mut keys = keys.into_iter();
        let signer = keys.next().ok_or_else(|| Error::Key("none given".to_owned()))?;
        Ok(Self { signer, others: keys.collect() })
    }

    /// The key that signs new tokens.
    pub(super) fn signer(&self) -> &KeyPair {
        &self.signer
    }

    /// All keys that verify tokens: first the one that signs, then the others in the order of their flags.
    pub(super) fn all(&self) -> impl Iterator<Item = &KeyPair> {
        std::iter::once(&self.signer).chain(&self.others)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.all().map(|key| key.algorithm.name()).collect();
        formatter.debug_struct("Keys").field("algorithms", &algorithms).finish_non_exhaustive()
    }
}

/// One key pair, parsed once.
pub(super) struct KeyPair {
    pub(super) algorithm: Algorithm,
    private: PrivateKey,
    public: ParsedPublicKey,
    seed: hmac::Key,
}

enum PrivateKey {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl KeyPair {
    /// Parses a private key in PEM or DER. The error says what is wrong, for example that the key is encrypted.
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        match pem_key(bytes)? {
            Some(der) => Self::from_der(&der),
            None if is_encrypted_der(bytes) => Err(ENCRYPTED),
            None => Self::from_der(bytes),
        }
    }

    /// Parses a private key in DER, trying the formats in Go's order: RSA in PKCS#1 and PKCS#8, then EC by curve. The
    /// error says that an RSA key is too short, or lists the formats.
    fn from_der(der: &[u8]) -> Result<Self, &'static str> {
        let rsa =
            RsaKeyPair::from_der(der).or_else(|pkcs1| RsaKeyPair::from_pkcs8(der).map_err(|pkcs8| (pkcs1, pkcs8)));
        match rsa {
            Ok(pair) => return Self::rsa(pair),
            Err((pkcs1, pkcs8)) => {
                if [pkcs1, pkcs8].iter().any(|error| error.to_string() == "TooSmall") {
                    return Err("an RSA key needs at least 2048 bits");
                }
            }
        }
        for (algorithm, curve) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
                return Self::ec(algorithm, pair);
            }
        }
        Err("no private key of EC P-256, P-384, P-521 or RSA (2048 to 8192 bits) in PKCS#1, PKCS#8 or SEC1")
    }

    /// A key pair from an RSA key, with its public key and the seed of [`Keys::derive`]. The error: the crypto library
    /// cannot use the key.
    fn rsa(pair: RsaKeyPair) -> Result<Self, &'static str> {
        let document = pair.as_der().map_err(|_| UNUSABLE)?;
        let seed = seed(document.as_ref())?;
        let public = parse_public_key(Algorithm::Rs256, pair.public_key().as_ref())?;
        Ok(Self { algorithm: Algorithm::Rs256, private: PrivateKey::Rsa(pair), public, seed })
    }

    /// A key pair from an ECDSA key, with its public key and the seed of [`Keys::derive`]. The error: the crypto
    /// library cannot use the key.
    fn ec(algorithm: Algorithm, pair: EcdsaKeyPair) -> Result<Self, &'static str> {
        let seed = seed(pair.to_pkcs8v1().map_err(|_| UNUSABLE)?.as_ref())?;
        let public = parse_public_key(algorithm, pair.public_key().as_ref())?;
        Ok(Self { algorithm, private: PrivateKey::Ec(pair), public, seed })
    }

    /// The signature of `message`, in the form that a JWT has: for ECDSA the two numbers at fixed length, not ASN.1.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Key("it does not sign".to_owned());
        let random = SystemRandom::new();
        match &self.private {
            PrivateKey::Ec(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            PrivateKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// Whether the signature is that of `message` by this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

const UNUSABLE: &str = "the key is not usable";

/// Prepares a public key for the verification of many signatures. The error: the crypto library cannot use it.
fn parse_public_key(algorithm: Algorithm, public: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    ParsedPublicKey::new(algorithm.verification_algorithm(), public).map_err(|_| UNUSABLE)
}

/// The HMAC key of [`Keys::derive`]; `private` is the private key in one format, whichever the file had.
fn seed(private: &[u8]) -> Result<hmac::Key, &'static str> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"telemeter");
    let prk = salt.extract(private);
    let expanded = prk.expand(&[b"derive"], hkdf::HKDF_SHA256).map_err(|_| UNUSABLE)?;
    let mut bytes = Zeroizing::new([0; 32]);
    expanded.fill(&mut *bytes).map_err(|_| UNUSABLE)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*bytes))
}

const ENCRYPTED: &str = "the key is encrypted: decrypt it first (openssl pkey -in FILE -out PLAIN)";

/// The first private key of a PEM file; `None` where the bytes hold no PEM block.
fn pem_key(bytes: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, &'static str> {
    let blocks = pem::blocks(bytes);
    if blocks.is_empty() {
        return Ok(None);
    }
    let block = blocks.into_iter().find(pem::PemBlock::is_private_key).ok_or("the PEM file holds no private key")?;
    if block.is_encrypted() {
        return Err(ENCRYPTED);
    }
    block.der.map(Some).map_err(|_| "the private key in the PEM file is broken")
}

/// Whether this is an encrypted PKCS #8 key: it starts with the object identifier of a cipher of PKCS #5
/// (1.2.840.113549.1.5) or PKCS #12 (1.2.840.113549.1.12), where an unencrypted one has its version.
fn is_encrypted_der(bytes: &[u8]) -> bool {
    const CIPHERS: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01"];
    let head = &bytes[..bytes.len().min(32)];
    head.starts_with(b"\x30") && CIPHERS.iter().any(|name| head.windows(name.len()).any(|part| part == *name))
}
