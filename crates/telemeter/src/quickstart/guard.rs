//! A guard process between the quickstart and the prometheus that it starts, which ends the prometheus when the quickstart
//! ends, however that happens.
//!
//! The guard is this same binary, started with the subcommand [`WORD`]. Its standard input is a pipe from the quickstart,
//! which sends the command line of the program to start. The end of the pipe means that the quickstart has ended, by Ctrl-C
//! or by SIGKILL; the guard then ends the program. The command line is not an argument of the guard, so that a search for a
//! prometheus process finds one.
//!
//! The program has a lock as long as it lives, because the locked file is its standard input. The next start waits for the
//! lock, whose file names the process. Where only the guard is killed, the quickstart ends the program
//! ([`ChildGuard::gone`]); where both are killed, the next start finds the lock and says what to do.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use telemeter_http::signals::Signals;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
    runtime::Builder,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::lock::{self, LockResult};

/// The subcommand of the guard. It is not documented, because only the quickstart uses it.
pub(crate) const WORD: &str = "quickstart-guard";
/// How long the program may take to end after SIGTERM, before SIGKILL.
const END: Duration = Duration::from_secs(5);
/// How long the guard may take to end the program and itself.
const GUARD_END: Duration = Duration::from_secs(8);
/// The pause between two attempts to take a lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A running guard. When this is dropped, the guard ends its program and itself.
pub(super) struct ChildGuard {
    child: Child,
    /// Not left in `child`, whose `wait` would close it.
    pipe: Option<ChildStdin>,
    lock_file: PathBuf,
}

impl ChildGuard {
    /// Starts a guard that locks `lock_file` and starts `command`. The output of both goes to `output`.
    ///
    /// # Errors
    /// The guard cannot be started. Where the program cannot be started, `output` says why.
    pub(super) async fn start(lock_file: &Path, command: &[OsString], output: File) -> io::Result<Self> {
        let mut guard = std::process::Command::new(std::env::current_exe()?);
        guard.arg0("telemeter").arg(WORD);
        guard.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C must reach only the quickstart: the store is needed until the last upload is stored.
        guard.process_group(0);
        let mut child = Command::from(guard).spawn()?;
        let mut text = Vec::new();
        for word in std::iter::once(lock_file.as_os_str()).chain(command.iter().map(OsString::as_os_str)) {
            text.extend_from_slice(word.as_bytes());
            text.push(0);
        }
        text.push(0);
        let mut pipe = child.stdin.take().ok_or_else(|| io::Error::other("the guard has no pipe"))?;
        pipe.write_all(&text).await?;
        pipe.flush().await?;
        Ok(Self { child, pipe: Some(pipe), lock_file: lock_file.to_owned() })
    }

    /// Whether the program or its guard has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Completes when the program or its guard has ended by itself. Ends a program whose guard was killed.
    pub(super) async fn gone(&mut self) {
        let _ = self.child.wait().await;
        end_program(&self.lock_file).await;
    }

    /// Ends the program and its guard, and waits until they have ended.
    pub(super) async fn stop(mut self) {
        drop(self.pipe.take());
        if timeout(GUARD_END, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        end_program(&self.lock_file).await;
    }
}

/// Ends the program that holds the lock, if there is one.
async fn end_program(lock_file: &Path) {
    for signal in [Signal::TERM, Signal::KILL] {
        let Ok(LockResult::Held(Some(pid))) = lock::attempt(lock_file) else { return };
        send(pid, signal);
        wait_until_free(lock_file, END).await;
    }
}

/// Waits until the lock is free, at most for `timeout`. Returns `None` where it is free; else the ID of the process that
/// holds it, if the file names one.
pub(super) async fn wait_until_free(lock_file: &Path, timeout: Duration) -> Option<Option<u32>> {
    let start = Instant::now();
    loop {
        let Ok(LockResult::Held(pid)) = lock::attempt(lock_file) else { return None };
        if start.elapsed() >= timeout {
            return Some(pid);
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Sends a signal; it fails only for a process that has ended by itself.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Runs the guard until its program or the quickstart has ended.
pub(crate) fn run() -> ExitCode {
    let ended = Builder::new_current_thread().enable_all().build().and_then(|runtime| runtime.block_on(run_program()));
    ended.unwrap_or_else(|error| {
        // It goes to the log of the program, which the quickstart shows.
        let _ = writeln!(io::stderr(), "{error}");
        ExitCode::FAILURE
    })
}

/// Reads the command line from standard input and starts the program; then waits until the program ends, the quickstart
/// ends, or a signal arrives. In the last two cases the program gets SIGTERM and, after [`END`], SIGKILL. Returns the
/// program's exit code where it ended by itself; 128 and the number of a signal that ended it.
async fn run_program() -> io::Result<ExitCode> {
    let mut signals = Signals::catch_including_quit()?;
    let words = read_words(&mut io::stdin())?;
    let [lock_file, program, arguments @ ..] = &words[..] else {
        return Err(io::Error::other("this is a part of telemeter quickstart, which starts it by itself"));
    };
    let mut child = start_program(Path::new(lock_file), program, arguments)?;
    // A thread, which the end of the process ends: a read cannot be broken off.
    let (sender, gone) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        while io::stdin().read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
        drop(sender);
    });
    tokio::select! {
        status = child.wait() => {
            let status = status?;
            let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        _ = gone => {}
        () = signals.any() => {}
    }
    if let Some(pid) = child.id() {
        send(pid, Signal::TERM);
    }
    if timeout(END, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Locks `lock_file`, starts the program with it as its standard input, and writes the program's process ID into it.
/// The program has the lock until it ends.
///
/// # Errors
/// Another process has the lock, or the program cannot be started.
fn start_program(lock_file: &Path, program: &OsStr, arguments: &[OsString]) -> io::Result<Child> {
    let named = |path: &Path, error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    let attempt = lock::attempt(lock_file).map_err(|error| named(lock_file, error))?;
    let LockResult::Locked(mut lock) = attempt else {
        return Err(named(lock_file, io::Error::other("another one holds the lock")));
    };
    let child = Command::new(program).args(arguments).stdin(lock.try_clone()?).spawn();
    let child = child.map_err(|error| named(Path::new(program), error))?;
    lock::write_pid(&mut lock, child.id().unwrap_or_default())?;
    // From here on the lock is the program's alone.
    Ok(child)
}

/// Texts that each end with a zero byte, up to an empty one. They do not come where the quickstart is gone already.
fn read_words(input: &mut impl io::Read) -> io::Result<Vec<OsString>> {
    let (mut words, mut word, mut byte) = (Vec::new(), Vec::new(), [0]);
    while input.read(&mut byte)? == 1 {
        match byte {
            [0] if word.is_empty() => return Ok(words),
            [0] => words.push(OsString::from_vec(std::mem::take(&mut word))),
            [byte] => word.push(byte),
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_come_whole_or_not_at_all() {
        let check = |mut bytes: &[u8], expected: &[&str]| {
            assert_eq!(read_words(&mut bytes).unwrap(), expected, "{bytes:?}");
        };
        check(b"a\0b c\0\xc3\xbc\0\0more", &["a", "b c", "ü"]);
        check(b"\0", &[]);
        check(b"", &[]);
        check(b"a\0b\0", &[]);
        check(b"a\0b", &[]);
    }

    #[tokio::test]
    async fn a_program_whose_guard_is_gone_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lock");
        for script in ["exec sleep 60", "trap '' TERM; exec sleep 60"] {
            let arguments = ["-c".into(), script.into()];
            let mut child = start_program(&file, OsStr::new("sh"), &arguments).unwrap();
            let held = wait_until_free(&file, Duration::from_millis(100)).await;
            assert_eq!(held, Some(child.id()), "{script}");
            let error = start_program(&file, OsStr::new("sh"), &arguments).unwrap_err().to_string();
            assert!(error.ends_with("lock: another one holds the lock"), "{error}");
            end_program(&file).await;
            assert!(!child.wait().await.unwrap().success(), "{script}");
            assert_eq!(wait_until_free(&file, Duration::ZERO).await, None);
        }
        end_program(&file).await;
    }
}
