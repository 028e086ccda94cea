//! A control group with a limit on memory, below the one that the test runs in; version 1 or 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const MOUNT: &str = "/sys/fs/cgroup";

/// A group of its own; dropping it takes it away.
pub(crate) struct Cgroup {
    folder: PathBuf,
    /// Whether its files are named as in version 2.
    unified: bool,
}

impl Cgroup {
    /// With this limit and no swap.
    ///
    /// # Errors
    /// Why there is none: not root, no memory controller, a read-only mount.
    pub(crate) fn new(limit_bytes: u64) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (parent, unified) = parent()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("telemeter-hostile-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let group = Self { folder, unified };
        let (limit, swap) = if unified {
            ("memory.max", ("memory.swap.max", 0))
        } else {
            // Of version 1 this is memory and swap together.
            ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", limit_bytes))
        };
        fs::write(group.folder.join(limit), limit_bytes.to_string())?;
        // Where swap is not accounted for there is no such file.
        let _ = fs::write(group.folder.join(swap.0), swap.1.to_string());
        Ok(group)
    }

    /// A process whose ID is written here is in the group.
    pub(crate) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// How it is called in the report.
    pub(crate) fn version(&self) -> &'static str {
        if self.unified { "cgroup v2" } else { "cgroup v1" }
    }

    /// How many processes the kernel killed for want of memory.
    pub(crate) fn killed(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        number_behind(&self.folder.join(file), "oom_kill")
    }

    /// The most that was ever counted, page cache of the log included.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let file = if self.unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel needs a moment to see that the last process has ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where a group can be made: below this process' own of version 1, or beside it where version 2 has the controller.
fn parent() -> io::Result<(PathBuf, bool)> {
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            let mount = Path::new(MOUNT).join("memory");
            // In a container the mount is the container's own group, whatever the path says.
            let folder = Some(mount.join(path)).filter(|folder| folder.is_dir()).unwrap_or(mount);
            return Ok((folder, false));
        }
        if controllers.is_empty() {
            let own = Path::new(MOUNT).join(path);
            for folder in own.ancestors().take_while(|folder| folder.starts_with(MOUNT)) {
                let delegated = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
                if delegated.split_whitespace().any(|name| name == "memory") {
                    return Ok((folder.to_owned(), true));
                }
            }
        }
    }
    Err(io::Error::other("no control group of this process limits memory"))
}

fn number_behind(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
