//! The usual `process_*` metrics, read from `/proc` at each scrape. A value that cannot be read is left out.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The clock ticks per second in `/proc`: a constant of Linux' interface to programs, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status, limits) = (file("/proc/self/stat"), file("/proc/self/status"), file("/proc/self/limits"));
        let (netstat, boot) = (file("/proc/self/net/netstat"), file("/proc/stat"));

        let cpu = stat_field(&stat, 14).zip(stat_field(&stat, 15)).map(|(user, system)| (user + system) / TICKS);
        let start = stat_field(&stat, 22).zip(boot_seconds(&boot)).map(|(ticks, boot)| boot + ticks / TICKS);
        // One of the descriptors belongs to this directory listing.
        let open = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64);

        let mut counter = |name: &str, help: &str, value: Option<f64>| {
            value.map_or(Ok(()), |value| one(&mut encoder, name, help, &ConstCounter::new(value)))
        };
        counter("process_cpu_seconds", "Total user and system CPU time spent in seconds", cpu)?;
        let help = "Number of bytes received by the process over the network";
        counter("process_network_receive_bytes", help, ip_field(&netstat, "InOctets"))?;
        let help = "Number of bytes sent by the process over the network";
        counter("process_network_transmit_bytes", help, ip_field(&netstat, "OutOctets"))?;

        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            value.map_or(Ok(()), |value| one(&mut encoder, name, help, &ConstGauge::new(value)))
        };
        gauge("process_resident_memory_bytes", "Resident memory size in bytes", status_bytes(&status, "VmRSS:"))?;
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes", status_bytes(&status, "VmSize:"))?;
        let help = "Maximum amount of virtual memory available in bytes";
        gauge("process_virtual_memory_max_bytes", help, limit(&limits, "Max address space"))?;
        gauge("process_open_fds", "Number of open file descriptors", open)?;
        gauge("process_max_fds", "Maximum number of open file descriptors", limit(&limits, "Max open files"))?;
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds", start)
    }
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    // The registry appends the full stop to the help of its own metrics only.
    let help = format!("{help}.");
    metric.encode(encoder.encode_descriptor(name, &help, None, metric.metric_type())?)
}

/// A field of `/proc/self/stat`, counted from 1 as in proc(5); the second field, a name, may contain spaces and
/// parentheses.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_name, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn status_bytes(status: &str, name: &str) -> Option<f64> {
    let kib = status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<f64>().ok()? * 1024.0)
}

/// A soft limit; as in Go, "unlimited" is the largest number of 64 bits.
fn limit(limits: &str, name: &str) -> Option<f64> {
    match limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// A column of the two `IpExt:` lines, which contain names and then numbers.
fn ip_field(netstat: &str, name: &str) -> Option<f64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let (_, number) = names.split_whitespace().zip(numbers.split_whitespace()).find(|(found, _)| *found == name)?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let stat = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 250 150 13 14 15 16 17 18 4200 20";
        assert_eq!(stat_field(stat, 14), Some(250.0));
        assert_eq!(stat_field(stat, 22), Some(4200.0));
        assert_eq!(stat_field("", 14), None);
        assert_eq!(boot_seconds("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000.0));
        assert_eq!(status_bytes("VmPeak:\t9 kB\nVmRSS:\t   2 kB\n", "VmRSS:"), Some(2048.0));
        let limits =
            "Max open files            1024     2048     files\nMax address space         unlimited  unlimited\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(u64::MAX as f64));
        let netstat = "TcpExt: InOctets\nTcpExt: 1\nIpExt: A InOctets OutOctets\nIpExt: 5 6 7\n";
        assert_eq!(ip_field(netstat, "InOctets"), Some(6.0));
        assert_eq!(ip_field(netstat, "OutOctets"), Some(7.0));
        assert_eq!(ip_field("", "OutOctets"), None);
    }
}
