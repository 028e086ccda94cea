//! The directory with the identity of the quickstart's cluster: its ID, its token, its salt, and the server's key. With
//! `--data-dir` the next run is the same cluster.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use telemeter_auth::Secret;
use telemeter_http::file::{SMALL, read_text};
use tempfile::TempDir;

use super::lock::{self, LockResult};
use crate::failure::RunFailure;

/// How long to wait for the lock of an earlier run that is ending.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// A directory with the identity of a cluster in it.
pub(super) struct IdentityDir {
    /// The cluster's ID.
    pub(super) cluster: String,
    /// The token that the authority accepts for the cluster.
    pub(super) token: Secret,
    /// The salt of hashed label values.
    pub(super) salt: Secret,
    /// The key that the server signs with.
    pub(super) key_file: PathBuf,
    path: PathBuf,
    temporary: Option<TempDir>,
    /// The lock of the directory, which is released when the file is dropped.
    _lock: File,
}

impl IdentityDir {
    /// Opens `directory`, and creates the files that it does not have; without a directory, creates a temporary one.
    pub(super) fn open(directory: Option<&Path>) -> Result<Self, RunFailure> {
        let (path, temporary) = match directory {
            Some(path) => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(|error| format!("--data-dir {}: {error}", path.display()))?;
                (path.to_owned(), None)
            }
            None => {
                let permissions = Permissions::from_mode(0o700);
                let temporary =
                    tempfile::Builder::new().prefix("telemeter-quickstart-").permissions(permissions).tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let lock = lock(&path)?;
        let key_file = path.join("key.pem");
        read_or_create(&key_file, key)?;
        let token = read_or_create(&path.join("token"), || Ok(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<24>()?)))?;
        let salt = read_or_create(&path.join("salt"), || Ok(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<24>()?)))?;
        let cluster = read_or_create(&path.join("cluster-id"), || Ok(uuid(random_bytes()?)))?;
        if !cluster.chars().all(|c| c.is_ascii_graphic()) || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!("{}: cluster-id and token must be one word each", path.display()).into());
        }
        Ok(Self { cluster, token: token.into(), salt: salt.into(), key_file, path, temporary, _lock: lock })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory stays when the program ends.
    pub(super) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// The credentials for remote write by a Prometheus: token and ID in one.
    pub(super) fn composite_token(&self) -> String {
        let parts = serde_json::json!({
            "authorization_token": self.token.expose(),
            "cluster_id": self.cluster,
        });
        BASE64_STANDARD.encode(parts.to_string())
    }

    /// Removes a temporary directory.
    pub(super) fn close(self) -> io::Result<()> {
        self.temporary.map_or(Ok(()), TempDir::close)
    }
}

/// Locks a directory for this run, and names this process in it.
fn lock(directory: &Path) -> Result<File, RunFailure> {
    let file = directory.join("lock");
    let named = |error: io::Error| format!("{}: {error}", file.display());
    let start = Instant::now();
    let mut attempt = lock::attempt(&file).map_err(named)?;
    while matches!(attempt, LockResult::Held(_)) && start.elapsed() < LOCK_TIMEOUT {
        thread::sleep(Duration::from_millis(20));
        attempt = lock::attempt(&file).map_err(named)?;
    }
    match attempt {
        LockResult::Locked(mut lock) => {
            lock::write_pid(&mut lock, std::process::id()).map_err(named)?;
            Ok(lock)
        }
        LockResult::Held(pid) => {
            let pid = pid.map(|pid| format!(" with the process ID {pid}")).unwrap_or_default();
            let directory = directory.display();
            Err(format!(
                "--data-dir {directory}: another quickstart{pid} uses it; end that one, or take another directory"
            )
            .into())
        }
    }
}

/// The text of a file, which is created with mode 0600 where there is none.
fn read_or_create(file: &Path, make: impl FnOnce() -> Result<String, RunFailure>) -> Result<String, RunFailure> {
    let named = |error: io::Error| format!("{}: {error}", file.display());
    match read_text(file, SMALL) {
        Ok(text) if text.trim().is_empty() => {
            Err(format!("{}: is empty; remove it to get a new one", file.display()).into())
        }
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.is_missing() => {
            let text = make()?;
            let mut created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(named)?;
            created.write_all(format!("{}\n", text.trim_end()).as_bytes()).map_err(named)?;
            Ok(text)
        }
        Err(error) => Err(error.into()),
    }
}

/// A new P-256 key, as PKCS#8 in PEM.
fn key() -> Result<String, RunFailure> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let der = pair.and_then(|pair| pair.to_pkcs8v1()).map_err(|_| "no key can be generated")?;
    let base64 = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

/// Random bytes from the system, for secrets and the cluster ID.
fn random_bytes<const N: usize>() -> Result<[u8; N], RunFailure> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| "the system has no randomness to give")?;
    Ok(bytes)
}

/// Version 4 of RFC 9562.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn a_kept_directory_is_the_same_cluster() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("new/data");
        let first = IdentityDir::open(Some(&path)).unwrap();
        let key = fs::read(&first.key_file).unwrap();
        telemeter_auth::jwt::Keys::load(&[&first.key_file]).unwrap();
        for file in ["key.pem", "token", "salt", "cluster-id"] {
            assert_eq!(fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let (cluster, token) = (first.cluster.clone(), first.token.expose().to_owned());
        let salt = first.salt.expose().to_owned();
        assert!(first.is_kept());
        let error = IdentityDir::open(Some(&path)).err().unwrap().to_string();
        let expected = format!("another quickstart with the process ID {} uses it", std::process::id());
        assert!(error.starts_with("--data-dir ") && error.contains(&expected), "{error}");
        first.close().unwrap();
        let second = IdentityDir::open(Some(&path)).unwrap();
        assert_eq!((second.cluster.as_str(), second.token.expose()), (cluster.as_str(), token.as_str()));
        assert_eq!((second.salt.expose(), salt.len()), (salt.as_str(), 32));
        assert_eq!(fs::read(&second.key_file).unwrap(), key);
        assert!(token.len() == 32 && cluster.len() == 36 && &cluster[14..15] == "4", "{cluster}");
    }

    #[test]
    fn without_one_nothing_stays() {
        let (one, other) = (IdentityDir::open(None).unwrap(), IdentityDir::open(None).unwrap());
        assert_ne!(one.cluster, other.cluster);
        assert_ne!(one.token.expose(), other.token.expose());
        let path = one.path().to_owned();
        assert!(path.join("token").exists() && !one.is_kept());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        one.close().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn says_which_file_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        for (content, hint) in [("\n", "token: is empty"), ("two words", "one word")] {
            fs::write(directory.path().join("token"), content).unwrap();
            let error = IdentityDir::open(Some(directory.path())).err().unwrap().to_string();
            assert!(error.contains(hint), "{error}");
        }
        let file = directory.path().join("token");
        let error = IdentityDir::open(Some(&file)).err().unwrap().to_string();
        assert!(error.starts_with("--data-dir "), "{error}");
    }
}
