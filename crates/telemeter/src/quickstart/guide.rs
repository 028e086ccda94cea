//! The text that the quickstart prints: which part listens where, what to open, what to try, and a line for each cycle.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use telemeter_client::{AFTER_FAILURE, CycleError, federate::FederateError, upload::UploadError};

/// The values in the text. Addresses are `host:port`.
pub(super) struct Guide {
    pub(super) cluster: String,
    pub(super) token: String,
    pub(super) composite_token: String,
    pub(super) authority: String,
    pub(super) external: String,
    pub(super) internal: String,
    pub(super) client: String,
    /// What is scraped: a URL, or a text.
    pub(super) from: String,
    pub(super) interval: Duration,
    /// How many simulated clusters report in addition.
    pub(super) clusters: usize,
    pub(super) store: GuideStore,
    /// The directory of `--data-dir`.
    pub(super) data: Option<String>,
    /// Notes on ports that were taken and on a store that did not start.
    pub(super) notes: Vec<String>,
}

/// The store, as the text describes it.
pub(super) enum GuideStore {
    /// Only the server's memory.
    Memory,
    /// The store of `--forward-url`.
    Given(String),
    /// A prometheus that was started: its URL, its program, its log.
    Prometheus { url: String, program: String, log: String },
}

/// The widths of the columns of the parts: name and address.
const NAME: usize = 11;
const ADDRESS: usize = 26;

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Metrics flow from a client through a server, as cluster {}.\n", self.cluster)?;
        for note in &self.notes {
            writeln!(f, "  ! {note}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.write_parts(f)?;
        writeln!(f, "\nOpen http://{}/ in a browser. In another shell, try:\n", self.internal)?;
        self.write_commands(f)?;
        writeln!(f, "A Prometheus of your own reports as this cluster with this in its prometheus.yml:\n")?;
        self.write_remote_write(f)?;
        writeln!(f, "\nCtrl-C ends it all. The first report comes within a few seconds, then one every {}:\n", {
            duration(self.interval)
        })
    }
}

impl Guide {
    /// Writes a line for each part that runs: its name, its address and what it does.
    fn write_parts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |name: &str, address: &str, does: &str| {
            writeln!(f, "  {}", format!("{name:NAME$}{address:ADDRESS$} {does}").trim_end())
        };
        let http = |place: &str| format!("http://{place}/");
        part("client", &http(&self.client), &format!("scrapes {}", self.from))?;
        part("authority", &http(&self.authority), "says that the client's token is good")?;
        part("server", &http(&self.external), "takes in what clusters push")?;
        if self.clusters > 0 {
            let does = "made-up; some are refused, and some are silent after four minutes";
            part("clusters", &format!("{} more", self.clusters), does)?;
        }
        part("pages", &http(&self.internal), "what came in during the last 2h, held in memory")?;
        match &self.store {
            GuideStore::Memory => part("store", "none", "install prometheus, or give --forward-url, to keep metrics")?,
            GuideStore::Given(url) => part("store", url, "gets all of it as well")?,
            GuideStore::Prometheus { url, program, log } => {
                part("store", url, &format!("{program}, started for this; log: {log}"))?;
            }
        }
        match &self.data {
            Some(directory) => {
                part("data", directory, &format!("{}: the next run is the same cluster", self.data_description()))
            }
            None => {
                part("data", "not kept", &format!("--data-dir DIR keeps {} for the next run", self.data_description()))
            }
        }
    }

    /// What `--data-dir` keeps.
    fn data_description(&self) -> &'static str {
        match self.store {
            GuideStore::Prometheus { .. } => "key, token, ID, salt and the store's metrics",
            GuideStore::Memory | GuideStore::Given(_) => "key, token, ID and salt",
        }
    }

    /// Writes the shell commands to try, each below a comment on what it shows. Those on refused and silent clusters
    /// are written only with simulated clusters, the query only with a prometheus that was started.
    fn write_commands(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, token, external, internal, client, .. } = self;
        let mut command = |about: &str, line: &str| writeln!(f, "  # {about}\n  {line}\n");
        command(
            "the newest samples that the server has, as any Prometheus can pull them",
            &format!("curl -gsS 'http://{internal}/federate?match[]=up'"),
        )?;
        if self.clusters > 0 {
            command(
                "which clusters are refused, and why",
                &format!("telemeter fleet refused --server http://{internal}"),
            )?;
            command("which have fallen silent", &format!("telemeter fleet silent --server http://{internal}"))?;
        }
        command("what the client sent last", &format!("curl -sS http://{client}/federate"))?;
        command(
            "how a client begins: its token for a short-lived one",
            &format!("curl -sS -X POST -H 'Authorization: Bearer {token}' 'http://{external}/authorize?id={cluster}'"),
        )?;
        if let GuideStore::Prometheus { url, .. } = &self.store {
            command(
                "PromQL in the store",
                &format!("curl -sSG {url}api/v1/query --data-urlencode 'query=count by (job) ({{_id=\"{cluster}\"}})'"),
            )?;
        }
        Ok(())
    }

    /// Writes the part of a `prometheus.yml` with which another Prometheus sends to this server as the same cluster.
    fn write_remote_write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut yaml = String::new();
        writeln!(yaml, "remote_write:")?;
        writeln!(yaml, "  - url: http://{}/metrics/v1/receive", self.external)?;
        writeln!(yaml, "    authorization:")?;
        writeln!(yaml, "      credentials: {}", self.composite_token)?;
        writeln!(yaml, "    write_relabel_configs:")?;
        writeln!(yaml, "      - target_label: _id")?;
        writeln!(yaml, "        replacement: {}", self.cluster)?;
        yaml.lines().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The line that the quickstart prints after a cycle: what was scraped and stored, or the error, what to do, and when
/// the next try is.
pub(super) fn cycle(outcome: &Result<telemeter_client::CycleReport, CycleError>, store: &GuideStore) -> String {
    match outcome {
        Ok(report) if report.kept == 0 => {
            format!("scraped {}, kept none: nothing matched, or nothing was recent", report.scraped)
        }
        Ok(report) => {
            let (scraped, kept, stored) = (report.scraped, report.kept, report.uploaded);
            let took = report.took.as_millis().max(1);
            format!("scraped {scraped} series, kept {kept}, stored {stored} in {took} ms")
        }
        Err(error) => {
            let again = duration(error.retry_after().unwrap_or(AFTER_FAILURE));
            format!("failed: {error}{}; next try in {again}", hint(error, store))
        }
    }
}

/// What to do, where the error does not say so itself.
fn hint(error: &CycleError, store: &GuideStore) -> String {
    match (error, store) {
        (CycleError::Federate(FederateError::Unreachable(_)), _) => "; is --from right, and does it run?".to_owned(),
        (CycleError::Upload(UploadError::Failed(_)), GuideStore::Given(url)) => {
            format!("; does {url} take remote write?")
        }
        (CycleError::Upload(UploadError::Failed(_)), GuideStore::Prometheus { log, .. }) => format!("; see {log}"),
        _ => String::new(),
    }
}

/// A duration as flags have it: `1m30s`, `10s`, `500ms`.
fn duration(duration: Duration) -> String {
    let (seconds, ms) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 {
        return format!("{ms}ms");
    }
    let mut text = String::new();
    for (unit, length) in [("h", 3600), ("m", 60), ("s", 1)] {
        let count = if length == 3600 { seconds / 3600 } else { seconds / length % 60 };
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use telemeter_client::CycleReport;

    use super::*;

    #[test]
    fn durations_as_flags_write_them() {
        for (ms, expected) in
            [(500, "500ms"), (10_000, "10s"), (270_000, "4m30s"), (3_600_000, "1h"), (5_400_000, "1h30m")]
        {
            assert_eq!(duration(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn a_cycle_is_a_line() {
        let report = |scraped, kept| {
            let took = Duration::from_millis(12);
            Ok(CycleReport { scraped, kept, uploaded: kept, bytes: 1, took, ..CycleReport::default() })
        };
        let check = |outcome, expected: &str| assert_eq!(cycle(&outcome, &GuideStore::Memory), expected);
        check(report(5, 4), "scraped 5 series, kept 4, stored 4 in 12 ms");
        check(report(5, 0), "scraped 5, kept none: nothing matched, or nothing was recent");
        check(
            Err(FederateError::TooLarge { limit_bytes: 7 }.into()),
            "failed: Prometheus answered with more than 7 bytes: raise --limit-bytes, or narrow --match; next try in 1m",
        );
        let unreachable =
            FederateError::from(telemeter_http::client::OutboundError::Timeout("no answer within 15 s".to_owned()));
        check(
            Err(unreachable.into()),
            "failed: Prometheus was not reached: no answer within 15 s; is --from right, and does it run?; next try in 1m",
        );
    }
}
