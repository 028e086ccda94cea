use std::process::Command;

use super::*;
use crate::client::words::tests::self_signed;

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn pair(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    read_pair(cert, key, &rustls::crypto::aws_lc_rs::default_provider())
}

#[test]
fn validity_is_what_openssl_wrote() {
    let folder = tempfile::tempdir().unwrap();
    openssl(folder.path(), "ecparam -name prime256v1 -genkey -noout -out key.pem");
    // Dates are UTCTime up to 2049, and GeneralizedTime from 2050 on.
    for (days, years) in [(1, 0), (3650, 10), (36500, 100)] {
        openssl(folder.path(), &format!("req -x509 -key key.pem -subj /CN=x -days {days} -out cert.pem"));
        let shown = Command::new("openssl")
            .args(["x509", "-noout", "-startdate", "-enddate", "-dateopt", "iso_8601", "-in", "cert.pem"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let chain = chain(&std::fs::read(folder.path().join("cert.pem")).unwrap()).unwrap();
        let valid = validity(&chain[0]).expect("it has dates");
        let expected = format!("notBefore={}\nnotAfter={}\n", iso(valid.not_before_ms), iso(valid.not_after_ms));
        assert_eq!(shown, expected, "{years} years");
        assert_eq!(valid.not_after_ms - valid.not_before_ms, days * 24 * 60 * 60 * 1000);
    }
}

/// Formats a time as `2026-11-26 00:40:29Z`, from the HTTP format: `Thu, 26 Nov 2026 00:40:29 GMT`.
fn iso(unix_ms: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = date(unix_ms);
    let words: Vec<_> = text.split(' ').collect();
    let month = 1 + MONTHS.iter().position(|name| *name == words[2]).unwrap();
    format!("{}-{month:02}-{} {}Z", words[3], words[1], words[4])
}

#[test]
fn a_flaw_of_the_dates_is_said_with_the_date() {
    let week_ms = EXPIRES_SOON.as_millis() as i64;
    let valid = Validity { not_before_ms: 1_000_000, not_after_ms: 2_000_000 + week_ms };
    for (now_ms, expected) in [
        (999_999, Some("is not valid yet: it is valid from Thu, 01 Jan 1970 00:16:40 GMT")),
        (1_000_000, None),
        (1_999_999, None),
        (2_000_000, Some("expires soon: it is valid until Thu, 08 Jan 1970 00:33:20 GMT")),
        (2_000_000 + week_ms, Some("expires soon: it is valid until Thu, 08 Jan 1970 00:33:20 GMT")),
        (2_000_001 + week_ms, Some("has expired: it was valid until Thu, 08 Jan 1970 00:33:20 GMT")),
    ] {
        assert_eq!(valid.flaw(now_ms).as_deref(), expected, "{now_ms}");
    }
    assert_eq!(date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_eq!(validity(&CertificateDer::from(vec![0, 1, 2])), None);
}

#[test]
fn an_encrypted_key_says_decrypt_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    openssl(folder.path(), "genrsa -out plain.pem 2048");
    openssl(folder.path(), "req -x509 -key plain.pem -subj /CN=x -days 1 -out cert.pem");
    pair(&path("cert.pem"), &path("plain.pem")).expect("a pair");
    openssl(folder.path(), "pkey -in plain.pem -aes256 -passout pass:hunter2 -out pkcs8.pem");
    openssl(folder.path(), "rsa -in plain.pem -traditional -aes256 -passout pass:hunter2 -out traditional.pem");
    for name in ["pkcs8.pem", "traditional.pem"] {
        let key = path(name);
        let error = pair(&path("cert.pem"), &key).expect_err("encrypted").to_string();
        let shown = key.display();
        let expected =
            format!("{shown} holds an encrypted private key: decrypt it first (openssl pkey -in {shown} -out PLAIN)");
        assert_eq!(error, expected);
        // The command in the error message works.
        openssl(folder.path(), &format!("pkey -in {name} -passin pass:hunter2 -out decrypted.pem"));
        pair(&path("cert.pem"), &path("decrypted.pem")).expect("a pair");
    }
}

#[test]
fn what_is_wrong_is_said_in_words_and_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (cert, key) = self_signed(&["localhost"]);
    let (_, other_key) = self_signed(&["localhost"]);
    let (good, good_key) = (write("good.crt", &cert), write("good.key", &key));
    let other_key = write("other.key", &other_key);
    let block = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");

    let check = |cert: &Path, key: &Path, expected: &str| {
        let error = pair(cert, key).expect_err("no pair").to_string();
        let here = format!("{}/", folder.path().display());
        assert_eq!(error.replace(&here, ""), expected);
    };
    check(&good, &other_key, "other.key is not the key of good.crt");
    check(&good_key, &good_key, "good.key holds no certificate in PEM");
    check(&good, &good, "good.crt holds no private key in PEM");
    check(
        folder.path(),
        &good_key,
        &format!("{} cannot be read: it is a directory, not a file", folder.path().display()),
    );
    let broken = write("broken.crt", &format!("{cert}{}", block("CERTIFICATE", "AAA!")));
    let line = 1 + cert.lines().count();
    check(
        &broken,
        &good_key,
        &format!("broken.crt holds a broken certificate, number 2 at line {line}: it is not base64"),
    );
    let nonsense = write("nonsense.crt", &block("CERTIFICATE", "AAAA"));
    check(&nonsense, &good_key, "nonsense.crt cannot be used: the certificate cannot be read");
    let trusted = write("trusted.crt", &cert.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"));
    check(&trusted, &good_key, "trusted.crt holds no certificate in PEM");
    let broken = write("broken.key", &block("PRIVATE KEY", "AAA!"));
    check(&good, &broken, "broken.key holds a broken private key: it is not base64");
    let nonsense = write("nonsense.key", &block("EC PRIVATE KEY", "AAAA"));
    check(&good, &nonsense, &format!("nonsense.key {UNUSABLE}"));
    let dsa = write("dsa.key", &block("DSA PRIVATE KEY", "AAAA"));
    check(&good, &dsa, "dsa.key holds no private key in PKCS#8, PKCS#1 or SEC1");
    // A file may have parameters before the key, as `openssl ecparam -genkey` writes them, a byte-order mark, and CRLF.
    let mixed = format!("\u{feff}{}{key}", block("EC PARAMETERS", "BggqhkjOPQMBBw==")).replace('\n', "\r\n");
    let mixed = write("mixed.key", &mixed);
    pair(&write("mark.crt", &format!("\u{feff}Subject: x\n{cert}")), &mixed).expect("a pair");
}
