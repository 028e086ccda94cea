//! Remote write 2.0 to the store: what the specification requires of a sender, each rule with its section. The store checks each
//! request (`support/receiver_v2.rs`), besides what a test checks.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
#![allow(clippy::unwrap_used)]

mod support;

use support::{
    CLUSTER, NOW_MS, TestServer, body,
    body_v2::{self, Request},
    fake::FakeAnswer,
    receiver_v2::{self, request_of, wrote},
};

const SERIES: [&str; 3] = ["up,_id=c1,job=a 1@0", "up,_id=c1,job=b 1@-1000 2@0", "cluster_version,_id=c1 1@0"];

/// "Protocol", "Content-Type", "X-Prometheus-Remote-Write-Version", "User-Agent", "Symbols", "Series Labels": the store checks
/// them. Of all that is sent: uploads, remote write of both versions, and what is known of the fleet.
#[tokio::test]
async fn whatever_comes_in_goes_out_as_the_specification_wants() {
    let server = TestServer::forwarding_v2(|config| {
        config.rules.labels = vec![("received_by".to_owned(), "gateway".to_owned())];
        config.fleet.metrics = Some(std::time::Duration::from_secs(1));
    })
    .await;
    let token = server.token(CLUSTER).await;
    // Unsorted, with an empty value, with a duplicate.
    let series = ["up,z=z,_id=c1,empty=,job=a 1@0", "up,_id=c1,job=a,z=z 2@0", "cluster_version,_id=c1 3@0"];
    let expected = ["up,_id=c1,job=a,received_by=gateway,z=z", "cluster_version,_id=c1,received_by=gateway"];
    for way in ["text", "delimited", "1.0", "2.0"] {
        let reply = match way {
            "text" => server.upload(&token, &series).await,
            "delimited" => server.upload_delimited(&token, &series).await,
            "1.0" => server.receive(CLUSTER, &series).await,
            _ => server.receive_v2(CLUSTER, &Request::of(&series)).await,
        };
        assert!(reply.status == 200 || reply.status == 204, "{way}: {reply:?}");
        let stored = server.stored_v2();
        let stored: Vec<_> = stored.iter().filter(|series| !series.starts_with("telemeter_")).collect();
        let of = |at: usize, value: &str| format!("{} {value}@0", expected[at]);
        match way {
            "text" | "delimited" => assert_eq!(stored, [&of(0, "2"), &of(1, "3")], "{way}: the newest of duplicates"),
            _ => assert_eq!(stored, [&of(0, "1"), &of(0, "2"), &of(1, "3")], "{way}"),
        }
    }
    for _ in 0..100 {
        if server.stored_v2().iter().any(|series| series.starts_with("telemeter_cluster_")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("nothing of the fleet was sent");
}

/// "Content-Type", "X-Prometheus-Remote-Write-Version": a receiver of 1.x is sent what it knows.
#[tokio::test]
async fn a_store_of_1_0_is_sent_what_it_knows() {
    let server = TestServer::new().await;
    assert_eq!(server.receive_v2(CLUSTER, &Request::of(&SERIES)).await.status, 204);
    let asked = &server.store.take()[0];
    let header = |name: &str| asked.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/x-protobuf");
    assert_eq!(header("x-prometheus-remote-write-version"), "0.1.0");
    assert_eq!(header("content-encoding"), "snappy");
    assert!(header("user-agent").starts_with("telemeter/"));
}

/// "Response": the body of an answer means nothing. "Required Written Response Headers": more than was sent is no fault of ours.
#[tokio::test]
async fn success_is_success_whatever_is_said_beside_it() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    for answer in
        [wrote(200, [4, 0, 0]).body("{\"error\":\"not at all\"}"), wrote(202, [9, 9, 9]), wrote(204, [4, 0, 0])]
    {
        server.store.answers(answer);
        assert_eq!(server.receive_v2(CLUSTER, &Request::of(&SERIES)).await.status, 204);
    }
    let token = server.token(CLUSTER).await;
    server.store.answers(wrote(204, [3, 0, 0]));
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0", "a,_id=c1 1@0", "b,_id=c1 1@0"]).await.status, 204);
}

/// A series of each kind, and how many samples, histograms and exemplars they are.
fn of_each_kind() -> (Request, [usize; 3]) {
    let mut series = body::time_series("request_seconds,_id=c1");
    series.histograms = vec![body::Histogram { count: 3, sum: 2.5, timestamp: NOW_MS, ..body::Histogram::default() }];
    series.exemplars = vec![exemplar(NOW_MS)];
    let mut request = Request::of(&SERIES);
    request.push(&series);
    (request, [4, 1, 1])
}

fn exemplar(timestamp: i64) -> body::Exemplar {
    let labels = vec![body::Label { name: "trace_id".to_owned(), value: "x".to_owned() }];
    body::Exemplar { labels, value: 0.5, timestamp }
}

/// "Required Written Response Headers": success that is not of all that was sent is none, and a header that is missing beside
/// others says 0.
#[tokio::test]
async fn a_store_that_wrote_less_did_not_take_it() {
    let (request, [samples, histograms, exemplars]) = of_each_kind();
    let less = [
        wrote(204, [samples - 1, histograms, exemplars]),
        wrote(204, [samples, 0, exemplars]),
        wrote(200, [samples, histograms, 0]),
        FakeAnswer::of(204).header("x-prometheus-remote-write-samples-written", samples.to_string()),
        wrote(204, [0; 3]),
    ];
    for answer in less {
        let server = TestServer::forwarding_v2(|_| ()).await;
        server.store.answers(answer.clone());
        let reply = server.receive_v2(CLUSTER, &request).await;
        assert_eq!(reply.status, 503, "{answer:?}: {reply:?}");
        assert_eq!(reply.header("x-prometheus-remote-write-samples-written"), Some("0"), "{reply:?}");
        server.store.answers(wrote(204, [samples, histograms, exemplars]));
        assert_eq!(server.receive_v2(CLUSTER, &request).await.status, 204);
    }
}

/// "Required Written Response Headers": success without any of them is to be taken for 415.
#[tokio::test]
async fn a_store_that_does_not_say_what_it_wrote_did_not_take_it() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    server.store.answers(FakeAnswer::of(204));
    let reply = server.receive_v2(CLUSTER, &Request::of(&SERIES)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{reply:?}");
    assert_eq!(server.store.count(), 1, "nothing is sent as 1.0 where the operator says 2.0");
}

/// "Partial Write": many series in one request. "Symbols": of all that are joined, each text stands in it once.
#[tokio::test]
async fn concurrent_callers_share_a_request_and_its_symbols() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    // The first is under way while the others come.
    server.store.says(|asked| receiver_v2::receive(asked).after(std::time::Duration::from_millis(300)));
    let reply = futures_util::future::join_all((0..40).map(|cluster| {
        let (server, id) = (&server, format!("c{cluster}"));
        async move {
            let series = [format!("up,_id={id},job=a 1@0"), format!("up,_id={id},job=b 2@0")];
            let series: Vec<_> = series.iter().map(String::as_str).collect();
            match cluster % 2 {
                0 => server.receive(&id, &series).await,
                _ => server.receive_v2(&id, &Request::of(&series)).await,
            }
        }
    }))
    .await;
    assert!(reply.iter().all(|reply| reply.status == 204), "{reply:?}");
    let asked = server.store.take();
    assert!(asked.len() < 40, "{} requests", asked.len());
    let mut stored: Vec<_> = body::shown(&asked.iter().flat_map(receiver_v2::series_of).collect::<Vec<_>>());
    stored.sort();
    let of = |cluster: usize| [("a", 1), ("b", 2)].map(|(job, value)| format!("up,_id=c{cluster},job={job} {value}@0"));
    let mut expected: Vec<_> = (0..40).flat_map(of).collect();
    expected.sort();
    assert_eq!(stored, expected);
}

/// "Invalid Samples": what is refused with 4xx is not sent again. "Partial Write": of what was joined, only one is refused.
#[tokio::test]
async fn what_the_store_refuses_is_its_sender_s_alone() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    server.store.answers(wrote(400, [0; 3]));
    let reply = server.receive_v2(CLUSTER, &Request::of(&SERIES)).await;
    assert_eq!((reply.status, server.store.count()), (400, 1), "{reply:?}");
    let server = TestServer::forwarding_v2(|_| ()).await;
    server.store.says(|asked| {
        let request = request_of(asked).unwrap();
        let is_bad = request.symbols.iter().any(|symbol| symbol == "c7");
        let counts = if is_bad { [0; 3] } else { receiver_v2::counts(&request) };
        wrote(if is_bad { 400 } else { 204 }, counts).after(std::time::Duration::from_millis(100))
    });
    let reply = futures_util::future::join_all((0..16).map(|cluster| {
        let (server, id) = (&server, format!("c{cluster}"));
        async move { server.receive(&id, &[&format!("up,_id={id} 1@0")]).await.status }
    }))
    .await;
    for (cluster, status) in reply.into_iter().enumerate() {
        assert_eq!(status, if cluster == 7 { 400 } else { 204 }, "c{cluster}");
    }
}

/// As above, where the store says 204 and wrote less: it is sent apart until it is known whose data it did not write.
#[tokio::test]
async fn what_the_store_did_not_write_is_its_sender_s_alone() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    server.store.says(|asked| {
        let request = request_of(asked).unwrap();
        let [samples, ..] = receiver_v2::counts(&request);
        let less = usize::from(request.symbols.iter().any(|symbol| symbol == "c7"));
        wrote(204, [samples - less, 0, 0]).after(std::time::Duration::from_millis(100))
    });
    let reply = futures_util::future::join_all((0..16).map(|cluster| {
        let (server, id) = (&server, format!("c{cluster}"));
        async move { server.receive(&id, &[&format!("up,_id={id} 1@0")]).await.status }
    }))
    .await;
    for (cluster, status) in reply.into_iter().enumerate() {
        assert_eq!(status, if cluster == 7 { 503 } else { 204 }, "c{cluster}");
    }
}

/// "Retries & Backoff": 5xx is tried again, by the sender that it came from: it is answered with 503 and a time to wait; 429 as well.
#[tokio::test]
async fn what_may_succeed_later_is_503() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    for (answer, wait) in [
        (wrote(500, [0; 3]), "30"),
        (FakeAnswer::of(503).header("retry-after", "7"), "7"),
        (FakeAnswer::of(429).header("retry-after", "8"), "8"),
        (FakeAnswer::of(429), "30"),
    ] {
        server.store.answers(answer.clone());
        let reply = server.receive_v2(CLUSTER, &Request::of(&SERIES)).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some(wait)), "{answer:?}: {reply:?}");
    }
}

/// "Protobuf Message": samples or histograms in each series, and not both, in the order of their times; exemplars with them.
/// "Exemplars": each with a timestamp. What has no place is left out and counted.
#[tokio::test]
async fn series_that_1_0_allows_and_2_0_does_not() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    let histogram = |timestamp| body::Histogram { count: 3, sum: 2.5, timestamp, ..body::Histogram::default() };
    let mut both = body::time_series("up,_id=c1 2@5 1@0");
    both.histograms = vec![histogram(NOW_MS + 7), histogram(NOW_MS)];
    both.exemplars = vec![exemplar(NOW_MS)];
    // As Prometheus sends exemplars.
    let mut alone = body::time_series("up,_id=c1");
    alone.exemplars = vec![exemplar(NOW_MS + 9)];
    let mut unknown = body::time_series("down,_id=c1");
    unknown.exemplars = vec![exemplar(NOW_MS), exemplar(0)];
    let mut request = Request::new();
    [&alone, &both, &unknown].into_iter().for_each(|series| request.push(series));
    assert_eq!(server.receive_v2(CLUSTER, &request).await.status, 204);
    let stored: Vec<_> = server.store.take().iter().flat_map(receiver_v2::series_of).collect();
    assert_eq!(body::shown(&stored), ["up,_id=c1 1@0 2@5", "up,_id=c1"]);
    assert_eq!(stored[0].exemplars, [exemplar(NOW_MS), exemplar(NOW_MS + 9)]);
    assert_eq!(stored[1].histograms, [histogram(NOW_MS), histogram(NOW_MS + 7)]);
    assert!((server.metric("telemeter_forward_exemplars_dropped_total").await - 2.0).abs() < 0.1);
    // Nothing is left: nothing is sent.
    let mut request = Request::new();
    request.push(&unknown);
    assert_eq!(server.receive_v2(CLUSTER, &request).await.status, 204);
    assert_eq!(server.store.count(), 0);
}

/// "Samples and Histogram Samples": start timestamps go on, of the newest revision and of the one before; staleness markers, and
/// any other NaN, keep their bits.
#[tokio::test]
async fn samples_go_on_as_they_came() {
    let server = TestServer::forwarding_v2(|_| ()).await;
    let (mut request, _) = of_each_kind();
    request.timeseries[0].samples[0].start_timestamp = NOW_MS - 5000;
    request.timeseries[1].created_timestamp = NOW_MS - 6000;
    request.timeseries[3].histograms[0].start_timestamp = NOW_MS - 7000;
    let bits = [0x7ff0_0000_0000_0002_u64, 0x7ff8_0000_0000_0001];
    request.timeseries[1].samples.iter_mut().zip(bits).for_each(|(one, bits)| one.value = f64::from_bits(bits));
    assert_eq!(server.receive_v2(CLUSTER, &request).await.status, 204);
    let stored = request_of(&server.store.take()[0]).unwrap();
    let starts = |series: &body_v2::Series| -> Vec<i64> {
        let samples = series.samples.iter().map(|sample| sample.start_timestamp - NOW_MS);
        samples.chain(series.histograms.iter().map(|histogram| histogram.start_timestamp - NOW_MS)).collect()
    };
    let starts: Vec<_> = stored.timeseries.iter().map(starts).collect();
    assert_eq!(starts, [vec![-5000], vec![-6000, -6000], vec![-NOW_MS], vec![-7000]]);
    let stored_bits: Vec<_> = stored.timeseries[1].samples.iter().map(|sample| sample.value.to_bits()).collect();
    assert_eq!(stored_bits, bits);
    assert!(server.metric("telemeter_receive_start_timestamps_dropped_total").await < 0.1);
}
