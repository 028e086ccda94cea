//! Tests keys in every format; the `openssl` program makes the keys and checks the signatures.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// The `openssl` program makes keys and checks signatures, independently of our library.
struct OpenSsl(tempfile::TempDir);

impl OpenSsl {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn run(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("the openssl program is needed for this test");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes one key, and returns its files in all formats.
    fn key(&self, make: &str, traditional: &str) -> Vec<PathBuf> {
        self.run(&make.replace("OUT", "-out made.pem"));
        self.run(&format!("{traditional} -in made.pem -out old.pem"));
        self.run(&format!("{traditional} -in made.pem -out old.der -outform DER"));
        self.run("pkcs8 -topk8 -nocrypt -in made.pem -out pkcs8.pem");
        self.run("pkcs8 -topk8 -nocrypt -in made.pem -out pkcs8.der -outform DER");
        self.run("pkey -in made.pem -pubout -out public.pem");
        ["made.pem", "old.pem", "old.der", "pkcs8.pem", "pkcs8.der"].map(|name| self.path(name)).into()
    }

    #[track_caller]
    fn verifies(&self, message: &str, signature: &[u8], hash: &str) {
        std::fs::write(self.path("message"), message).unwrap();
        std::fs::write(self.path("signature"), signature).unwrap();
        let said = self.run(&format!("dgst -{hash} -verify public.pem -signature signature message"));
        assert!(said.contains("Verified OK"), "{said}");
    }
}

/// Converts an ECDSA signature from the fixed form of a JWT, `r` and `s`, to the DER that openssl reads.
fn to_der(fixed: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
        let mut digits = bytes[zeros..].to_vec();
        if digits[0] >= 0x80 {
            digits.insert(0, 0);
        }
        let mut der = vec![2, u8::try_from(digits.len()).unwrap()];
        der.extend(digits);
        der
    };
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let body = [integer(r), integer(s)].concat();
    let mut der = vec![0x30];
    if body.len() > 127 {
        der.push(0x81);
    }
    der.push(u8::try_from(body.len()).unwrap());
    der.extend(body);
    der
}

#[track_caller]
fn check_key(make: &str, traditional: &str, algorithm: Algorithm, hash: &str) {
    let openssl = OpenSsl::new();
    let files = openssl.key(make, traditional);
    let first = Keys::load(&files[..1]).unwrap();
    let verifier = verifier(Keys::load(&files[..1]).unwrap());
    for file in &files {
        let keys = Keys::load(&[file]).unwrap();
        assert_eq!(keys.algorithm(), algorithm);
        assert_eq!(keys.derive("x"), first.derive("x"), "the format of {} does not matter", file.display());
        assert_ne!(keys.derive("x"), keys.derive("y"));
        let token = sign(&keys, &claims()).unwrap();
        assert_eq!(part(&token, 0), format!(r#"{{"alg":"{}"}}"#, algorithm.name()));
        assert!(verifier.verify(token.expose(), NOW_MS).is_ok());

        let (message, signature) = token.expose().rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let signature = if algorithm == Algorithm::Rs256 { signature } else { to_der(&signature) };
        openssl.verifies(message, &signature, hash);
    }
}

#[test]
fn p256_in_every_format_agrees_with_openssl() {
    check_key("ecparam -name prime256v1 -genkey OUT", "ec", Algorithm::Es256, "sha256");
}

#[test]
fn p384_in_every_format_agrees_with_openssl() {
    check_key("ecparam -name secp384r1 -genkey OUT", "ec", Algorithm::Es384, "sha384");
}

#[test]
fn p521_in_every_format_agrees_with_openssl() {
    check_key("ecparam -name secp521r1 -genkey OUT", "ec", Algorithm::Es512, "sha512");
}

#[test]
fn rsa_in_every_format_agrees_with_openssl() {
    check_key("genrsa OUT 2048", "rsa -traditional", Algorithm::Rs256, "sha256");
}

#[test]
fn the_first_key_signs_and_all_verify() {
    let openssl = OpenSsl::new();
    openssl.run("ecparam -name prime256v1 -genkey -noout -out a.pem");
    openssl.run("ecparam -name prime256v1 -genkey -noout -out b.pem");
    openssl.run("genrsa -out c.pem 2048");
    let load = |names: &[&str]| Keys::load(&names.iter().map(|name| openssl.path(name)).collect::<Vec<_>>()).unwrap();
    let all = verifier(load(&["a.pem", "b.pem", "c.pem"]));
    for (name, algorithm) in [("a.pem", "ES256"), ("b.pem", "ES256"), ("c.pem", "RS256")] {
        let token = sign(&load(&[name]), &claims()).unwrap();
        assert!(all.verify(token.expose(), NOW_MS).is_ok(), "{name}");
        assert_eq!(part(&token, 0), format!(r#"{{"alg":"{algorithm}"}}"#));
    }
    let token = sign(&all.keys(), &claims()).unwrap();
    assert!(verifier(load(&["a.pem"])).verify(token.expose(), NOW_MS).is_ok());
    assert_eq!(verifier(load(&["b.pem"])).verify(token.expose(), NOW_MS), Err(TokenFault::Signature.into()));
    assert_eq!(verifier(load(&["c.pem"])).verify(token.expose(), NOW_MS), Err(TokenFault::Algorithm.into()));
}

#[track_caller]
fn check_refused(file: &Path, reason: &str) {
    let error = Keys::load(&[file]).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
    assert!(error.contains(&*file.to_string_lossy()), "{error} names the file");
}

#[test]
fn says_why_a_key_is_refused() {
    let openssl = OpenSsl::new();
    openssl.run("genrsa -out small.pem 1024");
    openssl.run("genrsa -traditional -out small-old.pem 1024");
    openssl.run("genpkey -algorithm ed25519 -out ed25519.pem");
    openssl.run("ecparam -name secp256k1 -genkey -noout -out koblitz.pem");
    openssl.run("genpkey -algorithm RSA -aes128 -pass pass:hunter2 -out encrypted.pem");
    openssl.run("genrsa -out plain.pem 2048");
    openssl.run("rsa -in plain.pem -traditional -aes128 -passout pass:hunter2 -out encrypted-old.pem");
    openssl.run("pkcs8 -topk8 -in plain.pem -outform DER -v2 aes128 -passout pass:hunter2 -out encrypted.der");
    openssl
        .run("pkcs8 -topk8 -in plain.pem -outform DER -v1 PBE-SHA1-3DES -passout pass:hunter2 -out encrypted-v1.der");
    openssl.run("pkey -in ed25519.pem -pubout -out public.pem");
    std::fs::write(openssl.path("text"), "hello").unwrap();
    std::fs::write(openssl.path("cut.pem"), "-----BEGIN PRIVATE KEY-----\nMII").unwrap();
    check_refused(&openssl.path("small.pem"), "at least 2048 bits");
    check_refused(&openssl.path("small-old.pem"), "at least 2048 bits");
    check_refused(&openssl.path("ed25519.pem"), "no private key of EC P-256");
    check_refused(&openssl.path("koblitz.pem"), "no private key of EC P-256");
    for encrypted in ["encrypted.pem", "encrypted-old.pem", "encrypted.der", "encrypted-v1.der"] {
        let path = openssl.path(encrypted);
        let way_out = format!("is encrypted: decrypt it first (openssl pkey -in {} -out PLAIN)", path.display());
        check_refused(&path, &way_out);
    }
    check_refused(&openssl.path(""), "is a directory, not a file");
    check_refused(Path::new("/dev/zero"), "is a device, not a file");
    let marked = format!("\u{feff}{}", std::fs::read_to_string(openssl.path("plain.pem")).unwrap());
    std::fs::write(openssl.path("marked.pem"), marked).unwrap();
    Keys::load(&[openssl.path("marked.pem")]).expect("a byte-order mark is passed over");
    check_refused(&openssl.path("public.pem"), "holds no private key");
    check_refused(&openssl.path("text"), "no private key of EC P-256");
    check_refused(&openssl.path("cut.pem"), "the private key in the PEM file is broken");
    check_refused(&openssl.path("absent"), "No such file");
    assert!(Keys::parse::<&[u8]>(&[]).is_err());
    assert!(!format!("{:?}", Keys::generate().unwrap()).contains("seed"));
}
