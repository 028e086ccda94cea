//! Makes a control group with a memory limit, in the group of this process; version 1 or 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const MOUNT: &str = "/sys/fs/cgroup";

/// A control group; it is removed when this is dropped.
pub(crate) struct Cgroup {
    folder: PathBuf,
    /// Whether its files have the names of version 2.
    unified: bool,
}

impl Cgroup {
    /// Makes a group with this memory limit and without swap.
    ///
    /// # Errors
    /// The reason why none can be made: the user is not root, there is no memory controller, or the mount is read-only.
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
            // In version 1 this is the limit of memory and swap together.
            ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", limit_bytes))
        };
        fs::write(group.folder.join(limit), limit_bytes.to_string())?;
        // Without accounting of swap this file does not exist.
        let _ = fs::write(group.folder.join(swap.0), swap.1.to_string());
        Ok(group)
    }

    /// Returns the file of the members: a process joins the group when its ID is written to it.
    pub(crate) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The name of the version in the report.
    pub(crate) fn version(&self) -> &'static str {
        if self.unified { "cgroup v2" } else { "cgroup v1" }
    }

    /// Returns how many processes the kernel has killed because the memory was exhausted.
    pub(crate) fn killed(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        number_behind(&self.folder.join(file), "oom_kill")
    }

    /// Returns the largest memory use so far in bytes, including the page cache of the log.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let file = if self.unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel needs a moment until it has noticed the end of the last process.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns the folder in which a group can be made: the group of this process in version 1, or its parent where version
/// 2 has the memory controller.
fn parent() -> io::Result<(PathBuf, bool)> {
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            let mount = Path::new(MOUNT).join("memory");
            // In a container the mount is the group of the container, whatever the path is.
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
