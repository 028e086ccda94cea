//! Makes the root of the image in a folder, and starts programs in it as a container runtime does.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mounts;
use crate::process::RunningProgram;
use crate::stores::start;

/// Starts "$@" as the user `USER_ID` in the read-only root `ROOT`, with `/proc` and `/dev/shm`, and with none of our
/// environment variables. The mounts end with the process.
const ENTER_READ_ONLY: &str = r#"mount --bind "$ROOT" "$ROOT" && mount -o remount,bind,ro "$ROOT" &&
    mount -t proc proc "$ROOT/proc" && mount -t tmpfs -o mode=1777 shm "$ROOT/dev/shm" && exec env -i PATH="$PATH" chroot --userspec="$USER_ID:0" --groups= "$ROOT" "$@""#;
/// The same where nothing can be mounted: the user does not own the files, so it cannot write to them either.
const ENTER: &str = r#"exec env -i PATH="$PATH" chroot --userspec="$USER_ID:0" --groups= "$ROOT" "$@""#;

/// The root of the image; the folder is removed when this is dropped.
pub(super) struct Root {
    temporary: tempfile::TempDir,
    folder: PathBuf,
    user_id: u32,
    mounts: bool,
}

impl Root {
    /// Lets `scripts/image-root` make the root with the programs of this build, or with those of `IMAGE_PROGRAMS`.
    pub(super) fn lay_out() -> Self {
        let temporary = tempfile::tempdir().expect("there is a place for temporary files");
        let folder = temporary.path().join("root");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/image-root");
        let mut command = Command::new(script);
        command.arg(&folder);
        match std::env::var_os("IMAGE_PROGRAMS") {
            Some(programs) => command.arg(programs),
            // These programs are not optimised, so the limit on their size does not apply.
            None => command.arg(built()).env("LIMIT_MIB", ""),
        };
        let output = command.output().expect("scripts/image-root can be started");
        assert!(output.status.success(), "image-root: {}", String::from_utf8_lossy(&output.stderr));
        for mount_point in ["proc", "dev/shm"] {
            std::fs::create_dir_all(folder.join(mount_point)).expect("the image's root can be written");
        }
        // As in OpenShift, the user ID is from a range of the namespace, and owns no file.
        let user_id = 1_000_600_000 + std::process::id() % 10_000;
        let mounts = mounting(&folder);
        Self { temporary, folder, user_id, mounts }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path outside of the image for a path in it.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside.trim_start_matches('/'))
    }

    /// Writes one file that every user can read.
    pub(super) fn write(&self, inside: &str, text: &str) -> PathBuf {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("the image's root can be written");
        std::fs::write(&path, text).expect("the image's root can be written");
        path
    }

    /// Mounts files as Kubernetes does; returns `inside`.
    pub(super) fn mount<'a>(&self, inside: &'a str, files: &[(&str, &str)]) -> &'a str {
        mounts::mount(&self.path(inside), files);
        inside
    }

    pub(super) fn remove(&self, inside: &str) {
        mounts::remove(&self.path(inside));
    }

    /// Whether programs in it can have their own mounts: a read-only root, `/proc` and `/dev/shm`.
    pub(super) fn has_mounts(&self) -> bool {
        self.mounts
    }

    /// # Errors
    /// The reason why no program can be started in it by another user.
    pub(super) fn can_be_entered(&self) -> Result<(), String> {
        let program = self.command("/usr/bin/telemeter-client", ENTER).arg("--version").output();
        let output = program.map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    /// Starts a program in it; its output is written to `NAME.log`.
    pub(super) fn start(&self, program: &str, name: &str, arguments: &[String]) -> RunningProgram {
        let enter = if self.mounts { ENTER_READ_ONLY } else { ENTER };
        let command = self.command(&format!("/usr/bin/{program}"), enter);
        let mut words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        words.extend_from_slice(arguments);
        RunningProgram::start(
            self.temporary.path(),
            crate::process::ProgramStart {
                name,
                program: command.get_program(),
                arguments: words,
                environment: self.environment(),
            },
        )
    }

    /// Starts a program of the image outside of the root, as a program of this machine.
    pub(super) fn start_outside(&self, program: &'static str, arguments: &[String]) -> RunningProgram {
        let path = self.path(&format!("/usr/bin/{program}"));
        start(self.temporary.path(), program, path.as_os_str(), arguments.to_vec())
    }

    /// Checks that `process` runs in this root as the random user, and cannot write to the root.
    pub(super) fn holds_it_in(&self, process: &RunningProgram) {
        let read = ProcessStatus::of(process);
        let users: Vec<String> = read.status("Uid").split_whitespace().map(str::to_owned).collect();
        assert!(users.iter().all(|user| *user == self.user_id.to_string()), "not {}: {users:?}", self.user_id);
        let root = std::fs::read_link(format!("/proc/{}/root", process.id())).expect("it runs");
        assert_eq!(root, self.folder, "the root of the client");
        if self.mounts {
            let mounts = read.file("mountinfo");
            let read_only =
                |line: &str| line.split(' ').nth(5).is_some_and(|options| options.split(',').any(|it| it == "ro"));
            let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
            assert!(root.is_some_and(read_only), "can be written: {mounts}");
        } else {
            not_checked("the image's root mounted read-only", "nothing can be mounted here");
        }
    }

    fn command(&self, program: &str, enter: &str) -> Command {
        let mut command = Command::new("sh");
        if enter == ENTER_READ_ONLY {
            command = Command::new("unshare");
            command.args(["--mount", "sh"]);
        }
        command.args(["-c", enter, "sh", program]).envs(self.environment());
        command
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("ROOT", self.folder.display().to_string()), ("USER_ID", self.user_id.to_string())]
    }
}

/// Returns the folder with the programs of this build.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_telemeter")).parent().expect("a program is in a folder")
}

/// Whether a mount namespace can be made here, and a folder mounted in it.
fn mounting(folder: &Path) -> bool {
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount -t proc proc "$0/proc""#;
    let output = Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(OsStr::new(folder)).output();
    output.is_ok_and(|output| output.status.success())
}

/// The information of the kernel about a running program.
pub(super) struct ProcessStatus(u32);

impl ProcessStatus {
    pub(super) fn of(process: &RunningProgram) -> Self {
        Self(process.id())
    }

    /// Returns the largest resident memory so far, in KiB; pages of the program's own file are included.
    pub(super) fn peak_memory_kib(&self) -> u64 {
        let peak = self.status("VmHWM");
        peak.trim_end_matches(" kB").parse().unwrap_or_else(|error| panic!("VmHWM {peak:?}: {error}"))
    }

    fn status(&self, field: &str) -> String {
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
    }

    fn file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.0);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Prints that something was not checked, bypassing the capture of test output.
pub(super) fn not_checked(what: &str, reason: &str) {
    writeln!(std::io::stderr(), "{what}: NOT CHECKED: {reason}").expect("stderr is open");
}
