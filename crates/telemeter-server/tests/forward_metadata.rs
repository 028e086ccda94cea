//! `--forward-metadata`: type, help and unit go on, from and to each version of remote write, of families that may pass.
#![allow(clippy::unwrap_used)]

mod support;

use prost::Message as _;
use support::{
    CLUSTER, TestServer, body,
    body_v2::{self, Request},
    fake::{FakeAnswer, ReceivedRequest},
    receiver_v2::{self, request_of},
};
use telemeter_server::config::ForwardProtocol;
use telemeter_wire::exposition::Escaping;

async fn server(protocol: ForwardProtocol) -> TestServer {
    let server = TestServer::with(|config| {
        let forward = config.forward.as_mut().unwrap();
        (forward.protocol, forward.metadata) = (protocol, true);
        config.rules.whitelist = ["up", "{__name__=~\"http_.*\",job!=\"x\"}"].map(str::to_owned).to_vec();
    })
    .await;
    if protocol == ForwardProtocol::V2 {
        server.store.says(receiver_v2::receive);
    }
    server
}

fn entry(kind: i32, family: &str, help: &str, unit: &str) -> body::Metadata {
    body::Metadata { kind, family: family.to_owned(), help: help.to_owned(), unit: unit.to_owned() }
}

const SERIES: [&str; 4] =
    ["up,_id=c1 1@0", "http_seconds_bucket,_id=c1 1@0", "http_seconds_sum,_id=c1 2@0", "secret,_id=c1 3@0"];

/// A request of 1.0 with these series, and with metadata of their families and of others.
fn of_1_0(series: &[&str]) -> Vec<u8> {
    let metadata = vec![
        entry(2, "up", "Whether it is up.", ""),
        entry(3, "http_seconds", "How long it took.", "seconds"),
        entry(1, "secret", "Nobody's business.", ""),
        entry(1, "http_other", "Of no series here.", ""),
        entry(1, "other", "Not allowed.", ""),
    ];
    let timeseries = series.iter().map(|series| body::time_series(series)).collect();
    body::block(&body::WriteRequest { timeseries, metadata }.encode_to_vec())
}

/// A request of 2.0 with the same metadata at its series.
fn of_2_0() -> Request {
    let mut request = Request::of(&SERIES);
    let texts = ["Whether it is up.", "How long it took.", "seconds", "Nobody's business."];
    let [up, took, seconds, secret] = texts.map(|text| request.symbol(text));
    for (at, kind, help_ref, unit_ref) in
        [(0, 2, up, 0), (1, 3, took, seconds), (2, 3, took, seconds), (3, 1, secret, 0)]
    {
        request.timeseries[at].metadata = Some(body_v2::Metadata { kind, help_ref, unit_ref });
    }
    request
}

fn metadata_of(asked: &ReceivedRequest) -> Vec<body::Metadata> {
    body::WriteRequest::decode(&*body::plain_block(&asked.body)).unwrap().metadata
}

/// The metadata of each series of a request of 2.0: type, help, unit.
fn of_series(asked: &ReceivedRequest) -> Vec<(i32, String, String)> {
    let request = request_of(asked).unwrap();
    let text = |reference: u32| request.symbols[reference as usize].clone();
    let metadata = request.timeseries.iter().map(|series| series.metadata.clone().unwrap_or_default());
    metadata.map(|one| (one.kind, text(one.help_ref), text(one.unit_ref))).collect()
}

fn up_and_http() -> [body::Metadata; 2] {
    [entry(2, "up", "Whether it is up.", ""), entry(3, "http_seconds", "How long it took.", "seconds")]
}

fn up_and_http_of_series() -> Vec<(i32, String, String)> {
    let http = (3, "How long it took.".to_owned(), "seconds".to_owned());
    vec![(2, "Whether it is up.".to_owned(), String::new()), http.clone(), http]
}

#[tokio::test]
async fn from_1_0_to_1_0() {
    let server = server(ForwardProtocol::V1).await;
    assert_eq!(server.send(server.receive_of(CLUSTER, of_1_0(&SERIES))).await.status, 200);
    let asked = server.store.take();
    assert_eq!(body::shown(&body::of_block(&asked[0].body)), SERIES[..3]);
    // Of `secret` all series were left out, `http_other` may have some elsewhere, `other` may not.
    let [up, http] = up_and_http();
    assert_eq!(metadata_of(&asked[0]), [up.clone(), http.clone(), entry(1, "http_other", "Of no series here.", "")]);
    // As Prometheus sends it: apart.
    assert_eq!(server.send(server.receive_of(CLUSTER, of_1_0(&[]))).await.status, 200);
    let asked = server.store.take();
    assert_eq!(metadata_of(&asked[0]), [up, http, entry(1, "http_other", "Of no series here.", "")]);
    // Nothing of it may pass: nothing is sent.
    let metadata = vec![entry(1, "other", "Not allowed.", "")];
    let alone = body::WriteRequest { timeseries: Vec::new(), metadata }.encode_to_vec();
    assert_eq!(server.send(server.receive_of(CLUSTER, body::block(&alone))).await.status, 200);
    assert_eq!(server.store.count(), 0);
}

#[tokio::test]
async fn from_1_0_to_2_0() {
    let server = server(ForwardProtocol::V2).await;
    assert_eq!(server.send(server.receive_of(CLUSTER, of_1_0(&SERIES))).await.status, 204);
    assert_eq!(of_series(&server.store.take()[0]), up_and_http_of_series());
    // 2.0 has no place for metadata without series.
    assert_eq!(server.send(server.receive_of(CLUSTER, of_1_0(&[]))).await.status, 200);
    assert_eq!(server.store.count(), 0);
}

#[tokio::test]
async fn from_2_0_to_1_0() {
    let server = server(ForwardProtocol::V1).await;
    assert_eq!(server.receive_v2(CLUSTER, &of_2_0()).await.status, 204);
    assert_eq!(metadata_of(&server.store.take()[0]), up_and_http());
}

/// "Protobuf Message": metadata is provided with each series.
#[tokio::test]
async fn from_2_0_to_2_0() {
    let server = server(ForwardProtocol::V2).await;
    assert_eq!(server.receive_v2(CLUSTER, &of_2_0()).await.status, 204);
    assert_eq!(of_series(&server.store.take()[0]), up_and_http_of_series());
    // Joined with others, it is still theirs.
    server.store.says(|asked| receiver_v2::receive(asked).after(std::time::Duration::from_millis(300)));
    let request = of_2_0();
    let send = async || tokio::join!(server.receive_v2(CLUSTER, &request), server.receive("c2", &["up,_id=c2 1@0"]));
    let reply = futures_util::future::join_all((0..8).map(|_| send())).await;
    assert!(reply.iter().all(|(one, other)| (one.status, other.status) == (204, 204)), "{reply:?}");
    let asked = server.store.take();
    assert!(asked.len() < 16, "{} requests", asked.len());
    let mut all: Vec<_> = asked.iter().flat_map(of_series).filter(|metadata| metadata.0 != 0).collect();
    all.sort();
    let mut expected = vec![up_and_http_of_series(); 8].concat();
    expected.sort();
    assert_eq!(all, expected);
}

/// What was encoded as 2.0 and goes as 1.0 after all keeps it, too.
#[tokio::test]
async fn from_2_0_to_a_store_that_does_not_take_2_0() {
    let server = server(ForwardProtocol::Auto).await;
    server
        .store
        .says(|asked| FakeAnswer::of(if asked.headers["content-type"] == body_v2::CONTENT_TYPE { 415 } else { 200 }));
    assert_eq!(server.receive_v2(CLUSTER, &of_2_0()).await.status, 204);
    let asked = server.store.take();
    assert_eq!((asked.len(), metadata_of(&asked[1])), (2, up_and_http().to_vec()));
}

/// Without the flag nothing of it goes on.
#[tokio::test]
async fn without_the_flag() {
    for protocol in [ForwardProtocol::V1, ForwardProtocol::V2] {
        let server = TestServer::with(|config| config.forward.as_mut().unwrap().protocol = protocol).await;
        if protocol == ForwardProtocol::V2 {
            server.store.says(receiver_v2::receive);
        }
        assert!(server.send(server.receive_of(CLUSTER, of_1_0(&SERIES))).await.status < 300);
        assert!(server.receive_v2(CLUSTER, &of_2_0()).await.status < 300);
        for asked in server.store.take() {
            match protocol {
                ForwardProtocol::V2 => assert_eq!(of_series(&asked), vec![<(i32, String, String)>::default(); 4]),
                _ => assert_eq!(metadata_of(&asked), []),
            }
        }
    }
}

/// With `--forward-escaping`, families have the names that their series have.
#[tokio::test]
async fn names_of_families_are_escaped_as_those_of_series() {
    let server = async |protocol, escaping| {
        let change = |config: &mut telemeter_server::Config| {
            let forward = config.forward.as_mut().unwrap();
            (forward.protocol, forward.metadata) = (protocol, true);
            config.rules.escaping = Some(escaping);
        };
        TestServer::with(change).await
    };
    let series = ["http.seconds_bucket,_id=c1 1@0", "up,_id=c1 1@0"];
    let of_1_0 = |entries: &[(i32, &str)]| {
        let metadata = entries.iter().map(|&(kind, family)| entry(kind, family, "", "")).collect();
        let timeseries = series.iter().map(|series| body::time_series(series)).collect();
        body::block(&body::WriteRequest { timeseries, metadata }.encode_to_vec())
    };
    let mut of_2_0 = Request::of(&series);
    of_2_0.timeseries[0].metadata = Some(body_v2::Metadata { kind: 3, help_ref: 0, unit_ref: 0 });
    let families = |asked: &ReceivedRequest| -> Vec<(i32, String)> {
        metadata_of(asked).into_iter().map(|entry| (entry.kind, entry.family)).collect()
    };
    for (escaping, bucket, seconds, size) in [
        (Escaping::Underscores, "http_seconds_bucket", "http_seconds", "gr__e"),
        (Escaping::Dots, "http_dot_seconds__bucket", "http_dot_seconds", "gr____e"),
        (Escaping::Values, "U__http_2e_seconds__bucket", "U__http_2e_seconds", "U__gr_f6__df_e"),
    ] {
        let store = server(ForwardProtocol::V1, escaping).await;
        let sent = of_1_0(&[(3, "http.seconds"), (2, "up"), (1, "größe")]);
        assert_eq!(store.send(store.receive_of(CLUSTER, sent)).await.status, 200);
        let asked = store.store.take();
        assert_eq!(body::of_block(&asked[0].body)[0].labels[0].value, bucket);
        let expected = [(3, seconds.to_owned()), (2, "up".to_owned()), (1, size.to_owned())];
        assert_eq!(families(&asked[0]), expected, "1.0 in, {escaping:?}");
        assert_eq!(store.receive_v2(CLUSTER, &of_2_0).await.status, 204);
        assert_eq!(families(&store.store.take()[0]), expected[..1], "2.0 in, {escaping:?}");
    }
    // What was encoded as 2.0 and goes as 1.0 after all.
    let store = server(ForwardProtocol::Auto, Escaping::Values).await;
    let is_v2 = |asked: &ReceivedRequest| asked.headers["content-type"] == body_v2::CONTENT_TYPE;
    store.store.says(move |asked| FakeAnswer::of(if is_v2(asked) { 415 } else { 200 }));
    assert_eq!(store.receive_v2(CLUSTER, &of_2_0).await.status, 204);
    assert_eq!(families(&store.store.take()[1]), [(3, "U__http_2e_seconds".to_owned())]);
    // Families that become one: told where they say the same, else neither. Others are told.
    let store = server(ForwardProtocol::V1, Escaping::Underscores).await;
    for (other, expected) in [(1, &[(2, "up"), (1, "a_b")][..]), (2, &[(2, "up")])] {
        let sent = of_1_0(&[(1, "a.b"), (2, "up"), (other, "a_b")]);
        assert_eq!(store.send(store.receive_of(CLUSTER, sent)).await.status, 200);
        let expected: Vec<_> = expected.iter().map(|&(kind, family)| (kind, family.to_owned())).collect();
        assert_eq!(families(&store.store.take()[0]), expected);
    }
    // In 2.0, each series has its own.
    let store = server(ForwardProtocol::V2, Escaping::Underscores).await;
    store.store.says(receiver_v2::receive);
    let mut request = Request::of(&["a.b,_id=c1,x=1 1@0", "a_b,_id=c1,x=2 1@0"]);
    for (series, kind) in request.timeseries.iter_mut().zip([1, 2]) {
        series.metadata = Some(body_v2::Metadata { kind, help_ref: 0, unit_ref: 0 });
    }
    assert_eq!(store.receive_v2(CLUSTER, &request).await.status, 204);
    assert_eq!(of_series(&store.store.take()[0]).iter().map(|metadata| metadata.0).collect::<Vec<_>>(), [1, 2]);
}
