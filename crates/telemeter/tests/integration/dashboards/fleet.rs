//! A made-up fleet: what two replicas of the gateway wrote about five clusters within the last hour (`--fleet-metrics 5m`), and
//! what those clusters report of themselves.

use std::collections::BTreeMap;

use crate::ledger::now_ms;
use crate::remote_write::Series;

/// It reports through both replicas, the last time through r1; two of its uploads were too large.
pub(crate) const REPORTING: &str = "11111111-0000-4000-8000-000000000000";
/// Its Prometheus remote-writes by itself, to r1.
pub(crate) const WRITING: &str = "22222222-0000-4000-8000-000000000000";
/// Nobody has heard from it for 40 minutes.
pub(crate) const SILENT: &str = "33333333-0000-4000-8000-000000000000";
/// For 40 minutes its token has not been accepted: it is silent, and refused.
pub(crate) const REFUSED: &str = "44444444-0000-4000-8000-000000000000";
/// Nothing is written about it by the replicas: only what it reports is known.
pub(crate) const UNWRITTEN: &str = "55555555-0000-4000-8000-000000000000";

/// Refused requests of [`REFUSED`] within the last hour.
pub(crate) const REFUSALS: f64 = 45.0;
/// Series of the last report of [`REPORTING`], which r1 has.
pub(crate) const SERIES: f64 = 400.0;

/// Names of the series that the replicas write.
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

/// When a replica writes: every five minutes, the last time ten seconds ago.
const WRITES: std::ops::RangeInclusive<i64> = 0..=12;
const FIVE_MINUTES_MS: i64 = 300_000;

/// All series of the made-up fleet.
pub(crate) fn series() -> Vec<Series<'static>> {
    let mut made = Made { end_ms: now_ms() - 10_000, series: Vec::new() };
    made.reporting();
    made.writing();
    made.silent();
    made.refused();
    made.unverified();
    made.said_by_the_clusters();
    made.series
}

/// When [`SILENT`] and [`REFUSED`] reported last, of all that was made.
pub(crate) fn last_report_ms(series: &[Series<'_>], cluster: &str) -> f64 {
    let of_cluster = |one: &&Series<'_>| {
        one.labels.contains(&("__name__", WRITTEN_BY_REPLICAS[0])) && one.labels.contains(&("_id", cluster))
    };
    let values = series.iter().filter(of_cluster).flat_map(|one| &one.samples).map(|(_, value)| *value);
    values.fold(0.0, f64::max) * 1000.0
}

struct Made {
    end_ms: i64,
    series: Vec<Series<'static>>,
}

impl Made {
    /// Adds a series with a sample at each of `writes`; `value` gets the number of the write and its time in seconds.
    fn add(
        &mut self,
        name: &'static str,
        labels: &[(&'static str, &'static str)],
        writes: std::ops::RangeInclusive<i64>,
        value: impl Fn(f64, f64) -> f64,
    ) {
        let mut sorted: BTreeMap<_, _> = labels.iter().copied().collect();
        sorted.insert("__name__", name);
        let sample = |write: i64| {
            let time_ms = self.end_ms - (WRITES.end() - write) * FIVE_MINUTES_MS;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in an f64")]
            (time_ms, value(write as f64, (time_ms / 1000) as f64))
        };
        self.series.push(Series { labels: sorted.into_iter().collect(), samples: writes.map(sample).collect() });
    }

    fn reporting(&mut self) {
        for (replica, age_s, series) in [("r0", 60.0, 500.0), ("r1", 30.0, SERIES)] {
            let labels = [("_id", REPORTING), ("replica", replica)];
            let upload = [("_id", REPORTING), ("replica", replica), ("route", "upload")];
            self.add("telemeter_cluster_last_report_timestamp_seconds", &upload, WRITES, |_, time| time - age_s);
            // r0 restarted half an hour ago.
            let count = |write: f64| if replica == "r0" && write >= 6.0 { write - 5.0 } else { 100.0 + write };
            self.add("telemeter_cluster_reports_total", &upload, WRITES, |write, _| count(write));
            self.add("telemeter_cluster_series", &labels, WRITES, |_, _| series);
            self.add("telemeter_cluster_filtered_series", &labels, WRITES, |_, _| 7.0);
            self.add("telemeter_cluster_clock_drift_seconds", &labels, WRITES, |_, _| -1.5);
            self.info(REPORTING, replica, "telemeter-client/1.0.0", "4.17.3", "AWS", 0..=9);
            // Updated a quarter of an hour ago.
            self.info(REPORTING, replica, "telemeter-client/1.0.0", "4.18.1", "AWS", 10..=12);
        }
        let too_large = [("_id", REPORTING), ("reason", "too_large"), ("replica", "r1"), ("route", "upload")];
        self.add(
            "telemeter_cluster_refused_total",
            &too_large,
            8..=12,
            |write, _| if write < 10.0 { 1.0 } else { 2.0 },
        );
    }

    fn writing(&mut self) {
        let labels = [("_id", WRITING), ("replica", "r1")];
        let receive = [("_id", WRITING), ("replica", "r1"), ("route", "receive")];
        self.add("telemeter_cluster_last_report_timestamp_seconds", &receive, WRITES, |_, time| time - 5.0);
        self.add("telemeter_cluster_reports_total", &receive, WRITES, |write, _| 10.0 * write);
        self.add("telemeter_cluster_series", &labels, WRITES, |_, _| 20.0);
        self.add("telemeter_cluster_filtered_series", &labels, WRITES, |_, _| 0.0);
        self.add("telemeter_cluster_clock_drift_seconds", &labels, WRITES, |_, _| 0.25);
        self.info(WRITING, "r1", "Prometheus/2.42.0", "4.17.3", "GCP", WRITES);
    }

    fn silent(&mut self) {
        let upload = [("_id", SILENT), ("replica", "r0"), ("route", "upload")];
        self.add("telemeter_cluster_last_report_timestamp_seconds", &upload, 0..=4, |_, time| time - 60.0);
        self.add("telemeter_cluster_reports_total", &upload, 0..=4, |write, _| write);
        self.add("telemeter_cluster_series", &[("_id", SILENT), ("replica", "r0")], 0..=4, |_, _| 300.0);
        self.info(SILENT, "r0", "telemeter-client/0.9.0", "4.15.0", "AWS", 0..=4);
    }

    fn refused(&mut self) {
        let upload = [("_id", REFUSED), ("replica", "r0"), ("route", "upload")];
        self.add("telemeter_cluster_last_report_timestamp_seconds", &upload, 0..=3, |_, time| time - 60.0);
        self.add("telemeter_cluster_reports_total", &upload, 0..=3, |write, _| write);
        self.info(REFUSED, "r0", "telemeter-client/1.0.0", "4.17.3", "GCP", WRITES);
        let token = [("_id", REFUSED), ("reason", "token"), ("replica", "r0"), ("route", "upload")];
        self.add("telemeter_cluster_refused_total", &token, 4..=12, |write, _| 5.0 * (write - 3.0));
    }

    fn unverified(&mut self) {
        let labels = [("reason", "authority_refused"), ("replica", "r0"), ("route", "authorize")];
        self.add("telemeter_unverified_refused_total", &labels, WRITES, |write, _| 3.0 * write);
    }

    fn said_by_the_clusters(&mut self) {
        for cluster in [REPORTING, UNWRITTEN] {
            self.add("up", &[("_id", cluster), ("job", "a")], WRITES, |_, _| 1.0);
            self.add(
                "cluster_version",
                &[("_id", cluster), ("type", "current"), ("version", "4.18.1")],
                WRITES,
                |_, _| 1.0,
            );
        }
        let alert = [("_id", REPORTING), ("alertname", "EtcdDown"), ("alertstate", "firing"), ("severity", "critical")];
        self.add("alerts", &alert, WRITES, |_, _| 1.0);
        let degraded = [("_id", REPORTING), ("condition", "Degraded"), ("name", "etcd"), ("reason", "Quorum")];
        self.add("cluster_operator_conditions", &degraded, WRITES, |_, _| 1.0);
    }

    fn info(
        &mut self,
        cluster: &'static str,
        replica: &'static str,
        client: &'static str,
        version: &'static str,
        provider: &'static str,
        writes: std::ops::RangeInclusive<i64>,
    ) {
        let of_client = [("client_version", client), ("version", version), ("provider", provider)];
        let labels = [&[("_id", cluster), ("replica", replica)][..], &of_client].concat();
        self.add("telemeter_cluster_info", &labels, writes, |_, _| 1.0);
    }
}
