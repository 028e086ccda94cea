use super::*;
use crate::client::words::tests::self_signed;

/// A test system, whose root directory `/` is a temporary directory.
struct System {
    root: tempfile::TempDir,
    variables: Vec<(&'static str, OsString)>,
}

impl System {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self) -> Result<Roots, String> {
        let value = |name: &str| self.variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
        Roots::system(self.root.path(), value)
    }

    /// Checks the sources, as paths relative to the root, and the problems.
    fn check(&self, sources: &[(&str, usize)], problems: &[&str]) {
        let roots = self.load().unwrap();
        let bare = |path: &Path| path.strip_prefix(self.root.path()).unwrap().to_str().unwrap().to_owned();
        let found: Vec<_> = roots.sources.iter().map(|(path, count)| (bare(path), *count)).collect();
        let expected: Vec<_> = sources.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
        assert_eq!(found, expected);
        let here = format!("{}/", self.root.path().display());
        let found: Vec<_> = roots.problems.iter().map(|problem| problem.replace(&here, "")).collect();
        assert_eq!(found, problems);
    }
}

fn authority() -> String {
    self_signed(&["authority"]).0
}

#[test]
fn the_first_file_that_exists_counts() {
    let system = System::new();
    system.check(&[], &[]);
    assert!(system.load().unwrap().into_store().0.is_empty());
    // The files are written in the reverse of Go's order: each new file is used instead of those that exist.
    let order = [
        "etc/ssl/certs/ca-certificates.crt",
        "etc/pki/tls/certs/ca-bundle.crt",
        "etc/ssl/ca-bundle.pem",
        "etc/pki/tls/cacert.pem",
        "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "etc/ssl/cert.pem",
    ];
    for (count, file) in order.iter().rev().enumerate() {
        let count = count + 1;
        system.write(file, (0..count).map(|_| authority()).collect::<String>());
        let roots = system.load().unwrap();
        assert_eq!(roots.sources[0], (system.path(file), count));
    }
    // A bundle in a directory that is also read counts once.
    let (first, directory) = ((order[0], 6), ("etc/pki/tls/certs", 5));
    system.check(&[first, directory], &[]);
}

#[test]
fn one_bundle_behind_all_names_is_counted_once() {
    let system = System::new();
    let bundle = system.write("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", authority() + &authority());
    for name in ["etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/cert.pem"] {
        fs::create_dir_all(system.path(name).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&bundle, system.path(name)).unwrap();
    }
    system.check(&[("etc/ssl/certs/ca-certificates.crt", 2)], &[]);
    // A new bundle counts at once, and the old roots no longer count.
    fs::write(&bundle, authority()).unwrap();
    system.check(&[("etc/ssl/certs/ca-certificates.crt", 1)], &[]);
    assert_eq!(system.load().unwrap().into_store().1, 1);
}

#[test]
fn directories_are_read_beside_the_file() {
    let system = System::new();
    let one = authority();
    system.write("etc/ssl/cert.pem", &one);
    system.write("etc/ssl/certs/one.crt", &one);
    system.write("etc/ssl/certs/two.crt", authority());
    system.write("etc/ssl/certs/README", "nothing");
    system.write("etc/ssl/certs/java/three.crt", authority());
    // The link is a hash of a name and points to a file in the same directory, so it is skipped.
    std::os::unix::fs::symlink("two.crt", system.path("etc/ssl/certs/0a1b2c3d.0")).unwrap();
    std::os::unix::fs::symlink("/nowhere", system.path("etc/ssl/certs/gone.crt")).unwrap();
    let elsewhere = system.write("usr/share/four.crt", authority());
    std::os::unix::fs::symlink(elsewhere, system.path("etc/ssl/certs/four.crt")).unwrap();
    system.write("etc/pki/tls/certs/five.crt", authority());
    system.check(&[("etc/ssl/cert.pem", 1), ("etc/ssl/certs", 2), ("etc/pki/tls/certs", 1)], &[]);
}

#[test]
fn variables_go_before() {
    let mut system = System::new();
    system.write("etc/ssl/cert.pem", authority());
    system.write("etc/ssl/certs/two.crt", authority());
    let file = system.write("mine/bundle.pem", authority() + &authority());
    system.write("first/a.crt", authority());
    system.write("second/b.crt", authority() + &authority() + &authority());
    let path = |name: &str| system.path(name).into_os_string();
    let (first, second) = (path("first"), path("second"));
    let list = [first.as_os_str(), second.as_os_str()].join(OsStr::new(":"));

    // Each variable replaces its own list, and leaves the other list.
    system.variables = vec![("SSL_CERT_FILE", file.clone().into())];
    system.check(&[("mine/bundle.pem", 2), ("etc/ssl/certs", 1)], &[]);
    system.variables = vec![("SSL_CERT_DIR", list.clone())];
    system.check(&[("etc/ssl/cert.pem", 1), ("first", 1), ("second", 3)], &[]);
    system.variables = vec![("SSL_CERT_FILE", file.into()), ("SSL_CERT_DIR", list)];
    system.check(&[("mine/bundle.pem", 2), ("first", 1), ("second", 3)], &[]);
    // An empty variable counts as unset.
    system.variables = vec![("SSL_CERT_FILE", "".into()), ("SSL_CERT_DIR", "".into())];
    system.check(&[("etc/ssl/cert.pem", 1), ("etc/ssl/certs", 1)], &[]);
    // A missing file or directory that a variable names is a problem, and no default is read instead.
    system.variables = vec![("SSL_CERT_FILE", "/nowhere.pem".into()), ("SSL_CERT_DIR", "/nowhere".into())];
    let missing = "cannot be read: No such file or directory";
    let problems = [format!("SSL_CERT_FILE: /nowhere.pem {missing}"), format!("SSL_CERT_DIR: /nowhere {missing}")];
    system.check(&[], &[&problems[0], &problems[1]]);
}

#[test]
fn the_good_certificates_of_a_bundle_count() {
    let (one, two) = (authority(), authority());
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let lines = one.lines().count();
    let check = |bundle: String, count: usize, problems: &[String]| {
        let system = System::new();
        system.write("etc/ssl/cert.pem", bundle);
        let problems: Vec<_> =
            problems.iter().map(|problem| format!("etc/ssl/cert.pem: certificate {problem}")).collect();
        system.check(&[("etc/ssl/cert.pem", count)], &problems.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let unreadable = "is left out: the certificate cannot be read";
    check(format!("{bad}{one}"), 1, &[format!("1, at line 1, {unreadable}")]);
    check(format!("{one}{bad}{two}"), 2, &[format!("2, at line {}, {unreadable}", lines + 1)]);
    let no_base64 = bad.replace("AAAA", "AA!A");
    check(
        format!("{no_base64}{one}{bad}"),
        1,
        &["1, at line 1, is left out: it is not base64".to_owned(), format!("3, at line {}, {unreadable}", lines + 4)],
    );
    let cut = one.split_once("-----END").unwrap().0;
    check(format!("{cut}{two}"), 1, &["1, at line 1, is left out: it has no END line".to_owned()]);
    // Text between blocks, CRLF, a byte-order mark, blocks of another kind, and headers are accepted as in Go.
    check(format!("\u{feff}# Authority: one\n{one}\nand two\n{two}").replace('\n', "\r\n"), 2, &[]);
    check(format!("{}{two}", one.replace(" CERTIFICATE", " TRUSTED CERTIFICATE")), 1, &[]);
    let headers = one.replace("BEGIN CERTIFICATE-----\n", "BEGIN CERTIFICATE-----\nKey: value\n\n");
    check(format!("{headers}{two}"), 1, &[]);
    check(one.clone() + &one, 2, &[]);
}

#[test]
fn a_bundle_without_a_usable_certificate_is_named() {
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let system = System::new();
    for content in [bad, "nothing here", &authority().replace(" CERTIFICATE", " TRUSTED CERTIFICATE")] {
        let path = system.write("etc/ssl/cert.pem", content);
        let error = system.load().err().expect("nothing usable");
        assert_eq!(error, format!("{} holds no certificate in PEM that can be used", path.display()));
        // The same holds for a file that the configuration names, also for an empty one.
        let mut roots = System::new().load().unwrap();
        assert_eq!(roots.add_file(&path), Err(error));
    }
    // An empty bundle of the system means that no root is trusted.
    system.write("etc/ssl/cert.pem", " \n");
    system.check(&[("etc/ssl/cert.pem", 0)], &[]);
    let path = system.write("etc/ssl/cert.pem", "");
    assert!(System::new().load().unwrap().add_file(&path).is_err());
    let error = System::new().load().unwrap().add_file(system.root.path()).expect_err("a directory");
    assert_eq!(error, format!("{} cannot be read: it is a directory, not a file", system.root.path().display()));
}
