//! A lock file that names the process that holds the lock. The lock ends with the process.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The result of an attempt to lock.
pub(super) enum LockResult {
    /// This process has the lock until the file is dropped, or as long as a child process has it open.
    Locked(File),
    /// Another process has it: its ID, where the file says so.
    Held(Option<u32>),
}

/// Tries to lock `file`, which is created if it does not exist. Does not wait.
///
/// # Errors
/// The file cannot be opened, or its file system has no locks.
pub(super) fn attempt(file: &Path) -> io::Result<LockResult> {
    let mut opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    match opened.try_lock() {
        Ok(()) => Ok(LockResult::Locked(opened)),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = opened.read_to_string(&mut text);
            Ok(LockResult::Held(text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes the ID of the process that holds the lock into its file.
pub(super) fn write_pid(file: &mut File, pid: u32) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid}")
}

/// The process that has an argument of `argument` and a path to `directory`, if `/proc` shows one.
pub(super) fn process_with(argument: &str, directory: &Path) -> Option<u32> {
    let directory = fs::canonicalize(directory).ok()?;
    let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut processes = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let has_directory = |process: &Path| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let Some(path) = line.split(|byte| *byte == 0).find_map(|word| word.strip_prefix(argument.as_bytes())) else {
            return false;
        };
        let path = String::from_utf8_lossy(path);
        // A relative path starts at the working directory of the process.
        let path = fs::read_link(process.join("cwd")).unwrap_or_default().join(&*path);
        fs::canonicalize(path).is_ok_and(|path| path == directory)
    };
    processes.find(|(_, process)| has_directory(process)).map(|(pid, _)| pid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lock");
        let LockResult::Locked(mut lock) = attempt(&file).unwrap() else { panic!("it is free") };
        assert!(matches!(attempt(&file).unwrap(), LockResult::Held(None)));
        write_pid(&mut lock, 1_234_567).unwrap();
        write_pid(&mut lock, 42).unwrap();
        assert!(matches!(attempt(&file).unwrap(), LockResult::Held(Some(42))));
        drop(lock);
        assert!(matches!(attempt(&file).unwrap(), LockResult::Locked(_)));
        assert!(attempt(directory.path()).is_err(), "a directory");
    }

    #[test]
    fn a_process_is_found_by_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let argument = "--storage.tsdb.path=";
        assert_eq!(process_with(argument, directory.path()), None);
        // Waits for its input, in the shell itself: no process of its own is left behind when it is killed.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "read line", "sh", &format!("{argument}./tsdb")]).current_dir(directory.path());
        command.stdin(std::process::Stdio::piped());
        fs::create_dir(directory.path().join("tsdb")).unwrap();
        let mut child = command.spawn().unwrap();
        // Its command line is there a moment after it was started.
        let mut attempts = (0..200).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            process_with(argument, &directory.path().join("tsdb"))
        });
        let found = attempts.find_map(|found| found);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, Some(child.id()));
    }
}
