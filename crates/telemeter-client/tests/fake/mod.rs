//! A fake Prometheus and a fake telemeter server for the client's tests.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use telemeter_auth::Secret;
use telemeter_client::{
    Config,
    config::{Credential, SourceSettings, TargetSettings},
};
use telemeter_wire::{
    Arena, DecodeLimits, Points, SeriesSet,
    exposition::{self, ExpositionFormat},
    snappy,
};
use url::Url;
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{method, path},
};

/// 2026-11-22 07:01:10.734 UTC, the time of the recorded exchange.
pub const NOW_MS: i64 = 1_795_330_870_734;
/// The cluster ID of all tests.
pub const ID: &str = "00000000-0000-4000-8000-000000000001";

/// A Prometheus that answers every scrape with the same body.
pub async fn prometheus(content_type: &str, body: impl Into<Vec<u8>>) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw(body, content_type);
    Mock::given(method("GET")).and(path("/federate")).respond_with(answer).mount(&server).await;
    server
}

/// A fake telemeter server: it first gives the queued answers, then the usual ones.
#[derive(Clone, Default)]
pub struct FakeTelemeter {
    authorize: Arc<Mutex<VecDeque<ResponseTemplate>>>,
    upload: Arc<Mutex<VecDeque<ResponseTemplate>>>,
}

struct Answers {
    special: Arc<Mutex<VecDeque<ResponseTemplate>>>,
    usual: ResponseTemplate,
}

impl Respond for Answers {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        self.special.lock().expect("no panic").pop_front().unwrap_or_else(|| self.usual.clone())
    }
}

/// An answer of `/authorize` with this token, lifetime and labels.
pub fn grant(token: &str, seconds: i64, labels: &[(&str, &str)]) -> ResponseTemplate {
    let labels: serde_json::Map<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    ResponseTemplate::new(200)
        .set_body_json(serde_json::json!({"version": 1, "token": token, "expiresInSeconds": seconds, "labels": labels}))
}

impl FakeTelemeter {
    /// Queues an answer of `/authorize`, to be given before the usual one.
    pub fn authorize(&self, answer: ResponseTemplate) {
        self.authorize.lock().expect("no panic").push_back(answer);
    }

    /// Queues an answer of `/upload`, to be given before the usual 200.
    pub fn upload(&self, answer: ResponseTemplate) {
        self.upload.lock().expect("no panic").push_back(answer);
    }

    /// Starts the server.
    pub async fn start(&self) -> MockServer {
        let server = MockServer::start().await;
        let routes = [
            ("/authorize", &self.authorize, grant("granted", 86_400, &[("_id", ID)])),
            ("/upload", &self.upload, ResponseTemplate::new(200)),
        ];
        for (route, special, usual) in routes {
            let answers = Answers { special: special.clone(), usual };
            Mock::given(method("POST")).and(path(route)).respond_with(answers).mount(&server).await;
        }
        server
    }
}

/// The requests that `server` saw on `route`, in order.
pub async fn seen(server: &MockServer, route: &str) -> Vec<Request> {
    let all = server.received_requests().await.expect("recorded");
    all.into_iter().filter(|request| request.url.path() == route).collect()
}

/// A header's value; empty where it is absent.
pub fn header<'r>(request: &'r Request, name: &str) -> &'r str {
    request.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

/// The configuration of a client between the two servers, without a listener of its own.
pub fn config(from: &MockServer, to: &MockServer) -> Config {
    let mut authorize = Url::parse(&format!("{}/authorize", to.uri())).expect("a URL");
    authorize.query_pairs_mut().append_pair("id", ID);
    let target = TargetSettings {
        authorize,
        upload: Url::parse(&format!("{}/upload", to.uri())).expect("a URL"),
        receive: None,
        ca_file: None,
        token: Credential::Value(Secret::from("a-token")),
    };
    let source = SourceSettings::new(Url::parse(&format!("{}/federate", from.uri())).expect("a URL"));
    Config { listen: None, ..Config::new(source, target, ID) }
}

/// Decodes the body of an upload into the text format.
pub fn uploaded(request: &Request) -> String {
    assert_eq!(header(request, "content-encoding"), "snappy");
    assert_eq!(
        header(request, "content-type"),
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    );
    text_of(&request.body)
}

/// Decodes framed snappy over delimited families into the text format.
pub fn text_of(body: &[u8]) -> String {
    let plain = plain(body);
    let (arena, mut text) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    exposition::decode(ExpositionFormat::Delimited, &plain, &DecodeLimits::default(), &mut set).expect("families");
    exposition::text::encode(&set, &mut text);
    String::from_utf8(text).expect("text")
}

/// One series: its labels sorted, its value's bits, its timestamp.
pub type UploadedSeries = (Vec<(String, String)>, u64, Option<i64>);

/// Returns all series of framed snappy over delimited families, sorted.
pub fn rows(body: &[u8]) -> Vec<UploadedSeries> {
    let plain = plain(body);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    exposition::decode(ExpositionFormat::Delimited, &plain, &DecodeLimits::default(), &mut set).expect("families");
    let row = |series: telemeter_wire::Series<'_, '_>| {
        let mut labels: Vec<_> =
            series.labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
        labels.sort();
        let Points::Sample(sample) = series.points else { panic!("an upload holds samples") };
        (labels, sample.value.to_bits(), sample.timestamp_ms)
    };
    let mut rows: Vec<UploadedSeries> = set.iter().map(row).collect();
    rows.sort();
    rows
}

/// Decompresses framed snappy.
pub fn plain(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    snappy::decode_framed(body, 100 << 20, &mut plain).expect("framed snappy");
    plain
}

/// The folder of the recorded exchange; `None` where it does not exist.
pub fn recorded() -> Option<PathBuf> {
    let folder = std::env::var_os("TELEMETER_RECORDED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/recorded")),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}
