//! The number of allocations of a request does not grow with its number of series, on both routes, from the request line to the
//! message that is ready to be sent.
#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::System;

use axum::{Router, body::Body, extract::Request};
use prometheus_client::registry::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{
    SOON,
    body::{self, DELIMITED, TEXT},
    body_v2, composite,
    gateway::shared,
};
use telemeter_http::{instrument::HttpMetrics, internal::Health};
use telemeter_server::{
    Config,
    config::AuthorizationMode,
    gateway::{Gateway, Workspace},
    routes,
};
use telemeter_wire::{
    DecodeLimits, SeriesSet,
    remote_write::{
        self,
        v2::{Keep, RequestBuilder, decode_keeping},
    },
};
use tower::ServiceExt as _;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SIZES: [usize; 5] = [10, 100, 1000, 5000, 10_000];

/// The external listener's router, before a store that allocates nothing; and a token for it.
fn router() -> (Router, String) {
    let mut config = Config::new(AuthorizationMode::AnyCluster);
    config.rules.labels = vec![("received_by".to_owned(), "gateway".to_owned())];
    config.rules.elide_labels = vec!["replica".to_owned()];
    config.rules.required_labels = vec![("env".to_owned(), "prod".to_owned())];
    config.rules.whitelist = (0..200)
        .map(|at| format!("metric_{at}"))
        .chain(["{__name__=~\"other_.*\",pod!=\"\"}".to_owned(), "{__name__=~\".+_[0-9]+\"}".to_owned()])
        .collect();
    let mut registry = Registry::default();
    let http = HttpMetrics::register(&mut registry);
    let (shared, token) = shared(&config, &mut registry);
    (routes::external(Gateway::new(shared), &Health::new(), &http), token)
}

/// Series of eleven labels; every tenth is filtered, every seventh is a duplicate, every third has a label to elide.
fn series(count: usize, sorted: bool) -> Vec<String> {
    let one = |at: usize| {
        let name = if at % 10 == 9 { format!("{at}_filtered") } else { format!("metric_{at}") };
        let replica = if at.is_multiple_of(3) { ",replica=r" } else { "" };
        let (front, back) = if sorted { ("", ",z=z") } else { ("z=z,", "") };
        let at = if at % 7 == 6 { at - 1 } else { at };
        format!(
            "{},{front}_id=c1,container=prometheus,empty=,endpoint=metrics,env=prod,instance=10.0.0.{}:9100,\
             job=node-exporter,namespace=openshift-monitoring,pod=pod-{at}{replica}{back} {at}@0",
            if name.starts_with(char::is_numeric) { "filtered" } else { &name },
            at % 250,
        )
    };
    (0..count).map(one).collect()
}

/// How many allocations a request makes after others of its kind: the fewest of some runs.
fn allocations(runtime: &tokio::runtime::Runtime, router: &Router, request: impl Fn() -> Request) -> usize {
    let mut fewest = usize::MAX;
    for run in 0..8 {
        let (router, request) = (router.clone(), request());
        let region = Region::new(ALLOCATOR);
        let response = runtime.block_on(router.oneshot(request)).unwrap();
        let change = region.change();
        let status = response.status();
        if !status.is_success() {
            let mut line = Vec::new();
            let read = telemeter_http::body::read(response.into_body(), 1000, SOON, &mut line);
            runtime.block_on(read).unwrap();
            panic!("{status}: {}", String::from_utf8_lossy(&line));
        }
        if run >= 4 {
            fewest = fewest.min(change.allocations + change.reallocations);
        }
    }
    fewest
}

/// One test: allocations of another at the same time would be counted too.
#[test]
fn the_number_of_allocations_does_not_grow_with_the_number_of_series() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (router, token) = router();
    let composite = composite("c1");
    let request = |path: &str, token: &str, format: &str, encoding: &str, body: Vec<u8>| {
        let builder = http::Request::post(path).header("authorization", format!("Bearer {token}"));
        let builder = builder.header("content-type", format).header("content-encoding", encoding);
        builder.header("content-length", body.len()).body(Body::from(body)).unwrap()
    };
    let ways = [
        "text",
        "framed text",
        "framed protobuf",
        "receive",
        "receive, unsorted",
        "orders by turns",
        "not changed",
        "2.0",
    ];
    for way in ways {
        let counts = SIZES.map(|size| {
            let series = series(size, way != "receive, unsorted");
            let series: Vec<_> = series.iter().map(String::as_str).collect();
            let receive = |series: &[&str]| body::block(&body::write_request(series));
            let (path, token, format, encoding, body) = match way {
                "text" => ("/upload", &token, TEXT, "identity", body::text(&series)),
                "framed text" => ("/upload", &token, TEXT, "snappy", body::framed(&body::text(&series))),
                "framed protobuf" => ("/upload", &token, DELIMITED, "snappy", body::framed(&body::delimited(&series))),
                "orders by turns" => {
                    let turns = ["metric_1,z=z,_id=c1,env=prod,pod=p 1@0", "metric_1,pod=p,z=z,_id=c1,env=prod 1@0"];
                    let turns: Vec<_> = turns.into_iter().cycle().take(size).collect();
                    ("/metrics/v1/receive", &composite, "application/x-protobuf", "snappy", receive(&turns))
                }
                "not changed" => {
                    let same = vec!["metric_1,_id=c1,env=prod,pod=p,received_by=gateway 1@0"; size];
                    ("/metrics/v1/receive", &composite, "application/x-protobuf", "snappy", receive(&same))
                }
                "2.0" => {
                    let body = body_v2::Request::of(&series).block();
                    ("/metrics/v1/receive", &composite, body_v2::CONTENT_TYPE, "snappy", body)
                }
                _ => ("/metrics/v1/receive", &composite, "application/x-protobuf", "snappy", receive(&series)),
            };
            allocations(&runtime, &router, || request(path, token, format, encoding, body.clone()))
        });
        assert!(counts.iter().all(|count| *count <= counts[0]), "{way}: {counts:?} for {SIZES:?} series");
        assert!(counts[0] < 150, "{way}: {counts:?}");
    }
    for way in ["1.0 in, 2.0 out", "2.0 in, 2.0 out", "2.0 in, 2.0 out, joined"] {
        let mut room = OutRoom::default();
        let counts = SIZES.map(|size| {
            let series = series(size, false);
            let series: Vec<_> = series.iter().map(String::as_str).collect();
            let body = match way {
                "1.0 in, 2.0 out" => body::write_request(&series),
                _ => prost::Message::encode_to_vec(&body_v2::Request::of(&series)),
            };
            let runs = (0..8).map(|_| room.allocations(&body, way));
            runs.skip(4).min().unwrap()
        });
        assert!(counts.iter().all(|count| *count <= counts[0]), "{way}: {counts:?} for {SIZES:?} series");
        assert!(counts[0] < 50, "{way}: {counts:?}");
    }
}

/// What a message goes through that goes on as 2.0, from its decompressed bytes to those that are to be compressed.
#[derive(Default)]
struct OutRoom {
    workspace: Workspace,
    joined: RequestBuilder,
    message: Vec<u8>,
}

impl OutRoom {
    fn allocations(&mut self, body: &[u8], way: &str) -> usize {
        let Self { workspace: Workspace { arena, request, .. }, joined, message } = self;
        let region = Region::new(ALLOCATOR);
        let mut set = SeriesSet::new_in(arena);
        if way.starts_with("1.0") {
            remote_write::decode(body, &DecodeLimits::default(), &mut set).unwrap();
        } else {
            let keep = Keep { start_timestamps: true, metadata: true };
            decode_keeping(body, keep, &DecodeLimits::default(), &mut set, None).unwrap();
        }
        request.clear();
        request.add(&set);
        message.clear();
        request.put_message(message);
        if way.ends_with("joined") {
            joined.clear();
            for _ in 0..2 {
                joined.add_request(message, request.contents()).unwrap();
            }
        }
        drop(set);
        arena.reset();
        let change = region.change();
        change.allocations + change.reallocations
    }
}
