//! One cluster: its state as a sentence, its last requests, its limits, its alerts.

use serde::Serialize;
use telemeter_fleet::{ClusterStatus, ClusterView, RequestOutcome};

use super::{FleetView, Time, clusters::ClusterRow};
use crate::{pages::human, refusals};

/// What a cluster's page and the API show of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterDetails {
    /// Its row of the list.
    #[serde(flatten)]
    pub row: ClusterRow,
    /// Its state, as a sentence.
    pub state: String,
    /// Its last requests, newest first.
    pub exchanges: Vec<ExchangeRow>,
    /// The limits on its requests.
    pub limits: ClusterLimits,
    /// Its firing alerts in the recent store; `null` without a recent store.
    pub alerts: Option<Vec<FiringAlert>>,
}

/// One request of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExchangeRow {
    /// When it came; the older, the less exact.
    pub at: Time,
    /// The route, by its name.
    pub route: &'static str,
    /// `accepted`, or the reason of the refusal.
    pub outcome: &'static str,
}

/// The limits on a cluster's requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterLimits {
    /// An upload before this time is refused; `null`: it may come at once.
    pub next_upload_at: Option<Time>,
    /// The least time from one upload to the next, in seconds; `null`: no limit.
    pub rate_limit_seconds: Option<u64>,
    /// Cap on the body of an upload, in decompressed bytes.
    pub limit_bytes: usize,
    /// Cap on the body of a remote write, in compressed bytes.
    pub limit_receive_bytes: usize,
    /// How much of the byte cap of its route its last report took: 1 is all of it; `null` before there was a report.
    pub last_report_share: Option<f64>,
    /// How many of its requests are under way.
    pub requests_under_way: usize,
    /// How many may be under way at once.
    pub limit_concurrent: usize,
}

/// An alert that fires in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FiringAlert {
    /// Its name.
    pub name: String,
    /// Its severity; may be empty.
    pub severity: String,
    /// The time of its oldest sample in the recent store.
    pub since: Time,
}

/// Why a cluster may not be known, and what to do: shown in place of its details.
pub const UNKNOWN: &str = "this replica has never accepted a request of this cluster, or has forgotten it \
    (--fleet-forget-after, --fleet-max-clusters, a restart without --fleet-file). Look at the refusals for this ID as a \
    claimed cluster, compare the ID with what the cluster sends, and ask the other replicas or the store";

impl FleetView {
    /// One cluster; `None` where it is not known.
    #[must_use]
    pub fn cluster(&self, id: &str) -> Option<ClusterDetails> {
        let (gateway, now_ms) = (self.gateway(), self.now_ms());
        let row = self.cluster_row(id)?;
        let view = gateway.fleet.registry.get(id, |cluster| cluster.to_view())?;
        let limit = gateway.ratelimit.as_ref();
        let is_upload = view.last_upload_ms >= view.last_receive_ms;
        let cap_bytes = if is_upload { gateway.limit_bytes } else { gateway.limit_receive_bytes };
        let has_reported = view.last_upload_ms.or(view.last_receive_ms).is_some();
        Some(ClusterDetails {
            state: describe_state(
                &view,
                ClusterStatus::from_name(row.status).unwrap_or(ClusterStatus::Reporting),
                now_ms,
            ),
            row,
            exchanges: view.exchanges.iter().map(|exchange| exchange_row(exchange.at_ms, exchange.outcome)).collect(),
            limits: ClusterLimits {
                next_upload_at: limit.and_then(|limit| limit.next_slot_ms(id, now_ms)).map(Time),
                rate_limit_seconds: limit.map(|limit| limit.period().as_secs()),
                limit_bytes: gateway.limit_bytes,
                limit_receive_bytes: gateway.limit_receive_bytes,
                last_report_share: has_reported.then(|| f64::from(view.bytes) / cap_bytes.max(1) as f64),
                requests_under_way: gateway.concurrency.open_requests(id),
                limit_concurrent: gateway.concurrency.limit(),
            },
            alerts: self.firing_alerts(id, now_ms),
        })
    }

    /// The firing alerts of a cluster, from its series `alerts` and `ALERTS` in the recent store, at most 1000. `None`
    /// where there is no recent store, or it does not know the cluster.
    fn firing_alerts(&self, id: &str, now_ms: i64) -> Option<Vec<FiringAlert>> {
        let store = self.gateway().recent_store.as_ref()?;
        let value = |labels: &[(String, String)], name: &str| {
            labels.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let matches = |labels: &[telemeter_wire::Label<'_>]| {
            let has = |name, value| labels.iter().any(|label| label.name == name && label.value == value);
            (has("__name__", "alerts") || has("__name__", "ALERTS")) && has("alertstate", "firing")
        };
        let found = store.cluster(id, now_ms, matches, 0..1000)?.found;
        let alerts = found.rows.iter().filter_map(|row| {
            let since = Time(row.points.first()?.ms);
            Some(FiringAlert { name: value(&row.labels, "alertname"), severity: value(&row.labels, "severity"), since })
        });
        Some(alerts.collect())
    }
}

/// One request of a cluster, with its outcome as text: `accepted`, or the reason of the refusal.
fn exchange_row(at_ms: i64, outcome: RequestOutcome) -> ExchangeRow {
    let (route, outcome) = match outcome {
        RequestOutcome::Accepted(route) => (route, "accepted"),
        RequestOutcome::Refused(route, reason) => (route, reason.name()),
    };
    ExchangeRow { at: Time(at_ms), route: route.name(), outcome }
}

/// The state of a cluster, as a sentence.
fn describe_state(view: &ClusterView, status: ClusterStatus, now_ms: i64) -> String {
    let last_report_ms = view.last_upload_ms.max(view.last_receive_ms);
    let interval =
        view.interval.map(|interval| human::duration_exact(interval.as_secs().try_into().unwrap_or(i64::MAX)));
    let why = view.last_refusal.map(|last| refusals::describe(last.reason, last.status)).unwrap_or_default();
    match status {
        ClusterStatus::Silent => {
            let silent = human::duration((now_ms - view.last_heard_ms).max(0) / 1000);
            let mut text = format!("silent for {silent}: ");
            text += &match (last_report_ms, interval) {
                (None, _) => "it has never reported".to_owned(),
                (Some(at_ms), None) => format!("its last report was {}", human::ago(at_ms, now_ms)),
                (Some(at_ms), Some(interval)) => {
                    format!("it reported every {interval}, the last time {}", human::ago(at_ms, now_ms))
                }
            };
            if let Some(RequestOutcome::Refused(..)) = view.exchanges.first().map(|last| last.outcome) {
                text += &format!("; its last request was refused: {why}");
            }
            text
        }
        ClusterStatus::Refused => {
            let hour = view.exchanges.iter().take_while(|exchange| now_ms - exchange.at_ms <= 3_600_000);
            let refused = hour.filter(|exchange| matches!(exchange.outcome, RequestOutcome::Refused(..))).count();
            let all = view.exchanges.len();
            let times = match refused {
                0 | 1 => "refused".to_owned(),
                // No more exchanges than that are kept.
                _ if refused == all && all == 20 => "refused at least 20 times in the last hour".to_owned(),
                _ => format!("refused {refused} times in the last hour"),
            };
            format!("{times}: {why}")
        }
        ClusterStatus::New | ClusterStatus::Reporting => {
            let mut text = match (status, interval) {
                (ClusterStatus::New, _) => format!("new: first seen {}", human::ago(view.first_seen_ms, now_ms)),
                (_, Some(interval)) => format!("reports every {interval}"),
                (_, None) => "reports".to_owned(),
            };
            if let Some(at_ms) = last_report_ms {
                text += &format!(", its last report {}", human::ago(at_ms, now_ms));
            }
            text
        }
    }
}
