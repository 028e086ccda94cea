//! Remote write of both versions to the store: what both specifications require of a sender, each rule with its sections. The store
//! checks each request (`support/receiver_v1.rs`, `support/receiver_v2.rs`), besides what a test checks; `sender_v2.rs` has what
//! 2.0 alone requires.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
#![allow(clippy::unwrap_used)]

mod support;

use prost::Message as _;
use support::{
    CLUSTER, CallerAnswer, NOW_MS, SOON, TestServer,
    body::{self, TimeSeries, WriteRequest},
    body_v2::{self, Request},
    fake::{FakeAnswer, ReceivedRequest},
    log::LogCapture,
    receiver_v1, receiver_v2, stored,
};
use telemeter_server::{Config, config::ForwardProtocol};
use telemeter_wire::exposition::Escaping;

const VERSIONS: [ForwardProtocol; 2] = [ForwardProtocol::V1, ForwardProtocol::V2];
const WAYS: [&str; 4] = ["text", "delimited", "1.0", "2.0"];

/// A receiver of this version that accepts what the specification allows.
fn receiver(protocol: ForwardProtocol) -> fn(&ReceivedRequest) -> FakeAnswer {
    match protocol {
        ForwardProtocol::V2 => receiver_v2::receive,
        _ => receiver_v1::receive,
    }
}

/// A server that forwards in this version to a store that keeps to it.
async fn server(protocol: ForwardProtocol, change: impl FnOnce(&mut Config)) -> TestServer {
    let server = TestServer::with(|config| {
        config.forward.as_mut().unwrap().protocol = protocol;
        change(config);
    })
    .await;
    server.store.says(receiver(protocol));
    server
}

/// Sends these series in one of the ways.
async fn send(server: &TestServer, way: &str, series: &[TimeSeries]) -> CallerAnswer {
    match way {
        "text" | "delimited" => {
            let shown = body::shown(series);
            let shown: Vec<_> = shown.iter().map(String::as_str).collect();
            let token = server.token(CLUSTER).await;
            match way {
                "text" => server.upload(&token, &shown).await,
                _ => server.upload_delimited(&token, &shown).await,
            }
        }
        "1.0" => {
            let message = WriteRequest { timeseries: series.to_vec(), metadata: Vec::new() }.encode_to_vec();
            server.send(server.receive_of(CLUSTER, body::block(&message))).await
        }
        _ => {
            let mut request = Request::new();
            series.iter().for_each(|series| request.push(series));
            server.receive_v2(CLUSTER, &request).await
        }
    }
}

#[track_caller]
fn is_success(answer: &CallerAnswer, context: &str) {
    assert!([200, 204].contains(&answer.status), "{context}: {answer:?}");
}

/// 1.0 "Protocol", "Labels"; 2.0 "Protocol", "Series Labels": headers, snappy's block, the message, sorted labels, none of them
/// empty or a duplicate. Of all that is sent: uploads, remote write of both versions, and what is known of the fleet.
#[tokio::test]
async fn whatever_comes_in_goes_out_as_the_specification_wants() {
    for protocol in VERSIONS {
        let server = server(protocol, |config| {
            config.rules.labels = vec![("received_by".to_owned(), "gateway".to_owned())];
            config.fleet.metrics = Some(std::time::Duration::from_secs(1));
        })
        .await;
        let series = ["up,z=z,_id=c1,empty=,job=a 1@0", "cluster_version,_id=c1 3@0"].map(body::time_series);
        let expected =
            ["up,_id=c1,job=a,received_by=gateway,z=z 1@0", "cluster_version,_id=c1,received_by=gateway 3@0"];
        for way in WAYS {
            is_success(&send(&server, way, &series).await, way);
            let mut lines = server.stored_lines();
            lines.retain(|line| !line.starts_with("telemeter_"));
            assert_eq!(lines, expected, "{protocol:?}, {way}");
        }
        fleet_series(&server).await;
    }
}

/// Waits until series of the fleet reach the store.
async fn fleet_series(server: &TestServer) -> Vec<TimeSeries> {
    let collect = async {
        loop {
            let found: Vec<_> = server.store.take().iter().flat_map(stored::series_of).collect();
            if body::shown(&found).iter().any(|series| series.starts_with("telemeter_cluster_")) {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, collect).await.expect("series of the fleet")
}

/// 1.0 "Ordering"; 2.0 "Samples and Histogram Samples": in the order of their times.
#[tokio::test]
async fn samples_are_sent_in_the_order_of_their_times() {
    let histogram = |timestamp| body::Histogram { count: 3, timestamp, ..body::Histogram::default() };
    let mut histograms = body::time_series("h,_id=c1");
    histograms.histograms = vec![histogram(NOW_MS + 5), histogram(NOW_MS - 5), histogram(NOW_MS)];
    let series = [body::time_series("up,_id=c1 3@5 1@-5 2@0"), histograms];
    for protocol in VERSIONS {
        let server = server(protocol, |_| ()).await;
        for way in ["1.0", "2.0"] {
            is_success(&send(&server, way, &series).await, way);
            let lines = server.stored_lines();
            assert_eq!(lines[0], "up,_id=c1 1@-5 2@0 3@5", "{protocol:?}, {way}");
            let times: Vec<_> = lines[1].split('@').skip(1).map(|text| text.split(' ').next().unwrap()).collect();
            assert_eq!(times, ["-5", "0", "5"], "{protocol:?}, {way}: {}", lines[1]);
        }
    }
}

/// 1.0 "Stale Markers"; 2.0 "Samples and Histogram Samples": the marker is one NaN, which goes on as it came, of samples and of
/// histograms; no other value becomes it.
#[tokio::test]
async fn staleness_markers_go_on_and_nothing_else_becomes_one() {
    const MARKER: u64 = 0x7ff0_0000_0000_0002;
    let value = |bits: u64| {
        let mut series = body::time_series("up,_id=c1 1@0");
        series.samples[0].value = f64::from_bits(bits);
        series
    };
    for protocol in VERSIONS {
        let server = server(protocol, |config| config.rules.elide_labels = vec!["pod".to_owned()]).await;
        // Others that a careless conversion takes for it: a NaN with one more bit, one of the other sign, infinity.
        for bits in [MARKER, MARKER | 1 << 51, MARKER | 1 << 63, 0x7ff0_0000_0000_0003, 0x7ff0_0000_0000_0000] {
            let mut with_label = value(bits);
            with_label.labels.push(body::Label { name: "pod".to_owned(), value: "p".to_owned() });
            for sent in [value(bits), with_label] {
                for way in ["1.0", "2.0"] {
                    is_success(&send(&server, way, std::slice::from_ref(&sent)).await, way);
                    let found = stored::series_of(&server.store.take()[0])[0].samples[0].value.to_bits();
                    assert_eq!(found, bits, "{protocol:?}, {way}: {found:x}");
                }
            }
        }
        // As text, NaN is written alone.
        is_success(&send(&server, "text", &[value(MARKER)]).await, "text");
        let found = stored::series_of(&server.store.take()[0])[0].samples[0].value;
        assert!(found.is_nan() && found.to_bits() != MARKER, "{protocol:?}");
        // Of a histogram it is the sum.
        let mut histogram = body::time_series("h,_id=c1");
        histogram.histograms =
            vec![body::Histogram { sum: f64::from_bits(MARKER), timestamp: NOW_MS, ..body::Histogram::default() }];
        for way in ["1.0", "2.0"] {
            is_success(&send(&server, way, std::slice::from_ref(&histogram)).await, way);
            let found = stored::series_of(&server.store.take()[0])[0].histograms[0].sum.to_bits();
            assert_eq!(found, MARKER, "{protocol:?}, {way}");
        }
    }
}

/// 1.0 "Labels" (MUST), 2.0 "Series Labels" (SHOULD): names match the two expressions, with `--forward-escaping`. Without it,
/// UTF-8 names go on as they came, in both versions.
#[tokio::test]
async fn names_are_of_the_old_alphabet_with_forward_escaping() {
    let sent = ["http.status,_id=c1,größe=ß,9a=b,c:d=e 1@0", "a:b-c,_id=c1 1@0", "9lives,_id=c1 1@0", "up,_id=c1 1@0"];
    let mut sent = sent.map(body::time_series);
    // The labels of exemplars stay as they are.
    let labels = vec![body::Label { name: "trace.id".to_owned(), value: "x".to_owned() }];
    sent[3].exemplars = vec![body::Exemplar { labels, value: 0.5, timestamp: NOW_MS }];
    for protocol in VERSIONS {
        for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
            let server = server(protocol, |config| {
                config.rules.escaping = Some(escaping);
                config.rules.labels = vec![("region".to_owned(), "eu".to_owned())];
                config.fleet.metrics = Some(std::time::Duration::from_secs(1));
            })
            .await;
            for way in ["delimited", "1.0", "2.0"] {
                is_success(&send(&server, way, &sent).await, way);
                let found: Vec<_> = server.store.take().iter().flat_map(stored::series_of).collect();
                assert!(found.len() >= 4, "{protocol:?}, {way}: {found:?}");
                assert_eq!(receiver_v1::check_names(&found), Ok(()), "{protocol:?}, {escaping:?}, {way}");
                let exemplars: Vec<_> = found.iter().flat_map(|series| &series.exemplars).collect();
                assert!(exemplars.iter().all(|exemplar| exemplar.labels[0].name == "trace.id"), "{exemplars:?}");
                assert_eq!(exemplars.len(), usize::from(way != "delimited"), "{protocol:?}, {escaping:?}, {way}");
            }
            let own = fleet_series(&server).await;
            assert_eq!(receiver_v1::check_names(&own), Ok(()), "{protocol:?}, {escaping:?}, of the fleet");
        }
        let server = server(protocol, |_| ()).await;
        is_success(&send(&server, "1.0", &sent).await, "without escaping");
        let found: Vec<_> = server.store.take().iter().flat_map(stored::series_of).collect();
        assert!(receiver_v1::check_names(&found).is_err(), "{protocol:?}");
    }
}

/// 1.0 "Protocol", 2.0 "Response": the body of an answer means nothing. 1.0 "Labels", 2.0 "Response": nor does an error's text,
/// which is logged as it is.
#[tokio::test]
async fn the_text_of_an_answer_is_logged_and_means_nothing() {
    let log = LogCapture::start();
    for protocol in VERSIONS {
        let server = server(protocol, |_| ()).await;
        let answer = |status: u16, text: &str| match protocol {
            ForwardProtocol::V2 => receiver_v2::wrote(status, [1, 0, 0]).body(text),
            _ => FakeAnswer::of(status).body(text),
        };
        for (status, text, expected) in [
            (200, "400 Bad Request: nothing was written", &[200, 204][..]),
            (204, "", &[204]),
            (400, "200 OK: all was written", &[400]),
            (400, "try again in 5 seconds", &[400]),
            (503, "never try again", &[503]),
        ] {
            server.store.answers(answer(status, text));
            log.take();
            let reply = server.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
            assert!(expected.contains(&reply.status), "{protocol:?}, {status} {text}: {reply:?}");
            assert_eq!(server.store.take().len(), 1, "{protocol:?}, {status} {text}: it is sent once");
            assert!(reply.header("retry-after").is_none_or(|wait| wait == "30"), "{reply:?}");
            if status >= 400 {
                assert!(log.refusals()[0]["cause"].contains(text), "{protocol:?}, {status} {text}");
                assert!(!reply.body.contains(text), "{reply:?}");
            }
        }
    }
}

/// 1.0 and 2.0, "Retries & Backoff": 5xx is tried again, with a time to wait, by the sender that it came from; other 4xx, and
/// success, never.
#[tokio::test]
async fn what_is_sent_again_and_what_is_not() {
    for protocol in VERSIONS {
        let server = server(protocol, |_| ()).await;
        for (answer, expected, wait) in [
            (FakeAnswer::of(500), 503, Some("30")),
            (FakeAnswer::of(502).header("retry-after", "9"), 503, Some("9")),
            (FakeAnswer::of(503).header("retry-after", "7"), 503, Some("7")),
            (FakeAnswer::of(429), 503, Some("30")),
            (receiver_v2::wrote(400, [0; 3]), 400, None),
            (receiver_v2::wrote(409, [0; 3]), 409, None),
            (receiver_v2::wrote(422, [0; 3]), 422, None),
            (receiver_v2::wrote(200, [1, 0, 0]), 200, None),
        ] {
            server.store.answers(answer.clone());
            let reply = server.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
            assert_eq!((reply.status, reply.header("retry-after")), (expected, wait), "{protocol:?}: {answer:?}");
            assert_eq!(server.store.take().len(), 1, "{protocol:?}: {answer:?}");
        }
    }
}

/// 2.0 "Required Written Response Headers": of 1.0, missing headers mean nothing, and no header says which version the store
/// knows.
#[tokio::test]
async fn headers_of_an_answer_do_not_choose_the_version() {
    let is_v2 = |server: &TestServer| server.store.take().iter().map(stored::is_v2).collect::<Vec<_>>();
    let one = server(ForwardProtocol::V1, |_| ()).await;
    for answer in [FakeAnswer::of(200), receiver_v2::wrote(200, [0; 3]), receiver_v2::wrote(204, [1, 0, 0])] {
        one.store.answers(answer.header("x-prometheus-remote-write-version", "2.0.0"));
        is_success(&one.receive(CLUSTER, &["up,_id=c1 1@0"]).await, "1.0");
        assert_eq!(is_v2(&one), [false]);
    }
    let two = server(ForwardProtocol::V2, |_| ()).await;
    two.store.answers(receiver_v2::wrote(204, [1, 0, 0]).header("x-prometheus-remote-write-version", "0.1.0"));
    for _ in 0..2 {
        is_success(&two.receive(CLUSTER, &["up,_id=c1 1@0"]).await, "2.0");
        assert_eq!(is_v2(&two), [true]);
    }
    // A store that fell back is asked with 1.0, whatever its answers to that say.
    let auto = server(ForwardProtocol::Auto, |_| ()).await;
    auto.store.says(|asked| match stored::is_v2(asked) {
        true => FakeAnswer::of(415),
        false => receiver_v2::wrote(200, [1, 0, 0]).header("x-prometheus-remote-write-version", "2.0.0"),
    });
    for expected in [&[true, false][..], &[false], &[false]] {
        is_success(&auto.receive(CLUSTER, &["up,_id=c1 1@0"]).await, "auto");
        assert_eq!(is_v2(&auto), expected);
    }
}

/// 1.0 and 2.0, "Protocol": times are 64 bits in milliseconds and values are floats of 64 bits, of any size.
#[tokio::test]
async fn times_and_values_keep_all_their_bits() {
    for protocol in VERSIONS {
        let server = server(protocol, |_| ()).await;
        for timestamp in [i64::MIN, -1, 0, 1, NOW_MS] {
            for value in [f64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::NEG_INFINITY, 0.1 + 0.2] {
                let mut sent = body::time_series("up,_id=c1");
                sent.samples = vec![body::Sample { value, timestamp }];
                for way in ["1.0", "2.0"] {
                    is_success(&send(&server, way, std::slice::from_ref(&sent)).await, way);
                    let found = &stored::series_of(&server.store.take()[0])[0].samples[0];
                    let found = (found.value.to_bits(), found.timestamp);
                    assert_eq!(found, (value.to_bits(), timestamp), "{protocol:?}, {way}");
                }
            }
        }
    }
}

/// 2.0 "Protobuf Message": exemplars and metadata are provided where there are some. 1.0 says nothing of them.
#[tokio::test]
async fn exemplars_and_metadata_are_provided() {
    for protocol in VERSIONS {
        let server = server(protocol, |config| config.forward.as_mut().unwrap().metadata = true).await;
        let mut series = body::time_series("up,_id=c1 1@0");
        let labels = vec![body::Label { name: "trace_id".to_owned(), value: "x".to_owned() }];
        series.exemplars = vec![body::Exemplar { labels, value: 0.5, timestamp: NOW_MS }];
        let mut request = Request::new();
        request.push(&series);
        let help_ref = request.symbol("Up.");
        request.timeseries[0].metadata = Some(body_v2::Metadata { kind: 2, help_ref, unit_ref: 0 });
        is_success(&server.receive_v2(CLUSTER, &request).await, "2.0");
        let with_exemplar = "up,_id=c1 1@0 #0.5@0{trace_id=x}";
        let expected = match protocol {
            ForwardProtocol::V2 => vec![format!("{with_exemplar} type=2,help=Up.,unit=")],
            _ => vec![with_exemplar.to_owned(), "metadata up type=2,help=Up.,unit=".to_owned()],
        };
        assert_eq!(server.stored_lines(), expected, "{protocol:?}");
    }
}
