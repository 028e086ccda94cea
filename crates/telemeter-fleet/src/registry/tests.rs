//! Records of clusters, their status, the bounds, and concurrent use.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    outcome::{Reason, ReportRoute},
    request::ReportSummary,
    snapshot,
    view::{ClusterStatus, ClusterView, PastExchange, RefusalCount, Thresholds},
};

const NOW_MS: i64 = 1_795_330_875_000;
const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

pub(crate) fn registry(max_clusters: usize) -> Registry {
    let labels = vec!["version".to_owned(), "provider".to_owned()];
    Registry::new(RegistryConfig { max_clusters, labels, ..RegistryConfig::default() })
}

fn peer() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

/// An accepted upload of `cluster`.
pub(crate) fn upload(registry: &Registry, cluster: &str, now_ms: i64, version: Option<&str>) {
    registry.accept(&AcceptedRequest {
        cluster,
        route: ReportRoute::Upload,
        now_ms,
        peer: peer(),
        user_agent: "telemeter/0.1.0",
        report: Some(ReportSummary {
            series: 225,
            filtered: 7,
            bytes: 10_344,
            drift_ms: Some(-1500),
            labels: &[version, None],
        }),
    });
}

pub(crate) fn refuse(registry: &Registry, cluster: &str, reason: Reason, now_ms: i64) {
    let route = ReportRoute::Receive;
    let user_agent = "Prometheus/3.1";
    registry.refuse(&RefusedRequest { cluster, route, reason, status: 400, now_ms, peer: peer(), user_agent });
}

fn view(registry: &Registry, cluster: &str) -> ClusterView {
    registry.get(cluster, |cluster| cluster.to_view()).unwrap()
}

#[test]
fn a_record_has_all_facts_about_a_cluster() {
    let registry = registry(10);
    for (id, number) in [(UUID, 0), ("a b/ü", 1)] {
        let start_ms = NOW_MS + number * 1000;
        upload(&registry, id, start_ms, Some("4.16.9"));
        upload(&registry, id, start_ms + 270_000, None);
        refuse(&registry, id, Reason::Identity, start_ms + 271_000);
        refuse(&registry, id, Reason::Identity, start_ms + 272_000);
        let known = view(&registry, id);
        assert_eq!((known.id.as_str(), known.first_seen_ms, known.last_heard_ms), (id, start_ms, start_ms + 272_000));
        assert_eq!((known.last_upload_ms, known.last_receive_ms), (Some(start_ms + 270_000), None));
        assert_eq!((known.uploads, known.series, known.filtered, known.bytes), (2, 225, 7, 10_344));
        assert_eq!((known.interval, known.drift_ms), (Some(Duration::from_secs(270)), -1500));
        assert_eq!((&*known.user_agent, known.peer), ("Prometheus/3.1", Some(peer())));
        assert_eq!(known.labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["4.16.9", ""]);
        assert_eq!(known.last_refusal.unwrap().reason, Reason::Identity);
        let (first_ms, last_ms) = (start_ms + 271_000, start_ms + 272_000);
        let (route, reason) = (ReportRoute::Receive, Reason::Identity);
        assert_eq!(known.refusals, [RefusalCount { route, reason, status: 400, count: 2, first_ms, last_ms }]);
        assert!(!registry.labels_differ(id, &[Some("4.16.9"), None]));
        assert!(
            registry.labels_differ(id, &[Some("4.16.10"), None]) && registry.labels_differ(id, &[None, Some("AWS")])
        );
        let refused = RequestOutcome::Refused(ReportRoute::Receive, Reason::Identity);
        assert_eq!(known.exchanges[0], PastExchange { at_ms: start_ms + 272_000, outcome: refused });
        assert_eq!(
            known.exchanges[3],
            PastExchange { at_ms: start_ms + 5000, outcome: RequestOutcome::Accepted(ReportRoute::Upload) }
                .near(known.exchanges[3])
        );
    }
    assert_eq!((registry.len(), registry.get("unknown", |_| ())), (2, None));
    assert!(registry.labels_differ("unknown", &[Some("4.16.9")]) && !registry.labels_differ("unknown", &[None, None]));
}

impl PastExchange {
    /// This exchange with the time of `other`, if both are equal within the precision of the record.
    fn near(self, other: Self) -> Self {
        let near = (self.at_ms - other.at_ms).abs() <= 20_000;
        Self { at_ms: if near { other.at_ms } else { self.at_ms }, ..self }
    }
}

#[test]
fn silent_refused_new_and_reporting() {
    let (registry, thresholds) = (registry(10), Thresholds::default());
    let status = |id: &str, now_ms| registry.get(id, |cluster| cluster.status(&thresholds, now_ms)).unwrap();
    for number in 0..3 {
        upload(&registry, "regular", NOW_MS + number * 100_000, None);
    }
    let last_ms = NOW_MS + 200_000;
    upload(&registry, "once", last_ms, None);
    refuse(&registry, "refused", Reason::RateLimited, last_ms);
    assert_eq!(status("regular", last_ms), ClusterStatus::New);
    assert_eq!(status("regular", last_ms + 300_000), ClusterStatus::New, "three intervals are not over yet");
    assert_eq!(status("regular", last_ms + 301_000), ClusterStatus::Silent);
    assert_eq!(status("once", last_ms + 810_000), ClusterStatus::New, "4m30s are assumed");
    assert_eq!(status("once", last_ms + 811_000), ClusterStatus::Silent);
    assert_eq!(status("refused", last_ms + 1000), ClusterStatus::Refused);
    let day_ms = 24 * 60 * 60 * 1000;
    for number in 0..3 {
        upload(&registry, "regular", NOW_MS + day_ms + number * 60_000, None);
    }
    assert_eq!(status("regular", NOW_MS + day_ms + 121_000), ClusterStatus::Reporting);
    refuse(&registry, "regular", Reason::Identity, NOW_MS + day_ms + 122_000);
    assert_eq!(status("regular", NOW_MS + day_ms + 123_000), ClusterStatus::Refused);
    upload(&registry, "regular", NOW_MS + day_ms + 124_000, None);
    assert_eq!(status("regular", NOW_MS + day_ms + 125_000), ClusterStatus::Reporting);
}

#[test]
fn a_remote_writer_is_not_silent_after_a_few_seconds() {
    let (registry, thresholds) = (registry(10), Thresholds::default());
    for number in 0..50 {
        upload(&registry, "fast", NOW_MS + number * 200, None);
    }
    let silent = |after_ms| registry.get("fast", |c| c.is_silent(&thresholds, NOW_MS + after_ms)).unwrap();
    assert!(!silent(60_000) && !silent(180_000) && silent(200_000));
}

#[test]
fn over_the_bound_the_cluster_with_the_oldest_request_is_evicted() {
    let registry = registry(100);
    for number in 0..100 {
        upload(&registry, &format!("c-{number}"), NOW_MS + number * 1000, None);
    }
    upload(&registry, "c-0", NOW_MS + 200_000, None);
    upload(&registry, "new", NOW_MS + 201_000, None);
    assert_eq!((registry.len(), registry.evicted()), (100, 1));
    let known = |id: &str| registry.get(id, |_| ()).is_some();
    assert!(known("c-0") && !known("c-1") && known("c-2") && known("new"));
}

#[test]
fn callers_without_accepted_credentials_evict_no_cluster() {
    let registry = registry(2);
    upload(&registry, "a", NOW_MS, None);
    upload(&registry, "b", NOW_MS, None);
    let claim = |cluster: &str, now_ms| {
        let (route, reason) = (ReportRoute::Authorize, Reason::AuthorityRefused);
        let refused = RefusedRequest { cluster, route, reason, status: 401, now_ms, peer: peer(), user_agent: "" };
        registry.refuse_claimed(&refused);
    };
    for number in 0..10_000 {
        claim(&format!("x-{number}"), NOW_MS + 1);
    }
    claim("a", NOW_MS + 2);
    assert_eq!((registry.len(), registry.evicted()), (2, 0));
    assert_eq!(view(&registry, "a").refusals, []);
    assert_eq!(registry.claimed_refusals().list()[0].cluster, "a");
}

#[test]
fn a_cluster_without_requests_for_long_is_forgotten() {
    let registry = registry(100);
    upload(&registry, "old", NOW_MS, None);
    upload(&registry, "young", NOW_MS + 1000, None);
    let month_ms = 30 * 24 * 60 * 60 * 1000;
    registry.forget(NOW_MS + month_ms);
    assert_eq!(registry.len(), 2);
    registry.forget(NOW_MS + month_ms + 1000);
    assert_eq!((registry.len(), registry.get("old", |_| ())), (1, None));
}

#[test]
fn one_cluster_with_many_user_agents_does_not_affect_others() {
    let registry = registry(10);
    let agent = |cluster: &str, user_agent: &str, now_ms| {
        let (route, reason) = (ReportRoute::Upload, Reason::Body);
        registry.refuse(&RefusedRequest { cluster, route, reason, status: 503, now_ms, peer: peer(), user_agent });
    };
    agent("quiet", "quiet/1", NOW_MS);
    for number in 0..crate::symbols::MAX_SYMBOLS + 10 {
        agent("loud", &format!("loud/{number}"), NOW_MS);
    }
    assert!(registry.symbols.len() < 100, "{}", registry.symbols.len());
    assert_eq!(&*view(&registry, "quiet").user_agent, "quiet/1");
    agent("later", "later/1", NOW_MS + 1);
    assert_eq!(&*view(&registry, "later").user_agent, "later/1");
}

#[test]
fn many_threads() {
    let registry = registry(500);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let registry = &registry;
            scope.spawn(move || {
                for number in 0..5000 {
                    let id = format!("c-{}", (number * 7 + thread * 13) % 900);
                    match number % 5 {
                        0 => refuse(registry, &id, Reason::Limit, NOW_MS + number as i64),
                        1 => drop(registry.get(&id, |cluster| cluster.to_view())),
                        _ => upload(registry, &id, NOW_MS + number as i64, Some(&id)),
                    }
                }
            });
        }
    });
    let mut count = 0;
    registry.for_each(|cluster| {
        count += 1;
        let known = cluster.to_view();
        assert!(known.labels[0].is_empty() || *known.labels[0] == *known.id, "{known:?}");
    });
    assert!(count == registry.len() && count <= 500, "{count}");
    let mut bytes = Vec::new();
    snapshot::write(&registry, &mut bytes).unwrap();
    let again = self::registry(500);
    assert_eq!(snapshot::read(&again, &mut &bytes[..]).unwrap(), count);
}
