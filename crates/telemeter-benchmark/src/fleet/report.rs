//! Reports a simulation second by second: rows for the table, figures as JSON, and a plot.

use std::{fmt::Display, io::Write as _, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    plot::{self, Second},
    process::Usage,
};
use crate::{ReportOutput, config::SimulatedFleet, tally::UploadTally};

/// Measures the usage of the server and of this process.
pub(super) struct ProcessWatch {
    server_pid: Option<u32>,
    first: [Option<Usage>; 2],
    last: [Option<Usage>; 2],
}

impl ProcessWatch {
    /// Measures the server, where its process ID is known, and this process.
    pub(super) fn new(server_pid: Option<u32>) -> Result<Self, String> {
        let first = read_usage(server_pid);
        match server_pid {
            Some(pid) if first[0].is_none() => Err(format!("--server-pid: no process {pid} can be read below /proc")),
            _ => Ok(Self { server_pid, first, last: first }),
        }
    }

    /// Returns what the server and the generator have used by now.
    pub(super) fn usage(&mut self) -> [Option<Usage>; 2] {
        self.last = read_usage(self.server_pid);
        self.last
    }

    /// The CPU time that the server and the generator have used during the run.
    fn cpu(&self) -> [Option<Duration>; 2] {
        std::array::from_fn(|at| Some(self.last[at]?.cpu.saturating_sub(self.first[at]?.cpu)))
    }
}

/// The CPU time and memory of the server and of this program. `None` of a server without a known process, or where the
/// system does not tell.
fn read_usage(server_pid: Option<u32>) -> [Option<Usage>; 2] {
    [server_pid.and_then(Usage::of), Usage::of(std::process::id())]
}

/// The figures of a run, second by second.
pub(super) struct RunReport {
    clusters: u64,
    /// The number of cluster IDs, which upload one after the other.
    ids: u64,
    interval: Duration,
    seconds: Vec<Second>,
    before: (Duration, [Option<Usage>; 2]),
}

impl RunReport {
    pub(super) fn new(fleet: &SimulatedFleet, ids: u64, interval: Duration) -> Self {
        Self { clusters: fleet.clusters, ids, interval, seconds: Vec::new(), before: (Duration::ZERO, [None; 2]) }
    }

    /// How many clusters have uploaded: they upload one after the other, and a short run ends before each has uploaded.
    fn clusters_with_uploads(&self, total: &UploadTally) -> u64 {
        (total.total_sent() + total.total_failed()).min(self.ids)
    }

    /// The configured number of uploads a second.
    fn asked(&self) -> f64 {
        self.clusters as f64 / self.interval.as_secs_f64()
    }

    /// Adds a row for the time since the last row, up to `at`, a time since the start.
    pub(super) fn second(&mut self, at: Duration, window: UploadTally, usage: [Option<Usage>; 2]) {
        let (before, used) = std::mem::replace(&mut self.before, (at, usage));
        let seconds = at.saturating_sub(before).as_secs_f64();
        // The rest at the end of a run is too short for a meaningful rate.
        if seconds < 0.5 {
            return;
        }
        let share = |which: usize| {
            let cpu = usage[which]?.cpu.saturating_sub(used[which]?.cpu);
            Some(cpu.as_secs_f64() / seconds * 100.0)
        };
        self.seconds.push(Second {
            at: at.as_secs_f64(),
            sent: window.total_sent() as f64 / seconds,
            failed: window.total_failed() as f64 / seconds,
            p50_ms: millis(window.quantile(0.5)),
            p99_ms: millis(window.quantile(0.99)),
            server_cpu: share(0),
            server_mib: usage[0].map(|usage| mib(usage.resident_bytes)),
            own_cpu: share(1),
        });
    }

    /// Writes the rows below the table.
    pub(super) fn end(
        &self,
        total: &UploadTally,
        watch: &ProcessWatch,
        output: &mut ReportOutput<'_>,
    ) -> std::io::Result<()> {
        let writer = &mut output.writer;
        let mut row = |name: &str, value: &dyn Display| writeln!(writer, "{name:<24}{:>16}", value.to_string());
        let ran = total.elapsed().as_secs_f64();
        row("clusters", &self.clusters)?;
        row("  that took part", &self.clusters_with_uploads(total))?;
        row("asked for, a second", &format_args!("{:.1}", self.asked()))?;
        let [server, own] = watch.cpu();
        if let (Some(cpu), Some(usage)) = (server, watch.last[0]) {
            row("server CPU", &format_args!("{:.1} %", cpu.as_secs_f64() / ran * 100.0))?;
            row("  an upload", &format_args!("{:.0} µs", per_upload(cpu, total)))?;
            row("server memory", &format_args!("{:.1} MiB", mib(usage.resident_bytes)))?;
            row("  at most", &format_args!("{:.1} MiB", mib(usage.peak_bytes)))?;
        }
        if let Some(cpu) = own {
            row("generator CPU", &format_args!("{:.1} %", cpu.as_secs_f64() / ran * 100.0))?;
            row("  an upload", &format_args!("{:.0} µs", per_upload(cpu, total)))?;
        }
        output.writer.flush()
    }

    /// Writes the files that the configuration asks for.
    pub(super) fn write(
        &self,
        total: &UploadTally,
        watch: &ProcessWatch,
        fleet: &SimulatedFleet,
    ) -> Result<(), String> {
        let write = |flag: &str, file: &Path, text: String| {
            std::fs::write(file, text).map_err(|cause| format!("{flag}: {}: {cause}", file.display()))
        };
        if let Some(file) = &fleet.report_json {
            write("--report-json", file, format!("{:#}\n", self.report_json(total, watch)))?;
        }
        if let Some(file) = &fleet.report_svg {
            let title = format!(
                "{} clusters every {} s: {:.0} uploads a second, {} failed, p99 {:.1} ms",
                self.clusters,
                self.interval.as_secs_f64(),
                total.throughput(),
                total.total_failed(),
                millis(total.quantile(0.99)),
            );
            write("--report-svg", file, plot::svg(&title, self.asked(), &self.seconds))?;
        }
        Ok(())
    }

    /// The report in JSON: settings, totals, failures by kind, latencies in milliseconds, CPU and memory, and the
    /// figures of each second. What was not measured of the server or of this program is null.
    fn report_json(&self, total: &UploadTally, watch: &ProcessWatch) -> Value {
        let [server, own] = watch.cpu();
        let failed: serde_json::Map<_, _> =
            total.failures().iter().map(|(failure, count)| (failure.to_string(), json!(count))).collect();
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
        let mut latency: serde_json::Map<_, _> =
            quantiles.iter().map(|(name, at)| ((*name).to_owned(), json!(millis(total.quantile(*at))))).collect();
        latency.insert("max".to_owned(), json!(millis(total.max_latency())));
        let seconds = self.seconds.iter().map(|second| {
            json!({
                "at": second.at, "sent_per_second": second.sent, "failed_per_second": second.failed,
                "p50_ms": second.p50_ms, "p99_ms": second.p99_ms, "server_cpu_percent": second.server_cpu,
                "server_resident_mib": second.server_mib, "generator_cpu_percent": second.own_cpu,
            })
        });
        json!({
            "clusters": self.clusters,
            "clusters_that_took_part": self.clusters_with_uploads(total),
            "interval_seconds": self.interval.as_secs_f64(),
            "ran_seconds": total.elapsed().as_secs_f64(),
            "asked_per_second": self.asked(),
            "sent": total.total_sent(),
            "sent_per_second": total.throughput(),
            "failed": failed,
            "latency_ms": latency,
            "server": server.zip(watch.last[0]).map(|(cpu, usage)| json!({
                "cpu_seconds": cpu.as_secs_f64(), "cpu_micros_per_upload": per_upload(cpu, total),
                "resident_mib": mib(usage.resident_bytes), "peak_mib": mib(usage.peak_bytes),
            })),
            "generator": own.map(|cpu| json!({
                "cpu_seconds": cpu.as_secs_f64(), "cpu_micros_per_upload": per_upload(cpu, total),
            })),
            "seconds": seconds.collect::<Vec<_>>(),
        })
    }
}

/// CPU time for each upload, failed ones included, in microseconds.
fn per_upload(cpu: Duration, total: &UploadTally) -> f64 {
    cpu.as_secs_f64() * 1e6 / (total.total_sent() + total.total_failed()).max(1) as f64
}

/// The duration in milliseconds.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// The size in MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
