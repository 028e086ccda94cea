//! Native histograms on `/upload`: what reaches the store as remote write.
#![allow(clippy::unwrap_used)]

mod support;

use support::{
    CLUSTER, CallerAnswer, NOW_MS, TestServer,
    body::{self, DELIMITED, TEXT},
};
use telemeter_wire::{
    Arena, Label, MetricType, NativeHistogram, Points, SeriesSet, exposition::delimited, series::NAME_LABEL,
};

/// A count of 6 and a sum of 12.5 at schema 3: 2 in the zero bucket up to 0.001; 3, 1 and none above it, after the first a bucket
/// that is left out.
/// Written by hand, as Prometheus' client library writes it.
const INTEGER: &[u8] = &[
    0x08, 6, // sample_count
    0x11, 0, 0, 0, 0, 0, 0, 0x29, 0x40, // sample_sum
    0x28, 6, // schema, zigzag
    0x31, 0xfc, 0xa9, 0xf1, 0xd2, 0x4d, 0x62, 0x50, 0x3f, // zero_threshold
    0x38, 2, // zero_count
    0x62, 4, 0x08, 0, 0x10, 1, // positive_span: offset 0, length 1
    0x62, 4, 0x08, 2, 0x10, 2, // offset 1, length 2
    0x68, 6, 0x68, 3, 0x68, 1, // positive_delta: 3, -2, -1
];

/// As Prometheus' `/federate` writes it: a count of 1.5 in one negative bucket.
const FLOAT: &[u8] = &[
    0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0xbf, // sample_sum: -1.5
    0x21, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // sample_count_float: 1.5
    0x28, 1, // schema: -1
    0x4a, 4, 0x08, 3, 0x10, 1, // negative_span: offset -2, length 1
    0x59, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // negative_count: 1.5
];

/// A body with one histogram of this name, of this kind, at this time.
fn families(metrics: &[(&str, MetricType, &[u8], Option<i64>)]) -> Vec<u8> {
    let (arena, mut out) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    for &(name, kind, message, timestamp_ms) in metrics {
        let labels = [Label::new(NAME_LABEL, name), Label::new("_id", CLUSTER), Label::new("pod", "p")];
        let message = arena.text().alloc_slice_copy(message);
        set.push(&labels, kind, Points::Histogram(NativeHistogram { message, timestamp_ms }));
    }
    delimited::encode(&set, &mut out);
    out
}

async fn upload(server: &TestServer, body: Vec<u8>) -> CallerAnswer {
    let token = server.token(CLUSTER).await;
    server.send(server.upload_of(&token, DELIMITED, body)).await
}

/// The messages of the histograms that reached the store, by metric.
fn stored(server: &TestServer) -> Vec<(String, Vec<u8>)> {
    let plain = server.store.take().iter().flat_map(|request| body::plain_block(&request.body)).collect::<Vec<u8>>();
    let fields = |message: &[u8]| -> Vec<(u8, Vec<u8>)> {
        let (mut rest, mut all) = (message, Vec::new());
        while let [key, len, behind @ ..] = rest {
            assert!(*len < 0x80, "short messages");
            let (bytes, behind) = behind.split_at(usize::from(*len));
            all.push((*key, bytes.to_vec()));
            rest = behind;
        }
        all
    };
    let mut found = Vec::new();
    for (_, series) in fields(&plain) {
        let parts = fields(&series);
        let label = |name: &[u8]| {
            let of = |label: &Vec<u8>| fields(label).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
            let mut labels = parts.iter().filter(|(key, _)| *key == 0x0a).map(|(_, label)| of(label));
            labels.find(|label| label[0] == name).map(|label| String::from_utf8(label[1].clone()).unwrap())
        };
        assert_eq!(label(b"pod"), None, "elided");
        let histogram = parts.iter().find(|(key, _)| *key == 0x22).expect("a histogram").1.clone();
        found.push((label(b"__name__").unwrap(), histogram));
    }
    found
}

/// `NOW_MS` as field 15.
fn now() -> Vec<u8> {
    let mut out = vec![15 << 3];
    let mut rest = NOW_MS;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[tokio::test]
async fn they_reach_the_store_with_the_time_of_the_server() {
    let server = TestServer::with(|config| {
        config.rules.elide_labels = vec!["pod".to_owned()];
        config.rules.whitelist = vec!["{__name__=~\"h.*\"}".to_owned()];
    })
    .await;
    let earlier = Some(NOW_MS - 60_000);
    let answer = upload(
        &server,
        families(&[
            ("h1", MetricType::Histogram, INTEGER, earlier),
            ("h2", MetricType::GaugeHistogram, FLOAT, earlier),
            ("other", MetricType::Histogram, INTEGER, earlier),
            // The newest of one series is sent.
            ("h3", MetricType::Histogram, FLOAT, earlier),
            ("h3", MetricType::Histogram, INTEGER, Some(NOW_MS)),
        ]),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("telemeter-series"), Some("received=5, kept=3, filtered=1, duplicates=1"));
    let integer = [
        &[0x08, 6][..],                                          // count_int
        &[0x19, 0, 0, 0, 0, 0, 0, 0x29, 0x40],                   // sum
        &[0x20, 6],                                              // schema
        &[0x29, 0xfc, 0xa9, 0xf1, 0xd2, 0x4d, 0x62, 0x50, 0x3f], // zero_threshold
        &[0x30, 2],                                              // zero_count_int
        &[0x5a, 2, 0x10, 1, 0x5a, 4, 0x08, 2, 0x10, 2],          // positive_spans
        &[0x62, 3, 6, 3, 1],                                     // positive_deltas, packed
        &now(),
    ]
    .concat();
    let float = [
        &[0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f][..], // count_float
        &[0x19, 0, 0, 0, 0, 0, 0, 0xf8, 0xbf],     // sum
        &[0x20, 1],                                // schema
        &[0x39, 0, 0, 0, 0, 0, 0, 0, 0],           // zero_count_float
        &[0x42, 4, 0x08, 3, 0x10, 1],              // negative_spans
        &[0x52, 8, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f],  // negative_counts, packed
        &[0x70, 3],                                // reset_hint: a gauge
        &now(),
    ]
    .concat();
    let expected = [("h1", integer.clone()), ("h2", float), ("h3", integer)];
    assert_eq!(stored(&server), expected.map(|(name, message)| (name.to_owned(), message)));
}

#[tokio::test]
async fn one_that_a_store_would_refuse_is_named() {
    let server = TestServer::new().await;
    let bad = |message: &[u8], timestamp_ms| families(&[("h1", MetricType::Histogram, message, timestamp_ms)]);
    let one_more = [INTEGER, &[0x08, 8]].concat();
    let finer = [INTEGER, &[0x28, 18]].concat();
    for (body, expected) in [
        (
            bad(&one_more, Some(NOW_MS)),
            "metric \"h1\" is not valid: its count is 8, and its buckets hold 6 observations",
        ),
        (bad(&finer, Some(NOW_MS)), "metric \"h1\" is not valid: its schema is 9, which is not within -4 and 8"),
        (bad(&INTEGER[..INTEGER.len() - 2], Some(NOW_MS)), "its positive spans need 3 buckets, and it has 2"),
        (bad(INTEGER, None), "a sample has no timestamp"),
        (bad(INTEGER, Some(NOW_MS - 86_400_001)), "a sample is over 24 hours old"),
        (bad(INTEGER, Some(NOW_MS + 600_001)), "a sample is over 10 minutes ahead"),
    ] {
        let answer = upload(&server, body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(expected), "{answer:?}, not {expected}");
    }
    assert!(server.store.take().is_empty());
}

#[tokio::test]
async fn a_client_is_told_that_they_are_taken_and_its_text_has_none() {
    let server = TestServer::new().await;
    let answer = server.authorize(CLUSTER, "secret").await;
    assert_eq!(answer.header("telemeter-upload-accepts"), Some("native-histograms, utf8-names"));
    // The comment that tells of one is no sample.
    let token = server.token(CLUSTER).await;
    let text = format!("# native histogram h{{_id=\"c1\"}} count=7 sum=1 buckets=3 schema=3 {NOW_MS}\n");
    let answer = server.send(server.upload_of(&token, TEXT, text)).await;
    assert_eq!((answer.status, server.store.take().len()), (200, 0));
}
