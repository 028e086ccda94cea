#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::Secret;

const NOW_MS: i64 = 1_795_330_875_000;

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn claims() -> Claims {
    let id = "00000000-0000-4000-8000-000000000001";
    Claims::new("acct1".to_owned(), labels(&[("_id", id)]), NOW_MS + 999, Duration::from_secs(86_400))
}

fn verifier(keys: Keys) -> TokenVerifier {
    TokenVerifier::new(Arc::new(keys), 1_000)
}

fn part(token: &Secret, index: usize) -> String {
    let part = token.expose().split('.').nth(index).unwrap();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A token with this header and payload, really signed.
fn forge(keys: &Keys, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = keys.signer().sign(message.as_bytes()).unwrap();
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The layout that Go's server gives out, byte for byte.
#[test]
fn prints_header_and_claims_as_go_does() {
    let token = sign(&Keys::generate().unwrap(), &claims()).unwrap();
    assert_eq!(part(&token, 0), r#"{"alg":"ES256"}"#);
    assert_eq!(
        part(&token, 1),
        concat!(
            r#"{"aud":"telemeter-client","exp":1795417275,"iat":1795330875,"iss":"telemeter.selfsigned","#,
            r#""nbf":1795330875,"sub":"acct1","#,
            r#""telemeter.openshift.io":{"labels":{"_id":"00000000-0000-4000-8000-000000000001"}}}"#
        )
    );
}

#[test]
fn a_token_names_its_caller() {
    let verifier = verifier(Keys::generate().unwrap());
    let mut claims = claims();
    claims.labels.extend(labels(&[("z", ""), ("a", "ü")]));
    let token = sign(&verifier.keys(), &claims).unwrap();
    for _remembered in [false, true] {
        let caller = verifier.verify(token.expose(), NOW_MS).unwrap();
        assert_eq!(caller.account(), "acct1");
        let id = "00000000-0000-4000-8000-000000000001";
        assert_eq!(caller.labels().collect::<Vec<_>>(), [("_id", id), ("a", "ü"), ("z", "")]);
        assert_eq!((caller.label("_id"), caller.label("b")), (Some(id), None));
        assert_eq!(caller.expires_ms(), 1_795_417_275_000);
    }
    let first = verifier.verify(token.expose(), NOW_MS).unwrap();
    assert!(Arc::ptr_eq(&first, &verifier.verify(token.expose(), NOW_MS).unwrap()), "it is remembered");
}

#[track_caller]
fn check(header: &str, payload: &str, expected: Result<(), TokenFault>) {
    let keys = Keys::generate().unwrap();
    let token = forge(&keys, header, payload);
    let verified = verifier(keys).verify(&token, NOW_MS).map(|_| ());
    assert_eq!(verified.map_err(|bad| bad.fault), expected, "{header} {payload}");
}

const ES256: &str = r#"{"alg":"ES256"}"#;
const PRIVATE: &str = r#""telemeter.openshift.io":{"labels":{"_id":"c"}}"#;

/// Claims of which only `own` differ from good ones.
#[track_caller]
fn check_claims(own: &str, expected: Result<(), TokenFault>) {
    let aud = if own.contains("\"aud\"") { "" } else { r#""aud":"telemeter-client","# };
    let iss = if own.contains("\"iss\"") { "" } else { r#""iss":"telemeter.selfsigned","# };
    let sub = if own.contains("\"sub\"") { "" } else { r#""sub":"s","# };
    let exp = if own.contains("\"exp\"") { "" } else { r#""exp":1795417275,"# };
    let private = if own.contains("openshift") { "" } else { &format!("{PRIVATE},") };
    check(ES256, &format!("{{{aud}{iss}{sub}{exp}{private}{own}}}"), expected);
}

#[test]
fn takes_every_lawful_form_of_the_claims() {
    check_claims(r#""x":[1]"#, Ok(()));
    check_claims(r#""aud":["other","telemeter-client"]"#, Ok(()));
    check_claims(r#""exp":1795417275.75"#, Ok(()));
    check_claims(r#""nbf":1.795330875e9,"iat":1795330875"#, Ok(()));
    check_claims(r#""telemeter.openshift.io":{"labels":null}"#, Ok(()));
    check_claims(r#""telemeter.openshift.io":{}"#, Ok(()));
}

#[test]
fn a_minute_of_leeway_and_no_more() {
    check_claims(r#""exp":1795330815"#, Ok(()));
    check_claims(r#""exp":1795330814"#, Err(TokenFault::Expired));
    check_claims(r#""nbf":1795330935"#, Ok(()));
    check_claims(r#""nbf":1795330936"#, Err(TokenFault::NotYetValid));
    check_claims(r#""iat":1795330935"#, Ok(()));
    check_claims(r#""iat":1795330936"#, Err(TokenFault::NotYetValid));
}

#[test]
fn refuses_claims_of_others() {
    check_claims(r#""iss":"other""#, Err(TokenFault::Issuer));
    check_claims(r#""iss":null"#, Err(TokenFault::Issuer));
    check_claims(r#""aud":"other""#, Err(TokenFault::Audience));
    check_claims(r#""aud":[]"#, Err(TokenFault::Audience));
    check_claims(r#""aud":null"#, Err(TokenFault::Audience));
    check_claims(r#""sub":"""#, Err(TokenFault::Malformed("it names no subject")));
    check_claims(r#""exp":null"#, Err(TokenFault::Malformed("it never expires")));
    check_claims(r#""telemeter.openshift.io":null"#, Err(TokenFault::Malformed("it holds no labels")));
    let unreadable = Err(TokenFault::Malformed("the claims are not readable"));
    check_claims(r#""exp":"1795417275""#, unreadable);
    check_claims(r#""exp":1,"exp":1795417275"#, unreadable);
    check_claims(r#""telemeter.openshift.io":{"labels":{"_id":7}}"#, unreadable);
    check(ES256, "[]", unreadable);
}

#[test]
fn only_the_key_decides_the_algorithm() {
    let good = String::from_utf8(claims().to_json()).unwrap();
    check(r#"{"alg":"ES256","typ":"JWT","kid":"x"}"#, &good, Ok(()));
    for other in ["none", "None", "HS256", "ES384", "ES512", "RS256", "PS256", "es256", ""] {
        check(&format!(r#"{{"alg":"{other}"}}"#), &good, Err(TokenFault::Algorithm));
    }
    check(r#"{"alg":"ES256","crit":["exp"]}"#, &good, Err(TokenFault::Malformed("it demands an extension")));
    let unreadable = Err(TokenFault::Malformed("the header is not readable"));
    check(r#"{"alg":"none","alg":"ES256"}"#, &good, unreadable);
    check("{}", &good, unreadable);
    check("", &good, unreadable);
}

#[test]
fn there_is_one_spelling_of_a_token() {
    let verifier = verifier(Keys::generate().unwrap());
    let token = sign(&verifier.keys(), &claims()).unwrap();
    let token = token.expose();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let refused = |token: &str| assert!(verifier.verify(token, NOW_MS).is_err(), "{token}");
    refused(&format!("{token}=="));
    refused(&format!("{token}\n"));
    refused(&format!("{token}."));
    refused(&format!(".{token}"));
    refused(message);
    refused(&format!("{message}."));
    refused(&token.replace('.', ".."));
    // The last character of 64 bytes carries four bits that mean nothing: all but one spelling is refused.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let stem = &signature[..signature.len() - 1];
    let good = alphabet.chars().filter(|c| verifier.verify(&format!("{message}.{stem}{c}"), NOW_MS).is_ok());
    assert_eq!(good.count(), 1);
    refused(&"x".repeat(crate::bearer::MAX_BYTES + 1));
}

#[test]
fn a_remembered_token_ends_in_time() {
    let verifier = verifier(Keys::generate().unwrap());
    let token = sign(&verifier.keys(), &claims()).unwrap();
    let end = NOW_MS + 86_400_000;
    assert!(verifier.verify(token.expose(), NOW_MS).is_ok());
    assert!(verifier.verify(token.expose(), end + 60_000).is_ok());
    let bad = verifier.verify(token.expose(), end + 60_001).unwrap_err();
    assert_eq!(bad.fault, TokenFault::Expired);
    let named = bad.named.unwrap();
    assert_eq!((named.account(), named.label("_id")), ("acct1", Some("00000000-0000-4000-8000-000000000001")));
}

#[test]
fn whom_a_bad_token_names_is_told_only_where_nothing_but_its_time_is_wrong() {
    let keys = Keys::generate().unwrap();
    let good = format!(r#""aud":"telemeter-client","iss":"telemeter.selfsigned","sub":"s",{PRIVATE}"#);
    let named = |keys: Keys, payload: &str| {
        let token = forge(&Keys::generate().unwrap(), ES256, payload);
        assert_eq!(verifier(Keys::generate().unwrap()).verify(&token, NOW_MS).unwrap_err().named, None, "not ours");
        let token = forge(&keys, ES256, payload);
        verifier(keys).verify(&token, NOW_MS).unwrap_err().named.map(|caller| caller.label("_id").map(str::to_owned))
    };
    assert_eq!(named(keys, &format!(r#"{{{good},"exp":1}}"#)), Some(Some("c".to_owned())));
    for bad in [
        format!(r#"{{{good},"exp":1795417275,"nbf":1795400000}}"#),
        format!(r#"{{{},"exp":1}}"#, good.replace("telemeter-client", "other")),
        format!(r#"{{{},"exp":1}}"#, good.replace("selfsigned", "other")),
        format!(r#"{{{},"exp":1}}"#, good.replace("\"s\"", "\"\"")),
    ] {
        assert_eq!(named(Keys::generate().unwrap(), &bad), None, "{bad}");
    }
}

#[test]
fn a_token_that_is_known_to_be_ours_is_read_once_more() {
    let keys = Arc::new(Keys::generate().unwrap());
    let verifier = TokenVerifier::with(keys.clone(), 1_000, 0);
    let token = sign(&keys, &claims()).unwrap();
    let (message, signature) = token.expose().rsplit_once('.').unwrap();
    let other = sign(&Keys::generate().unwrap(), &claims()).unwrap();
    let forged = format!("{message}.{}", other.expose().rsplit_once('.').unwrap().1);
    let first = verifier.verify(token.expose(), NOW_MS).unwrap();
    for _known in 0..2 {
        let again = verifier.verify(token.expose(), NOW_MS).unwrap();
        assert!(!Arc::ptr_eq(&first, &again) && first == again);
        assert_eq!(verifier.verify(&forged, NOW_MS), Err(TokenFault::Signature.into()));
        assert_eq!(
            verifier.verify(&format!("{message}..{signature}"), NOW_MS),
            Err(TokenFault::Malformed("not base64url").into())
        );
    }
    assert_eq!(verifier.verify(token.expose(), NOW_MS + 86_460_001).unwrap_err().fault, TokenFault::Expired);
    verifier.replace(Arc::new(Keys::generate().unwrap()));
    assert_eq!(verifier.verify(token.expose(), NOW_MS), Err(TokenFault::Signature.into()));
}

#[test]
fn rotation_and_reload() {
    let (old, new) = (Arc::new(Keys::generate().unwrap()), Keys::generate().unwrap());
    let verifier = TokenVerifier::new(old.clone(), 1_000);
    let token = sign(&old, &claims()).unwrap();
    assert!(verifier.verify(token.expose(), NOW_MS).is_ok());
    verifier.replace(Arc::new(new));
    assert_eq!(
        verifier.verify(token.expose(), NOW_MS),
        Err(TokenFault::Signature.into()),
        "what was remembered is gone"
    );
    verifier.replace(old);
    assert!(verifier.verify(token.expose(), NOW_MS).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_token_never_verifies(position in any::<prop::sample::Index>(), with in "[ -~]") {
        let verifier = verifier(Keys::generate().unwrap());
        let token = sign(&verifier.keys(), &claims()).unwrap();
        let at = position.index(token.expose().len());
        let mut mutated = token.expose().to_owned();
        mutated.replace_range(at..=at, &with);
        prop_assert_eq!(verifier.verify(&mutated, NOW_MS).is_ok(), mutated == token.expose());
    }

    #[test]
    fn a_shortened_token_never_verifies(cut in any::<prop::sample::Index>()) {
        let verifier = verifier(Keys::generate().unwrap());
        let token = sign(&verifier.keys(), &claims()).unwrap();
        let at = cut.index(token.expose().len());
        prop_assert!(verifier.verify(&token.expose()[..at], NOW_MS).is_err());
        prop_assert!(verifier.verify(&token.expose()[at + 1..], NOW_MS).is_err());
    }

    #[test]
    fn any_text_is_refused(token in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(verifier(Keys::generate().unwrap()).verify(&token, NOW_MS).is_err());
    }

    #[test]
    fn any_signed_claims_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..100), now in any::<i64>()) {
        prop_assert!(super::claims::read(&payload, now).is_err());
    }

    #[test]
    fn a_caller_gives_back_what_it_was_made_of(
        account in "\\PC{1,20}", pairs in prop::collection::btree_map("\\PC{0,9}", "\\PC{0,9}", 0..5)
    ) {
        let caller = Caller::new(&account, pairs.clone(), 7);
        prop_assert_eq!(caller.account(), account);
        let back: Vec<_> = caller.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(back, pairs.into_iter().collect::<Vec<_>>());
    }
}

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

    /// One key in all its formats.
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

/// ECDSA's `r` and `s`, from the fixed form of a JWT to the DER that openssl reads.
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
