//! The table of docs/protocols.md, "What becomes of it": each part, from each version of remote write to each. That of metadata
//! is held by `forward_metadata.rs`, that of `/upload` by `native_histograms.rs`, and what only 2.0 to 2.0 keeps by `sender_v2.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use prost::Message as _;
use support::{
    CLUSTER, NOW_MS, TestServer,
    body::{self, TimeSeries, WriteRequest},
    body_v2::Request,
    receiver_v2,
};

/// A server whose store is sent 1.0, and one whose store is sent 2.0.
async fn servers() -> [TestServer; 2] {
    [TestServer::new().await, TestServer::forwarding_v2(|_| ()).await]
}

/// Sends these series as 1.0 or as 2.0, and reads what the store got.
async fn through(server: &TestServer, series: &[TimeSeries], in_v2: bool) -> Vec<TimeSeries> {
    let reply = if in_v2 {
        let mut request = Request::new();
        series.iter().for_each(|series| request.push(series));
        server.receive_v2(CLUSTER, &request).await
    } else {
        let message = WriteRequest { timeseries: series.to_vec(), metadata: Vec::new() };
        server.send(server.receive_of(CLUSTER, body::block(&message.encode_to_vec()))).await
    };
    assert!(reply.status == 200 || reply.status == 204, "{reply:?}");
    let is_v2 =
        |request: &support::fake::ReceivedRequest| request.headers["x-prometheus-remote-write-version"] == "2.0.0";
    let taken = server.store.take();
    let series = taken.iter().flat_map(|asked| match is_v2(asked) {
        true => receiver_v2::series_of(asked),
        false => body::of_block(&asked.body),
    });
    series.collect()
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

fn series(labels: &str, change: impl FnOnce(&mut TimeSeries)) -> TimeSeries {
    let mut series = body::time_series(labels);
    change(&mut series);
    series
}

/// Bytes are compared: a NaN is not equal to itself.
fn bytes(series: &[TimeSeries]) -> Vec<Vec<u8>> {
    series.iter().map(prost::Message::encode_to_vec).collect()
}

#[tokio::test]
async fn what_is_kept_whatever_comes_in_and_goes_out() {
    let float = body::Histogram { count: 0, count_float: Some(3.5), positive_counts: vec![1.5, 2.0], ..histogram() };
    let float = body::Histogram { positive_deltas: Vec::new(), ..float };
    let custom = body::Histogram { schema: -53, custom_values: vec![0.1, 5.0], ..histogram() };
    let nan = |bits: u64| move |series: &mut TimeSeries| series.samples[0].value = f64::from_bits(bits);
    let rows = [
        ("a sample", series("up,_id=c1 1@0", |_| ())),
        ("samples", series("up,_id=c1 1@-5 2@0", |_| ())),
        ("a staleness marker", series("up,_id=c1 1@0", nan(0x7ff0_0000_0000_0002))),
        ("a NaN", series("up,_id=c1 1@0", nan(0x7ff8_0000_0000_0001))),
        ("an integer histogram", series("a,_id=c1", |series| series.histograms = vec![histogram()])),
        ("a float histogram", series("a,_id=c1", |series| series.histograms = vec![float])),
        ("custom buckets", series("a,_id=c1", |series| series.histograms = vec![custom])),
        ("exemplars", series("a,_id=c1 1@0", |series| series.exemplars = vec![exemplar(NOW_MS), exemplar(NOW_MS)])),
    ];
    let servers = servers().await;
    for (what, row) in rows {
        for (server, out) in servers.iter().zip(["1.0", "2.0"]) {
            for in_v2 in [false, true] {
                let stored = through(server, std::slice::from_ref(&row), in_v2).await;
                assert_eq!(bytes(&stored), bytes(std::slice::from_ref(&row)), "{what}: 2.0 in: {in_v2}, {out} out");
            }
        }
    }
}

/// A row: what comes in, what a store of 1.0 gets, what one of 2.0 gets.
type Row = (&'static str, Vec<TimeSeries>, Vec<TimeSeries>, Vec<TimeSeries>);

#[tokio::test]
async fn what_2_0_has_another_place_for() {
    let plain = || series("a,_id=c1 1@0", |_| ());
    let alone = || series("a,_id=c1", |series| series.exemplars = vec![exemplar(NOW_MS)]);
    let with = || series("a,_id=c1 1@0", |series| series.exemplars = vec![exemplar(NOW_MS)]);
    let untimed = || series("a,_id=c1 1@0", |series| series.exemplars = vec![exemplar(0)]);
    let both = || series("a,_id=c1 1@0", |series| series.histograms = vec![histogram()]);
    let native = || series("a,_id=c1", |series| series.histograms = vec![histogram()]);
    let sorted = || series("a,_id=c1,z=z 1@0", |_| ());
    let rows: [Row; 6] = [
        ("an exemplar without a timestamp", vec![untimed()], vec![untimed()], vec![plain()]),
        ("exemplars apart", vec![plain(), alone()], vec![plain(), alone()], vec![with()]),
        ("samples and histograms", vec![both()], vec![both()], vec![plain(), native()]),
        (
            "samples out of order",
            vec![series("a,_id=c1 2@5 1@0", |_| ())],
            vec![series("a,_id=c1 2@5 1@0", |_| ())],
            vec![series("a,_id=c1 1@0 2@5", |_| ())],
        ),
        ("order of labels", vec![series("z=z,a,_id=c1 1@0", |_| ())], vec![sorted()], vec![sorted()]),
        ("an empty value", vec![series("a,_id=c1,empty=,z=z 1@0", |_| ())], vec![sorted()], vec![sorted()]),
    ];
    let [one, two] = servers().await;
    for (what, sent, of_1_0, of_2_0) in rows {
        for in_v2 in [false, true] {
            assert_eq!(through(&one, &sent, in_v2).await, of_1_0, "{what}: 2.0 in: {in_v2}, 1.0 out");
            assert_eq!(through(&two, &sent, in_v2).await, of_2_0, "{what}: 2.0 in: {in_v2}, 2.0 out");
        }
    }
    // A field that nobody knows, in a series that is written anew.
    for (server, out) in [(&one, "1.0"), (&two, "2.0")] {
        let mut message = body::time_series("z=z,a,_id=c1 1@0").encode_to_vec();
        message.extend_from_slice(&[0x98, 0x06, 7]);
        let request = [&[0x0a, u8::try_from(message.len()).unwrap()], &message[..]].concat();
        assert!(server.send(server.receive_of(CLUSTER, body::block(&request))).await.status < 300, "{out}");
        let asked = server.store.take();
        assert!(!body::plain_block(&asked[0].body).windows(3).any(|three| three == [0x98, 0x06, 7]), "{out}");
    }
}

/// Unchanged 1.0 goes on as it came, to the byte, where 1.0 goes out.
#[tokio::test]
async fn what_no_rule_changes_goes_on_as_it_came() {
    let [one, two] = servers().await;
    let block = body::block(&body::write_request(&["up,_id=c1,job=a 1@0", "up,_id=c1,job=b 2@0"]));
    assert_eq!(one.send(one.receive_of(CLUSTER, block.clone())).await.status, 200);
    assert_eq!(one.store.take()[0].body, block);
    // No symbol goes on that nothing refers to.
    let mut request = Request::of(&["up,_id=c1 1@0"]);
    request.symbol("a secret that no series has");
    assert_eq!(two.receive_v2(CLUSTER, &request).await.status, 204);
    assert_eq!(two.stored_v2(), ["up,_id=c1 1@0"]);
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
    let servers = runtime.block_on(servers());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(sent in prop::collection::vec(any_series(), 1..8))| {
        let mut got = Vec::new();
        for server in &servers {
            for in_v2 in [false, true] {
                let mut stored = runtime.block_on(through(server, &sent, in_v2));
                // 2.0 wants them in order.
                stored.iter_mut().for_each(|series| series.samples.sort_by_key(|sample| sample.timestamp));
                stored.iter_mut().for_each(|series| series.histograms.sort_by_key(|one| one.timestamp));
                got.push(bytes(&stored));
            }
        }
        prop_assert!(got.iter().all(|stored| *stored == got[0]), "{:?}", sent);
        prop_assert_eq!(got[0].len(), sent.len());
    });
}
