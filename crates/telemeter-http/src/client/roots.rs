//! The trusted root certificates: the system's, found as Go finds them on Linux, and those of a CA file.
//!
//! Source: Go's `crypto/x509`, `root_linux.go` and `root_unix.go`; `AppendCertsFromPEM` for the blocks that count as a
//! certificate.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use super::io_error_text;
use super::words;
use crate::certificate::certificates;
use crate::file;
use crate::pem;

/// The first of these files that can be read is used.
const FILES: [&str; 6] = [
    "etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Gentoo
    "etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
    "etc/ssl/ca-bundle.pem",                            // openSUSE
    "etc/pki/tls/cacert.pem",                           // OpenELEC
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS, RHEL 7
    "etc/ssl/cert.pem",                                 // Alpine
];
/// All files in these directories are used.
const DIRECTORIES: [&str; 2] = ["etc/ssl/certs", "etc/pki/tls/certs"];

/// The variable that names one file to read instead of [`FILES`].
const FILE_VARIABLE: &str = "SSL_CERT_FILE";
/// The variable that names directories, separated by colons, to read instead of [`DIRECTORIES`].
const DIRECTORY_VARIABLE: &str = "SSL_CERT_DIR";

/// The roots, and the files that they came from.
pub(super) struct Roots {
    store: RootCertStore,
    known: HashSet<Vec<u8>>,
    /// Each file with the number of its roots, or each directory with the number of roots that no file before had.
    sources: Vec<(PathBuf, usize)>,
    /// One sentence for each certificate that cannot be used and each file that cannot be read.
    problems: Vec<String>,
}

/// The number of roots in one file.
struct AddedRoots {
    new: usize,
    usable: usize,
}

impl Roots {
    /// Reads the system's roots, of which there may be none; `root` is `/`, or another directory in a test.
    ///
    /// # Errors
    /// Names a bundle that is not empty and has no usable certificate.
    pub(super) fn system(root: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut roots =
            Self { store: RootCertStore::empty(), known: HashSet::new(), sources: Vec::new(), problems: Vec::new() };

        let named = set(FILE_VARIABLE).map(PathBuf::from);
        let is_named = named.is_some();
        let files = named.map_or_else(|| FILES.iter().map(|file| root.join(file)).collect(), |file| vec![file]);
        for path in files {
            match file::read(&path, file::LARGE) {
                Ok(bytes) => {
                    let added = roots.add(&path, &bytes);
                    if added.usable == 0 && !bytes.trim_ascii().is_empty() {
                        return Err(no_certificate(&path));
                    }
                    roots.sources.push((path, added.usable));
                    break;
                }
                Err(error) if error.is_missing() && !is_named => {}
                Err(error) if is_named => roots.problems.push(format!("{FILE_VARIABLE}: {error}")),
                Err(error) => roots.problems.push(error.to_string()),
            }
        }
        let directories = match set(DIRECTORY_VARIABLE) {
            Some(list) => {
                list.as_bytes().split(|byte| *byte == b':').map(|path| OsStr::from_bytes(path).into()).collect()
            }
            None => DIRECTORIES.iter().map(|directory| root.join(directory)).collect::<Vec<_>>(),
        };
        let is_named = set(DIRECTORY_VARIABLE).is_some();
        for directory in directories {
            if let Err(error) = roots.add_directory(&directory)
                && is_named
            {
                let (directory, error) = (directory.display(), io_error_text(&error));
                roots.problems.push(format!("{DIRECTORY_VARIABLE}: {directory} cannot be read: {error}"));
            }
        }
        Ok(roots)
    }

    /// Adds the roots of a file that the configuration names.
    ///
    /// # Errors
    /// Names a file that cannot be read, or has no usable certificate.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let bytes = file::read(path, file::LARGE).map_err(|error| error.to_string())?;
        let added = self.add(path, &bytes);
        if added.usable == 0 {
            return Err(no_certificate(path));
        }
        self.sources.push((path.to_owned(), added.usable));
        Ok(())
    }

    /// Adds the roots of a directory. As in Go, files without a certificate are skipped, and so are links to files in
    /// the same directory, which are hashes of names.
    fn add_directory(&mut self, directory: &Path) -> std::io::Result<()> {
        let entries = fs::read_dir(directory)?;
        let mut paths: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| !is_link_in_directory(path)).collect();
        paths.sort();
        let mut new = 0;
        for path in paths {
            if let Ok(bytes) = file::read(&path, file::LARGE) {
                new += self.add(&path, &bytes).new;
            }
        }
        if new > 0 {
            self.sources.push((directory.to_owned(), new));
        }
        Ok(())
    }

    /// Adds the valid certificates of a file; each invalid one becomes a problem, with its position.
    fn add(&mut self, path: &Path, bytes: &[u8]) -> AddedRoots {
        let mut added = AddedRoots { new: 0, usable: 0 };
        for (index, block) in certificates(&pem::blocks(bytes)).enumerate() {
            let outcome = match &block.der {
                Ok(der) if self.known.contains(der.as_slice()) => Ok(false),
                Ok(der) => match self.store.add(CertificateDer::from(der.as_slice())) {
                    Ok(()) => Ok(self.known.insert(der.to_vec())),
                    Err(error) => Err(words::tls_error_text(&error)),
                },
                Err(reason) => Err((*reason).to_owned()),
            };
            match outcome {
                Ok(is_new) => {
                    added.usable += 1;
                    added.new += usize::from(is_new);
                }
                Err(reason) => {
                    let (file, position, line) = (path.display(), index + 1, block.line);
                    self.problems
                        .push(format!("{file}: certificate {position}, at line {line}, is left out: {reason}"));
                }
            }
        }
        added
    }

    /// Logs the number of roots from each source, and the problems.
    pub(super) fn log(&self, client: &str) {
        for problem in &self.problems {
            tracing::warn!(client, "trusted roots: {problem}");
        }
        for (source, count) in &self.sources {
            tracing::info!(client, roots = count, from = %source.display(), "trusted roots");
        }
        if self.sources.is_empty() {
            tracing::info!(client, roots = 0, "trusted roots: none");
        }
    }

    /// The roots for the TLS library, and their number.
    pub(super) fn into_store(self) -> (RootCertStore, usize) {
        let count = self.store.len();
        (self.store, count)
    }
}

fn no_certificate(path: &Path) -> String {
    format!("{} holds no certificate in PEM that can be used", path.display())
}

/// Whether the path is a link to a file in the same directory.
fn is_link_in_directory(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| !target.as_os_str().as_bytes().contains(&b'/'))
}

#[cfg(test)]
mod tests;
