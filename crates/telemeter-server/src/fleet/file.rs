//! Keeps the registry in a file, so that a silent cluster is still known after a restart.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use telemeter_fleet::{Registry, snapshot};

/// How much is read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Where the registry is kept over a restart.
#[derive(Debug)]
pub struct FleetFile {
    path: PathBuf,
    /// Whether the last write failed: a failure is logged once, and so is the next success.
    failed: AtomicBool,
}

impl FleetFile {
    /// Reads the file at `path` into an empty registry, and writes it once, so that a file that cannot be written fails the start.
    ///
    /// A file that cannot be read to its end is renamed to `PATH.broken`; the clusters before the damage are kept.
    ///
    /// # Errors
    /// Why there can be no such file, with its name.
    pub fn open(path: PathBuf, registry: &Registry) -> Result<Self, String> {
        let failure = |error: &dyn std::fmt::Display| format!("--fleet-file {}: {error}", path.display());
        match File::open(&path) {
            Ok(file) => {
                let is_file = file.metadata().map_err(|error| failure(&error))?.is_file();
                if !is_file {
                    return Err(failure(&"it is no regular file"));
                }
                match snapshot::read(registry, &mut BufReader::with_capacity(BUFFER_BYTES, file)) {
                    Ok(clusters) => tracing::info!(file = %path.display(), clusters, "the fleet is known from before"),
                    Err(error) => {
                        let aside = with_suffix(&path, "broken");
                        let kept = registry.len();
                        let file = path.display();
                        tracing::warn!(%file, %error, kept, aside = %aside.display(), "the file of the fleet is set aside");
                        fs::rename(&path, &aside).map_err(|error| failure(&error))?;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failure(&error)),
        }
        write_file(&path, registry).map_err(|error| failure(&format_args!("it cannot be written: {error}")))?;
        Ok(Self { path, failed: AtomicBool::new(false) })
    }

    /// Writes the registry. The old file stays until the new one is complete on the disk. A failure is logged, and not
    /// again until the file could be written.
    pub fn save(&self, registry: &Registry) {
        let file = self.path.display();
        match write_file(&self.path, registry) {
            Ok(()) => {
                if self.failed.swap(false, Ordering::Relaxed) {
                    tracing::info!(%file, "the file of the fleet can be written again");
                }
            }
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%file, %error, "the file of the fleet cannot be written: a restart would forget");
                }
            }
        }
    }
}

/// Writes the registry to `path` with the suffix `new`, syncs it to the disk and renames it. An error leaves the file
/// at `path` as it was, and removes the new one.
fn write_file(path: &Path, registry: &Registry) -> io::Result<()> {
    let temporary = with_suffix(path, "new");
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, create(&temporary)?);
    let written =
        snapshot::write(registry, &mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = renamed {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The new name is on the disk once its folder is synced; not every file system can sync a folder.
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// Creates a file that only our own user may read: it holds cluster IDs and addresses.
fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn with_suffix(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use telemeter_fleet::{AcceptedRequest, RegistryConfig, ReportRoute};

    use super::*;

    fn registry(clusters: usize) -> Registry {
        let registry = Registry::new(RegistryConfig::default());
        for number in 0..clusters {
            registry.accept(&AcceptedRequest {
                cluster: &format!("c-{number}"),
                route: ReportRoute::Upload,
                now_ms: 1_800_000_000_000,
                peer: Ipv4Addr::LOCALHOST.into(),
                user_agent: "",
                report: None,
            });
        }
        registry
    }

    #[test]
    fn what_was_saved_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        FleetFile::open(path.clone(), &registry(0)).unwrap().save(&registry(3000));
        let again = registry(0);
        FleetFile::open(path.clone(), &again).unwrap();
        assert_eq!(again.len(), 3000);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["fleet"], "no temporary file is left");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let file = FleetFile::open(path.clone(), &registry(3000)).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(whole - 20).unwrap();
        let again = registry(0);
        FleetFile::open(path.clone(), &again).unwrap();
        assert!((1..=3000).contains(&again.len()), "what could be read is kept: {}", again.len());
        assert_eq!(fs::metadata(with_suffix(&path, "broken")).unwrap().len(), whole - 20);
        file.save(&again);
        let third = registry(0);
        FleetFile::open(path, &third).unwrap();
        assert_eq!(third.len(), again.len());
    }

    #[test]
    fn what_cannot_be_a_file_ends_the_start() {
        let folder = tempfile::tempdir().unwrap();
        for (path, problem) in
            [(folder.path().to_owned(), "no regular file"), (folder.path().join("no/such/folder"), "cannot be written")]
        {
            let error = FleetFile::open(path.clone(), &registry(0)).unwrap_err();
            assert!(error.contains("--fleet-file") && error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let file = FleetFile::open(path.clone(), &registry(10)).unwrap();
        fs::create_dir(with_suffix(&path, "new")).unwrap();
        file.save(&registry(20));
        assert!(file.failed.load(Ordering::Relaxed));
        let again = registry(0);
        snapshot::read(&again, &mut File::open(&path).unwrap()).unwrap();
        assert_eq!(again.len(), 10);
        fs::remove_dir(with_suffix(&path, "new")).unwrap();
        file.save(&registry(20));
        assert!(!file.failed.load(Ordering::Relaxed));
    }
}
