//! How many allocations a request costs, told by the server's own allocator as it ends.

use std::time::Duration;

use super::{MeasuredRequest, MeasuredServer, ServerDir};

/// jemalloc's summary as JSON, without what each arena, bin and lock did.
const STATISTICS: (&str, &str) = ("_RJEM_MALLOC_CONF", "stats_print:true,stats_print_opts:Jgdablx");

/// Allocations of one request: those of a long run less those of a short one, so that start and end do not count.
pub(crate) async fn of(place: &ServerDir<'_>, way: &MeasuredRequest<'_>) -> f64 {
    let (few, after_few) = run(place, way, Duration::from_millis(300)).await;
    let (many, after_many) = run(place, way, Duration::from_millis(900)).await;
    assert!(many > few, "a longer run has more requests");
    (after_many - after_few) as f64 / (many - few) as f64
}

/// How many requests a server of its own answered in this time, and how many allocations it made.
async fn run(place: &ServerDir<'_>, way: &MeasuredRequest<'_>, duration: Duration) -> (u64, u64) {
    let mut server = MeasuredServer::start(place, &[STATISTICS]).await;
    let requests = server.load(way, duration).await.requests;
    let log = server.stop();
    let from = log.find("{\"jemalloc\"").unwrap_or_else(|| panic!("no statistics:\n{log}"));
    let summary: serde_json::Value = serde_json::Deserializer::from_str(&log[from..])
        .into_iter()
        .next()
        .and_then(Result::ok)
        .unwrap_or_else(|| panic!("no JSON:\n{log}"));
    let merged = &summary["jemalloc"]["stats.arenas"]["merged"];
    // Requests, whether a thread's own cache met them or not.
    let made = |kind: &str| merged[kind]["nrequests"].as_u64().expect("a count");
    (requests, made("small") + made("large"))
}
