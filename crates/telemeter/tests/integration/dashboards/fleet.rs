//! Simulates a fleet of five clusters, of which two became silent within the last hour, and two replicas that write
//! series about each cluster with `--fleet-metrics`. The replicas are real servers in this process with a clock of the
//! test, so that an hour passes in seconds. The series that the clusters upload are stored too.

mod replica;

use std::time::Duration;

use replica::FleetReplica;
use reqwest::StatusCode;

use crate::gateway::TOKEN;
use crate::ledger::now_ms;

/// This cluster reports through both replicas, the last time through r1; two of its uploads were too large.
pub(crate) const REPORTING: &str = "11111111-0000-4000-8000-000000000000";
/// The Prometheus of this cluster sends remote write itself, to r1.
pub(crate) const WRITING: &str = "22222222-0000-4000-8000-000000000000";
/// This cluster has not reported for 40 minutes.
pub(crate) const SILENT: &str = "33333333-0000-4000-8000-000000000000";
/// For 40 minutes the series of this cluster have had another cluster's ID: it is silent, and refused.
pub(crate) const REFUSED: &str = "44444444-0000-4000-8000-000000000000";
/// The replicas write no series about this cluster: only its own series are stored.
pub(crate) const UNWRITTEN: &str = "55555555-0000-4000-8000-000000000000";

/// The number of refused requests of [`REFUSED`] within the last hour.
pub(crate) const REFUSALS: f64 = 45.0;
/// The reason of these refusals.
pub(crate) const REFUSED_FOR: &str = "identity";
/// The number of refused requests of callers that the authority does not know.
pub(crate) const STRANGERS: f64 = 36.0;
/// The number of series in the last report of [`REPORTING`], which r1 got.
pub(crate) const SERIES: f64 = 40.0;

/// The answer to a cluster after Prometheus has accepted its series.
const STORED: StatusCode = StatusCode::NO_CONTENT;

/// The names of the series that the replicas write.
pub(crate) const WRITTEN_BY_REPLICAS: [&str; 8] = [
    "telemeter_cluster_last_report_timestamp_seconds",
    "telemeter_cluster_reports_total",
    "telemeter_cluster_refused_total",
    "telemeter_cluster_series",
    "telemeter_cluster_filtered_series",
    "telemeter_cluster_clock_drift_seconds",
    "telemeter_cluster_info",
    "telemeter_unverified_refused_total",
];

/// The rounds in which clusters report and replicas write: every five minutes, the last one half a minute ago.
const ROUNDS: std::ops::RangeInclusive<i64> = 0..=12;
const FIVE_MINUTES_MS: i64 = 300_000;
/// How often a replica writes in real time, because the simulated hour takes only seconds.
const WRITES_EVERY: Duration = Duration::from_millis(200);
/// How far the clock of [`REPORTING`] is behind, in milliseconds.
const BEHIND_MS: i64 = 1500;

/// When the silent clusters reported last, in milliseconds since 1970, a multiple of 1000.
#[derive(Debug)]
pub(crate) struct LastReports {
    pub(crate) silent: f64,
    pub(crate) refused: f64,
}

/// Simulates the fleet in the last hour. `store` is the URL where Prometheus accepts remote write, `authority` the URL
/// of an authority that knows [`TOKEN`].
pub(crate) async fn an_hour(store: &str, authority: &str) -> LastReports {
    // The time is a multiple of a second, because the registry stores seconds.
    let end_ms = (now_ms() - 30_000) / 1000 * 1000;
    let time_ms = |round: i64| end_ms - (ROUNDS.end() - round) * FIVE_MINUTES_MS;
    let start = async |name, writes| FleetReplica::start(name, time_ms(0), store, authority, writes).await;
    let (mut r0, mut r1) = (start("r0", true).await, start("r1", true).await);
    let mut unwritten = start("r2", false).await;
    for round in ROUNDS {
        if round == 6 {
            // Half an hour ago r0 was restarted, and has no information from before.
            r0.stop().await;
            r0 = FleetReplica::start("r0", time_ms(round), store, authority, true).await;
        }
        r0.set_ms(time_ms(round));
        unwritten.set_ms(time_ms(round));
        // The clock of r1 is later, so that r1 has the last report of all clusters that report through both replicas.
        r1.set_ms(time_ms(round) + 5_000);
        for (replica, series) in [(&mut r0, 50), (&mut r1, SERIES as usize)] {
            replica.upload(REPORTING, &reporting(round, series), STORED).await;
        }
        unwritten.upload(UNWRITTEN, &Said::version("4.18.1"), STORED).await;
        r1.write(WRITING, "4.17.3", "GCP").await;
        if round <= 4 {
            r0.upload(SILENT, &Said::version("4.15.0").provider("AWS"), STORED).await;
        }
        let own = Said::version("4.17.3").provider("GCP");
        if round <= 3 {
            r1.upload(REFUSED, &own, STORED).await;
        } else {
            for _ in 0..5 {
                r1.upload(REFUSED, &own.clone().by(SILENT), StatusCode::BAD_REQUEST).await;
            }
        }
        if round == 8 || round == 10 {
            r1.upload(REPORTING, &own.clone().series(2000), StatusCode::PAYLOAD_TOO_LARGE).await;
        }
        for _ in 0..if round > 0 { 3 } else { 0 } {
            r1.authorize("nobody-knows", "another-token", StatusCode::UNAUTHORIZED).await;
        }
        r0.wrote().await;
        r1.wrote().await;
    }
    for replica in [r0, r1, unwritten] {
        replica.stop().await;
    }
    let second = |round, offset_ms: i64| (time_ms(round) + offset_ms) as f64;
    LastReports { silent: second(4, 0), refused: second(3, 5_000) }
}

/// Returns the upload of [`REPORTING`]: its version was updated a quarter of an hour ago.
fn reporting(round: i64, series: usize) -> Said {
    let said = Said::version(if round < 10 { "4.17.3" } else { "4.18.1" }).provider("AWS");
    let said = said
        .and("alerts{alertname=\"EtcdDown\",alertstate=\"firing\",severity=\"critical\"")
        .and("cluster_operator_conditions{condition=\"Degraded\",name=\"etcd\",reason=\"Quorum\"");
    (0..7).fold(said.series(series), |said, at| said.filtered(at)).behind(BEHIND_MS)
}

/// The upload of a cluster: lines of the text format up to the last label.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    lines: Vec<String>,
    filtered: usize,
    /// The cluster ID on its series, in place of the cluster's own.
    id: Option<&'static str>,
    behind_ms: i64,
}

impl Said {
    fn version(version: &str) -> Self {
        let lines = vec!["up{job=\"a\"".to_owned(), format!("cluster_version{{type=\"current\",version=\"{version}\"")];
        Self { lines, filtered: 0, id: None, behind_ms: 0 }
    }

    fn provider(self, provider: &str) -> Self {
        self.and(&format!("cluster_infrastructure_provider{{type=\"{provider}\""))
    }

    fn and(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Adds series that the whitelist allows, until there are `count`.
    fn series(mut self, count: usize) -> Self {
        let more = (self.lines.len() - self.filtered..count).map(|at| format!("up{{job=\"b\",instance=\"{at}\""));
        self.lines.extend(more.collect::<Vec<_>>());
        self
    }

    /// Adds a series that the whitelist does not allow.
    fn filtered(mut self, at: usize) -> Self {
        self.filtered += 1;
        self.and(&format!("nobody_asked_for_this{{at=\"{at}\""))
    }

    fn behind(self, behind_ms: i64) -> Self {
        Self { behind_ms, ..self }
    }

    /// Sets the ID of another cluster on the series.
    fn by(self, id: &'static str) -> Self {
        Self { id: Some(id), ..self }
    }

    fn text(&self, cluster: &str, now_ms: i64) -> String {
        let (id, time_ms) = (self.id.unwrap_or(cluster), now_ms - self.behind_ms);
        self.lines.iter().map(|line| format!("{line},_id=\"{id}\"}} 1 {time_ms}\n")).collect()
    }
}
