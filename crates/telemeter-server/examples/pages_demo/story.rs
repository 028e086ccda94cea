//! What happens in the made-up fleet: which cluster reports when, and what goes wrong.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use http::{StatusCode, header};
use telemeter_auth::Error as AuthError;
use telemeter_fleet::ReportRoute;
use telemeter_http::{body::BodyError, listen::Peer};
use telemeter_rules::{Refusal, StepCounts};
use telemeter_server::{
    error::{Error, RequestError},
    fleet::ObservedReport,
    gateway::Gateway,
    sender::Sender,
};
use telemeter_wire::{Arena, SeriesSet};

use crate::cluster::{DemoCluster, noise};

pub(crate) const CLUSTERS: u64 = 50;
const INTERVAL_MS: i64 = 270_000;
/// The story begins so many intervals before now, and ends as many after.
const PUSHES: i64 = 40;

/// One request of the story.
#[derive(Clone)]
pub(crate) struct DemoEvent {
    pub(crate) ms: i64,
    cluster: u64,
    kind: DemoEventKind,
}

#[derive(Clone)]
enum DemoEventKind {
    /// It was given an access token.
    Authorized,
    /// A report, the so-manyeth; of a remote writer or a client.
    Report(i64),
    Refused(ReportRoute, fn() -> Error),
    /// A caller whose credentials are not accepted claims to be the cluster, or claims an unknown ID.
    Claimed(ReportRoute, Option<&'static str>, fn() -> Error),
}

fn identity() -> Error {
    Refusal::LabelValue { label: "_id".to_owned() }.into()
}

fn clock() -> Error {
    Refusal::TooFarAhead { minutes: 10 }.into()
}

fn too_large() -> Error {
    BodyError::TooLarge { cap_bytes: 512_000 }.into()
}

fn rate_limited() -> Error {
    let period = Duration::from_secs(270);
    Error::RateLimited { period, retry_after: Duration::from_secs(100) }
}

fn store_unavailable() -> Error {
    Error::StoreUnavailable {
        cause: "503 Service Unavailable: no route to the ingesters".to_owned(),
        retry_after: None,
    }
}

fn unknown_token() -> Error {
    AuthError::Refused { status: 401, excerpt: "unknown pull secret".into() }.into()
}

fn unknown_cluster() -> Error {
    AuthError::Refused { status: 404, excerpt: "no such cluster".into() }.into()
}

fn no_credentials() -> Error {
    AuthError::CredentialsMissing.into()
}

fn expired_token() -> Error {
    Error::TokenWithoutCluster
}

fn undecodable() -> Error {
    Refusal::NoValue.into()
}

fn store_refused() -> Error {
    Error::StoreRefused { status: StatusCode::CONFLICT, store_message: "out of order sample".into() }
}

/// All that happens from three hours before `now_ms` until three hours after, in order.
pub(crate) fn events(now_ms: i64) -> Vec<DemoEvent> {
    let mut events = Vec::new();
    for cluster in 0..CLUSTERS {
        if !matches!(cluster, 23 | 41) {
            let ms = now_ms - (12 + cluster as i64) * 86_400_000;
            events.push(DemoEvent { ms, cluster, kind: DemoEventKind::Authorized });
        }
        let (first, last) = match cluster {
            // New ones.
            23 => (6, -PUSHES),
            41 => (2, -PUSHES),
            // Silent ones: since hours, and since a quarter of an hour.
            7 => (PUSHES, 29),
            31 => (PUSHES, 11),
            45 => (PUSHES, 4),
            _ => (PUSHES, -PUSHES),
        };
        let late_ms = (noise(cluster, 0, 0) * 250_000.0) as i64;
        for push in (last..=first).rev() {
            let ms = now_ms - push * INTERVAL_MS - late_ms;
            let mut put = |ms, kind| events.push(DemoEvent { ms, cluster, kind });
            let refused: Option<fn() -> Error> = match cluster {
                4 if push < 14 => Some(identity),
                18 if push < 25 => Some(clock),
                26 if push < 3 => Some(too_large),
                33 if push.rem_euclid(9) == 5 => Some(undecodable),
                38 if push.rem_euclid(5) == 1 => Some(store_refused),
                // The store was away for some minutes.
                _ if push == 8 && cluster % 3 > 0 => Some(store_unavailable),
                _ => None,
            };
            let route = if is_remote_writer(cluster) { ReportRoute::Receive } else { ReportRoute::Upload };
            match refused {
                Some(error) => put(ms, DemoEventKind::Refused(route, error)),
                None => put(ms, DemoEventKind::Report(PUSHES - push)),
            }
            // Two clients under one ID.
            if cluster == 12 {
                put(ms + 60_000, DemoEventKind::Refused(ReportRoute::Upload, rate_limited));
            }
            // Its pull secret was replaced; it goes on with the token that it has.
            if cluster == 31 && push < 14 {
                put(ms + 2_000, DemoEventKind::Claimed(ReportRoute::Authorize, None, unknown_token));
            }
            if cluster == 9 && push % 2 == 0 {
                put(
                    ms,
                    DemoEventKind::Claimed(ReportRoute::Authorize, Some("a-cluster-that-was-deleted"), unknown_cluster),
                );
            }
            if cluster == 2 && push % 6 == 0 {
                put(ms, DemoEventKind::Claimed(ReportRoute::Receive, Some(""), no_credentials));
                put(ms, DemoEventKind::Claimed(ReportRoute::Upload, Some(""), expired_token));
            }
        }
        // A remote writer sends more often; only lately, so that the demonstration starts fast.
        if is_remote_writer(cluster) && last < 0 {
            let steps = (-720..240).rev().map(|step| now_ms - step * 15_000 - late_ms % 15_000);
            events.extend(steps.map(|ms| DemoEvent { ms, cluster, kind: DemoEventKind::Report(PUSHES) }));
        }
    }
    events.sort_by_key(|event| event.ms);
    events
}

const fn is_remote_writer(cluster: u64) -> bool {
    cluster % 16 == 15
}

/// The request of a client of the fleet.
fn sender(cluster: u64) -> Sender {
    let program = match cluster {
        _ if is_remote_writer(cluster) => "Prometheus/3.5.0",
        number if number % 5 == 0 => "telemeter-client/4.15.0",
        _ => "telemeter/0.1.0",
    };
    let address = Ipv4Addr::new(203, 0, 113, 10 + cluster as u8);
    let mut request = Request::builder().header(header::USER_AGENT, program).body(Body::empty()).expect("a request");
    request.extensions_mut().insert(Peer(SocketAddr::new(IpAddr::V4(address), 40_000)));
    Sender::of(&request)
}

/// Makes one event happen.
pub(crate) fn tell(gateway: &Gateway, clusters: &[DemoCluster], event: &DemoEvent) {
    let Some(cluster) = clusters.get(event.cluster as usize) else { return };
    let (id, fleet, sender) = (cluster.id.as_str(), &gateway.fleet, sender(event.cluster));
    match &event.kind {
        DemoEventKind::Authorized => fleet.record_accepted(ReportRoute::Authorize, id, &sender, None, event.ms),
        DemoEventKind::Report(push) => {
            let route = if is_remote_writer(event.cluster) { ReportRoute::Receive } else { ReportRoute::Upload };
            report(gateway, cluster, route, &sender, *push, event.ms);
        }
        DemoEventKind::Refused(route, error) => {
            fleet.record_refused(*route, &sender, &RequestError::verified(id, error()), event.ms);
            if matches!(error().reason(), telemeter_fleet::Reason::StoreUnavailable) {
                fleet.dependencies.store.unavailable(&error().to_string(), event.ms);
            }
        }
        DemoEventKind::Claimed(route, claimed, error) => {
            let refused = match claimed.unwrap_or(id) {
                "" => RequestError::from(error()),
                claimed => RequestError::claimed(claimed, error()),
            };
            fleet.record_refused(*route, &sender, &refused, event.ms);
        }
    }
}

/// So many more clusters that report, with a version and a provider each.
pub(crate) fn crowd(gateway: &Gateway, clusters: u64, now_ms: i64) {
    for number in 0..clusters {
        let cluster = DemoCluster::new(1000 + number);
        let labels = cluster.labels().map(|label| Some(label.into()));
        let (series, filtered) = (80 + (number % 90) as usize, (number % 40) as usize);
        let seen =
            ObservedReport { filtered, samples: 1, bytes: 9000, drift_ms: Some(-900), labels: Some(labels.into()) };
        for push in [3, 2, 1, 0] {
            let ms = now_ms - push * INTERVAL_MS - (number % 270) as i64 * 1000;
            gateway.fleet.record_accepted(
                ReportRoute::Upload,
                &cluster.id,
                &sender(number % 50),
                Some((&seen, series)),
                ms,
            );
        }
    }
}

fn report(gateway: &Gateway, cluster: &DemoCluster, route: ReportRoute, sender: &Sender, push: i64, now_ms: i64) {
    let fleet = &gateway.fleet;
    let rules = gateway.rules.load_full();
    let arena = Arena::new();
    let steps = rules.of_receive(&cluster.id, now_ms).counting(&fleet.dropped);
    let mut set = SeriesSet::new_in(&arena);
    // One clock is slow.
    let sample_ms = now_ms - if cluster.number == 29 { 430_000 } else { 900 };
    cluster.series(&arena, &mut set, push, sample_ms);
    let mut report = StepCounts::default();
    steps.receive(&mut set, &mut report).expect("what the demonstration sends passes");
    let bytes = 110 * set.len();
    let seen = fleet.observe(&cluster.id, &set, report.filtered, bytes, now_ms);
    if let Some(store) = &gateway.recent_store {
        store.append(&cluster.id, &set, now_ms);
    }
    fleet.record_accepted(route, &cluster.id, sender, Some((&seen, set.len())), now_ms);
    let took = Duration::from_millis(4 + now_ms.unsigned_abs() % 9);
    fleet.dependencies.store.available(Some(took), now_ms);
}
