//! Reads the CPU time and the memory of a process from `/proc`.

use std::{fs, time::Duration};

/// The length of a clock tick in `/proc`. It is part of the interface of Linux to programs, and does not depend on the
/// kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time and the memory that a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time together.
    pub(super) cpu: Duration,
    /// Resident memory at present.
    pub(super) resident_bytes: u64,
    /// The largest resident memory so far.
    pub(super) peak_bytes: u64,
}

impl Usage {
    /// Reads the usage of a process; `None` where there is no such process, or no `/proc`.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        Self::parse(&file("stat")?, &file("status")?)
    }

    /// The usage in the text of `/proc/PID/stat` and `/proc/PID/status`: CPU time of user and system, and memory.
    /// `None` where a field is missing.
    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name of the program may contain spaces and parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u32>().ok();
        let cpu = TICK * (ticks()? + ticks()?);
        let bytes = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?;
            Some(kib.parse::<u64>().ok()? * 1024)
        };
        Some(Self { cpu, resident_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_manual_page() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 3 0 99";
        let usage = Usage::parse(stat, "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n").expect("usage");
        let expected = Usage { cpu: Duration::from_millis(1500), resident_bytes: 1 << 20, peak_bytes: 2 << 20 };
        assert_eq!(usage, expected);
        assert_eq!(Usage::parse("7 (a) Z", ""), None);
    }

    #[test]
    fn this_process_has_memory() {
        let usage = Usage::of(std::process::id()).expect("usage");
        assert!(usage.resident_bytes > 0 && usage.peak_bytes >= usage.resident_bytes, "{usage:?}");
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
