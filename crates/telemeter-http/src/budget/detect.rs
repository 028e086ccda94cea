//! The default memory limit of the process, from the limit of its cgroup.

use std::fmt;
use std::fs;
use std::path::Path;

/// The limit where no cgroup has one.
const FALLBACK_BYTES: usize = 1 << 30;

/// The source of the memory limit, for the log line at startup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// The flag `--memory-limit`.
    Flag,
    /// 75 % of the limit of the cgroup.
    Cgroup,
    /// 1 GiB, since no cgroup has a limit.
    Fallback,
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--memory-limit",
            Self::Cgroup => "75 % of the cgroup's limit",
            Self::Fallback => "the default: the cgroup has no limit",
        })
    }
}

/// 75 % of the limit of this process' cgroup (version 2 or 1), else 1 GiB.
#[must_use]
pub fn default_limit() -> (usize, LimitSource) {
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match cgroup_limit(Path::new("/sys/fs/cgroup"), &memberships) {
        Some(bytes) => (bytes / 4 * 3, LimitSource::Cgroup),
        None => (FALLBACK_BYTES, LimitSource::Fallback),
    }
}

/// The lowest limit of the process' cgroup and its parents. `memberships` is the text of `/proc/self/cgroup`: lines of
/// `ID:CONTROLLERS:PATH`, where version 2 has no controllers.
///
/// In a container the path often names a directory that only the host sees. Then its parents are checked, up to the
/// root of the mount, which is the container's own cgroup.
fn cgroup_limit(root: &Path, memberships: &str) -> Option<usize> {
    let mut least: Option<usize> = None;
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let folder = mount.join(path.trim_start_matches('/'));
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&mount)) {
            least = least.into_iter().chain(limit_in(&folder.join(file))).min();
        }
    }
    least
}

/// The limit in a file, in bytes; `max`, and the huge number that version 1 writes instead, mean no limit.
fn limit_in(file: &Path) -> Option<usize> {
    let bytes: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    usize::try_from(bytes).ok().filter(|bytes| (1..1 << 60).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_cgroup_and_its_parents() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("written");
        };
        let check = |memberships: &str, expected: Option<usize>| {
            assert_eq!(cgroup_limit(root.path(), memberships), expected, "{memberships}");
        };
        check("", None);
        check("0::/\n", None);
        write("memory.max", "max\n");
        write("pod/memory.max", "1000\n");
        write("pod/one/memory.max", "max\n");
        write("pod/two/memory.max", "500\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/job/memory.limit_in_bytes", "800\n");
        check("0::/\n", None);
        check("0::/pod/one\n", Some(1000));
        check("0::/pod/two\n", Some(500));
        check("0::/pod/of/the/host\n", Some(1000));
        check("4:cpu,memory:/job\n0::/\n", Some(800));
        check("4:cpu:/job\n3:memory:/\n", None);
        check("4:memory:/job\n0::/pod/two\n", Some(500));
        check("nonsense\n", None);
    }
}
