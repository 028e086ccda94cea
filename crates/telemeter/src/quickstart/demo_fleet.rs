//! Simulated clusters of the quickstart (`--clusters`), of several versions and providers. Most of them report, some are
//! refused in different ways, some become silent, so that the pages and `telemeter fleet` have something to show.
//!
//! The same number of clusters gives the same fleet each time, except for its tokens.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};
use telemeter_auth::Secret;
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundError, OutboundRequest},
    clock::Clock,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};
use url::Url;

use crate::failure::RunFailure;

/// How many reports of a cluster are accepted before it fails or becomes silent.
const GOOD_REPORTS: u64 = 3;
/// Cap on an answer of the server.
const ANSWER_BYTES: usize = 64 << 10;
/// The age of samples that the server refuses: over a day.
const TOO_OLD: Duration = Duration::from_secs(25 * 60 * 60);

const VERSIONS: [&str; 5] = ["4.14.38", "4.15.22", "4.16.9", "4.16.11", "4.17.0"];
const PROVIDERS: [&str; 4] = ["AWS", "Azure", "GCP", "BareMetal"];
const OPERATORS: [&str; 6] = ["authentication", "console", "dns", "etcd", "ingress", "monitoring"];

/// How a cluster behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Each report is accepted.
    Reports,
    /// It stops after some reports.
    FallsSilent,
    /// The authority does not know its token: 401.
    UnknownToken,
    /// After some reports its series say that they are another cluster's: 400.
    OtherIdentity,
    /// After some reports its samples are over a day old: 400.
    OldSamples,
    /// After some reports it sends text that is no exposition: 400.
    NoMetrics,
    /// After some reports it sends JSON: 415.
    OtherFormat,
}

impl Behaviour {
    /// Of ten clusters one becomes silent and one is refused; the ways of being refused alternate.
    const fn of(index: usize) -> Self {
        match (index % 10, index / 10 % 5) {
            (6, _) => Self::FallsSilent,
            (7, 0) => Self::UnknownToken,
            (7, 1) => Self::OtherIdentity,
            (7, 2) => Self::OldSamples,
            (7, 3) => Self::NoMetrics,
            (7, _) => Self::OtherFormat,
            _ => Self::Reports,
        }
    }
}

/// A simulated cluster.
#[derive(Clone, Debug)]
struct SimulatedCluster {
    id: String,
    token: Secret,
    behaviour: Behaviour,
    version: &'static str,
    provider: &'static str,
    has_alert: bool,
}

/// The simulated clusters, before they start.
pub(super) struct DemoFleet {
    clusters: Vec<SimulatedCluster>,
}

impl DemoFleet {
    /// A fleet of `count` clusters, whose tokens start with `secret`.
    pub(super) fn new(count: usize, secret: &Secret) -> Self {
        let cluster = |index: usize| SimulatedCluster {
            id: format!("de300000-0000-4000-8000-{:012x}", index + 1),
            token: format!("{}-{index}", secret.expose()).into(),
            behaviour: Behaviour::of(index),
            version: VERSIONS[index * 7 % VERSIONS.len()],
            provider: PROVIDERS[index * 3 % PROVIDERS.len()],
            has_alert: index % 9 == 4,
        };
        Self { clusters: (0..count).map(cluster).collect() }
    }

    /// The tokens that the authority has to accept.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Secret> {
        let known = self.clusters.iter().filter(|cluster| cluster.behaviour != Behaviour::UnknownToken);
        known.map(|cluster| cluster.token.clone())
    }

    /// Starts a task for each cluster, which reports to the server at `external` (`host:port`) every `interval`; the first
    /// reports are spread over the interval. The clusters stop when the tasks are dropped.
    ///
    /// # Errors
    /// Outbound connections cannot be set up, or the address is invalid.
    pub(super) fn start(self, external: &str, interval: Duration, clock: &Clock) -> Result<JoinSet<()>, RunFailure> {
        let server = ReportTarget {
            outbound: Outbound::new(OutboundConfig::new("demo-fleet"), None)?,
            authorize: Url::parse(&format!("http://{external}/authorize"))?,
            upload: Url::parse(&format!("http://{external}/upload"))?,
            clock: clock.clone(),
        };
        let (server, mut tasks) = (Arc::new(server), JoinSet::new());
        let apart = interval / u32::try_from(self.clusters.len().max(1)).unwrap_or(u32::MAX);
        for (index, cluster) in (0_u32..).zip(self.clusters) {
            tasks.spawn(cluster.report_repeatedly(server.clone(), apart * index, interval));
        }
        Ok(tasks)
    }
}

/// Where the clusters report to.
struct ReportTarget {
    outbound: Outbound,
    authorize: Url,
    upload: Url,
    clock: Clock,
}

impl SimulatedCluster {
    /// Waits for `wait`, then uploads every `interval`, until the task is dropped. A cluster that falls silent stops by
    /// itself after [`GOOD_REPORTS`] uploads. Failures are only logged.
    async fn report_repeatedly(self, server: Arc<ReportTarget>, wait: Duration, interval: Duration) {
        sleep(wait).await;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut token = None;
        for number in 0.. {
            ticks.tick().await;
            if self.behaviour == Behaviour::FallsSilent && number >= GOOD_REPORTS {
                return;
            }
            if let Err(error) = self.upload(&server, &mut token, number).await {
                tracing::debug!(cluster = %self.id, %error, "a simulated cluster did not reach the server");
            }
        }
    }

    /// Reports once, and exchanges the token first where there is none. Refusals are expected, and not logged here.
    async fn upload(
        &self,
        server: &ReportTarget,
        token: &mut Option<Secret>,
        number: u64,
    ) -> Result<(), OutboundError> {
        if token.is_none() {
            *token = self.authorize(server).await?;
        }
        let Some(known) = token else { return Ok(()) };
        let (content_type, body) = self.body(server.clock.now_ms(), number);
        let request =
            OutboundRequest::post(server.upload.clone()).header(header::CONTENT_TYPE, content_type).with_body(body);
        let Ok(request) = request.with_bearer(known.expose()) else { return Ok(()) };
        if server.outbound.send(request, ANSWER_BYTES).await?.status == StatusCode::UNAUTHORIZED {
            *token = None;
        }
        Ok(())
    }

    /// Exchanges the cluster's token for an access token; `None` where the answer has none, as a refusal.
    async fn authorize(&self, server: &ReportTarget) -> Result<Option<Secret>, OutboundError> {
        let mut url = server.authorize.clone();
        url.query_pairs_mut().append_pair("id", &self.id);
        let Ok(request) = OutboundRequest::post(url).with_bearer(self.token.expose()) else { return Ok(None) };
        let answer = server.outbound.send(request, ANSWER_BYTES).await?;
        let json = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        Ok(json["token"].as_str().map(Secret::from))
    }

    /// The body of a report, and its Content-Type. After [`GOOD_REPORTS`] good reports, it has the fault of the
    /// cluster's behaviour.
    fn body(&self, now_ms: i64, number: u64) -> (HeaderValue, String) {
        const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");
        let behaviour = if number < GOOD_REPORTS { Behaviour::Reports } else { self.behaviour };
        match behaviour {
            Behaviour::OtherIdentity => {
                (TEXT, self.metrics_text("de300000-0000-4000-8000-ffffffffffff", now_ms, number))
            }
            Behaviour::OldSamples => (TEXT, self.metrics_text(&self.id, now_ms - TOO_OLD.as_millis() as i64, number)),
            Behaviour::NoMetrics => (TEXT, "<html><body>502 Bad Gateway</body></html>\n".to_owned()),
            Behaviour::OtherFormat => (HeaderValue::from_static("application/json"), "{}".to_owned()),
            Behaviour::Reports | Behaviour::FallsSilent | Behaviour::UnknownToken => {
                (TEXT, self.metrics_text(&self.id, now_ms, number))
            }
        }
    }

    /// The cluster's metrics in the text format, with the label `_id` set to `id` and the timestamp `now_ms`. `number`
    /// is the number of earlier reports, from which a counter is made.
    fn metrics_text(&self, id: &str, now_ms: i64, number: u64) -> String {
        let Self { version, provider, .. } = self;
        let mut text = String::new();
        let mut series = |name: &str, labels: &str, value: u64| {
            let _ = writeln!(text, "{name}{{_id=\"{id}\",{labels}}} {value} {now_ms}");
        };
        series("cluster_version", &format!("type=\"current\",version=\"{version}\""), 1);
        series("cluster_infrastructure_provider", &format!("type=\"{provider}\""), 1);
        for operator in OPERATORS {
            series("cluster_operator_up", &format!("name=\"{operator}\",version=\"{version}\""), 1);
        }
        series("cluster_reports_total", "job=\"demo\"", number + 1);
        if self.has_alert {
            let alert = "alertname=\"KubePodCrashLooping\",alertstate=\"firing\",severity=\"warning\"";
            series("alerts", alert, 1);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fifty_clusters_five_fall_silent_and_five_are_refused_each_in_its_way() {
        let fleet = DemoFleet::new(50, &"secret".to_owned().into());
        let count = |behaviour| fleet.clusters.iter().filter(|cluster| cluster.behaviour == behaviour).count();
        assert_eq!(count(Behaviour::FallsSilent), 5);
        for behaviour in [
            Behaviour::UnknownToken,
            Behaviour::OtherIdentity,
            Behaviour::OldSamples,
            Behaviour::NoMetrics,
            Behaviour::OtherFormat,
        ] {
            assert_eq!(count(behaviour), 1, "{behaviour:?}");
        }
        assert_eq!(count(Behaviour::Reports), 40);
        assert_eq!(fleet.tokens().count(), 49, "the authority knows all but one");
        for (what, of) in [
            ("versions", |cluster: &SimulatedCluster| cluster.version),
            ("providers", |cluster: &SimulatedCluster| cluster.provider),
        ] as [(&str, fn(&SimulatedCluster) -> &'static str); 2]
        {
            let found: std::collections::HashSet<_> = fleet.clusters.iter().map(of).collect();
            assert!(found.len() >= 4, "{what}: {found:?}");
        }
    }

    #[test]
    fn a_cluster_fails_only_after_some_reports() {
        let fleet = DemoFleet::new(50, &"secret".to_owned().into());
        for cluster in &fleet.clusters {
            let (content_type, body) = cluster.body(1_700_000_000_000, GOOD_REPORTS - 1);
            assert_eq!(content_type, "text/plain; version=0.0.4");
            assert!(body.lines().all(|line| line.contains(&cluster.id) && line.ends_with(" 1700000000000")), "{body}");
        }
    }
}
