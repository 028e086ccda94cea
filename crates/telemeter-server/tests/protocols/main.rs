//! The tables of docs/protocols.md. Each row of "What becomes of it" is in [`rows`] or [`histograms`] with the text of its cells
//! and the cases that hold them: a cell that is changed in the document, or that no case holds, fails.
#![allow(clippy::unwrap_used)]

mod case;
mod histograms;
#[path = "../../../telemeter-wire/tests/oracle/messages.rs"]
#[allow(dead_code, reason = "families are written, and nothing is read")]
mod messages;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::Message as _;
use support::{
    CLUSTER, NOW_MS, TestServer,
    body::{self, TimeSeries, WriteRequest},
    body_v2, stored,
};
use telemeter_server::config::ForwardProtocol;

use self::case::Row;

/// Servers whose stores are sent 1.0 and 2.0.
async fn servers(metadata: bool) -> [TestServer; 2] {
    let with = |protocol| {
        TestServer::with(move |config| {
            let forward = config.forward.as_mut().unwrap();
            (forward.protocol, forward.metadata) = (protocol, metadata);
        })
    };
    let [one, two] = [with(ForwardProtocol::V1).await, with(ForwardProtocol::V2).await];
    one.store.says(support::receiver_v1::receive);
    two.store.says(support::receiver_v2::receive);
    [one, two]
}

fn all_rows() -> Vec<Row> {
    rows::rows().into_iter().chain(histograms::rows()).collect()
}

/// The rows of the table that begins below this heading, as their cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocols.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

#[test]
fn each_cell_of_the_table_has_a_case() {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for row in all_rows() {
        let tested: BTreeSet<usize> = row.cases.iter().flat_map(|case| case.columns).copied().collect();
        let said: BTreeSet<usize> = (0..6).filter(|column| row.cells[*column] != "–").collect();
        assert_eq!(tested, said, "{}: the columns of its cases", row.part);
        rows.push([row.part].iter().chain(&row.cells).map(|&cell| cell.to_owned()).collect());
    }
    let mut table = table("What becomes of it");
    rows.sort();
    table.sort();
    assert_eq!(rows, table);
}

#[tokio::test]
async fn what_becomes_of_it() {
    let [plain, keeping] = [servers(false).await, servers(true).await];
    for row in all_rows() {
        for (at, case) in row.cases.iter().enumerate() {
            for &column in case.columns {
                let servers = if case.keeps_metadata { &keeping } else { &plain };
                let context = format!("{}, column {column} ({}), case {at}", row.part, row.cells[column]);
                case.check(&servers[column % 2], &context).await;
            }
        }
    }
}

/// "What comes in": each Content-Type and Content-Encoding that is listed, and some that are not.
#[tokio::test]
async fn what_comes_in() {
    const BOTH_OF_1_0: [&str; 2] = ["application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest"];
    assert_eq!(table("What comes in").len(), 3, "this test is as long as the table");
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let series = ["up,_id=c1 1@0"];
    let send = async |request: reqwest::RequestBuilder, encoding: Option<&str>| {
        let request = encoding.iter().fold(request, |request, encoding| request.header("content-encoding", *encoding));
        let answer = server.send(request).await;
        (answer.status, server.stored())
    };
    let taken = |status: u16| (status, series.map(str::to_owned).to_vec());
    let refused = (415, Vec::new());
    for (format, plain) in [(body::TEXT, body::text(&series)), (body::DELIMITED, body::delimited(&series))] {
        let framed = body::framed(&plain);
        for encoding in [None, Some("identity")] {
            assert_eq!(send(server.upload_of(&token, format, plain.clone()), encoding).await, taken(200), "{format}");
        }
        assert_eq!(send(server.upload_of(&token, format, framed), Some("snappy")).await, taken(200), "{format}");
        for encoding in ["gzip", "zstd", "deflate"] {
            let request = server.upload_of(&token, format, plain.clone());
            assert_eq!(send(request, Some(encoding)).await, refused, "{format}, {encoding}");
        }
    }
    for format in ["application/json", "application/x-protobuf", "application/openmetrics-text"] {
        let request = server.upload_of(&token, format, body::text(&series));
        assert_eq!(send(request, None).await, refused, "{format}");
    }
    let one = body::block(&body::write_request(&series));
    let two = body_v2::Request::of(&series).block();
    for encoding in [None, Some("snappy")] {
        assert_eq!(send(server.receive_of(CLUSTER, one.clone()), encoding).await, taken(200), "no Content-Type");
        for content_type in BOTH_OF_1_0 {
            let request = server.receive_of(CLUSTER, one.clone()).header("content-type", content_type);
            assert_eq!(send(request, encoding).await, taken(200), "{content_type}");
        }
        let request = server.receive_of(CLUSTER, two.clone()).header("content-type", body_v2::CONTENT_TYPE);
        assert_eq!(send(request, encoding).await, taken(204), "2.0");
    }
    for content_type in BOTH_OF_1_0.into_iter().chain([body_v2::CONTENT_TYPE]) {
        for encoding in ["identity", "gzip", "zstd"] {
            let request = server.receive_of(CLUSTER, one.clone()).header("content-type", content_type);
            assert_eq!(send(request, Some(encoding)).await, refused, "{content_type}, {encoding}");
        }
    }
    for content_type in
        ["application/json", "text/plain", "application/x-protobuf;proto=io.prometheus.write.v3.Request"]
    {
        let request = server.receive_of(CLUSTER, one.clone()).header("content-type", content_type);
        assert_eq!(send(request, None).await, refused, "{content_type}");
    }
    // The Content-Type alone says which message it is.
    let named_2_0 = server.receive_of(CLUSTER, one.clone()).header("x-prometheus-remote-write-version", "2.0.0");
    assert_eq!(send(named_2_0, None).await, taken(200), "the version is not looked at");
    let one_as_2_0 = server.receive_of(CLUSTER, one).header("content-type", body_v2::CONTENT_TYPE);
    assert_eq!(send(one_as_2_0, None).await, (400, Vec::new()), "a WriteRequest that calls itself 2.0");
}

/// Sends these series as 1.0 or as 2.0, and reads what the store got.
async fn through(server: &TestServer, series: &[TimeSeries], in_v2: bool) -> Vec<TimeSeries> {
    let reply = if in_v2 {
        server.receive_v2(CLUSTER, &case::request(series)).await
    } else {
        let message = WriteRequest { timeseries: series.to_vec(), metadata: Vec::new() };
        server.send(server.receive_of(CLUSTER, body::block(&message.encode_to_vec()))).await
    };
    assert!(reply.status == 200 || reply.status == 204, "{reply:?}");
    server.store.take().iter().flat_map(stored::series_of).collect()
}

fn histogram() -> body::Histogram {
    body::Histogram {
        count: 3,
        sum: 2.5,
        schema: 3,
        positive_deltas: vec![1, 2],
        timestamp: NOW_MS,
        ..Default::default()
    }
}

fn exemplar(timestamp: i64) -> body::Exemplar {
    let labels = vec![body::Label { name: "trace_id".to_owned(), value: "x".to_owned() }];
    body::Exemplar { labels, value: 0.5, timestamp }
}

/// Bytes are compared: a NaN is not equal to itself.
fn bytes(series: &[TimeSeries]) -> Vec<Vec<u8>> {
    series.iter().map(prost::Message::encode_to_vec).collect()
}

fn any_series() -> impl Strategy<Value = TimeSeries> {
    let label = ("[a-z_]{1,6}", "[a-zü]{0,8}");
    let point = (prop_oneof![Just(0.0), Just(-0.0), any::<f64>()], -1000..1000_i64);
    let exemplars = prop::collection::vec((any::<f64>(), 1..1000_i64), 0..3);
    (prop::collection::vec(label, 0..5), prop::collection::vec(point, 1..4), any::<bool>(), exemplars).prop_map(
        |(labels, points, is_histogram, exemplars)| {
            let mut named: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
            named.insert("__name__".to_owned(), "metric".to_owned());
            named.insert("_id".to_owned(), CLUSTER.to_owned());
            let labels = named.into_iter().map(|(name, value)| body::Label { name, value }).collect();
            let mut series = TimeSeries { labels, ..TimeSeries::default() };
            for (value, offset) in points {
                let timestamp = NOW_MS + offset;
                match is_histogram {
                    true => series.histograms.push(body::Histogram { sum: value, timestamp, ..histogram() }),
                    false => series.samples.push(body::Sample { value, timestamp }),
                }
            }
            let exemplar = |(value, offset)| body::Exemplar { value, ..exemplar(NOW_MS + offset) };
            series.exemplars = exemplars.into_iter().map(exemplar).collect();
            series
        },
    )
}

/// The same series are the same to the store, sent as 1.0 and as 2.0, whichever it is sent.
#[test]
fn both_versions_are_equal_in_what_the_store_gets() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let servers = runtime.block_on(servers(false));
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(sent in prop::collection::vec(any_series(), 1..8))| {
        let mut got = Vec::new();
        for server in &servers {
            for in_v2 in [false, true] {
                got.push(bytes(&runtime.block_on(through(server, &sent, in_v2))));
            }
        }
        prop_assert!(got.iter().all(|stored| *stored == got[0]), "{:?}", sent);
        prop_assert_eq!(got[0].len(), sent.len());
    });
}
