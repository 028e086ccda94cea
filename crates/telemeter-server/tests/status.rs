//! The status table on the wire, row by row: the status, the wait and the body of each response.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use prost::Message as _;
use support::{
    CLUSTER, CallerAnswer, TestServer, body,
    fake::{FakeAnswer, approve},
    nowhere,
};
use telemeter_server::config::{AuthoritySettings, AuthorizationMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Checks a response: its status, its `Retry-After`, and one short line that names the request.
#[track_caller]
fn check(reply: &CallerAnswer, status: u16, retry_after: Option<&str>, what: &str) {
    assert_eq!(reply.status, status, "{what}: {reply:?}");
    assert_eq!(reply.header("retry-after"), retry_after, "{what}: {reply:?}");
    let id = reply.header("x-request-id").unwrap();
    if status >= 300 {
        let line =
            reply.body.strip_suffix(&format!(" (request {id})\n")).unwrap_or_else(|| panic!("{what}: {reply:?}"));
        assert!(!line.is_empty() && line.len() < 300 && !line.contains('\n'), "{what}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{what}");
    }
    assert!(!reply.body.contains("UPSTREAM") && !reply.body.contains("127.0.0.1"), "{what}: {reply:?}");
}

/// Checks both routes where the store answers so.
const STORE: [(u16, Option<&str>, u16, Option<&str>); 18] = [
    (200, None, 200, None),
    (202, None, 202, None),
    (204, None, 204, None),
    (400, None, 400, None),
    (409, None, 409, None),
    (413, None, 413, None),
    (422, None, 422, None),
    (429, Some("7"), 503, Some("7")),
    (503, Some("8"), 503, Some("8")),
    (429, None, 503, Some("30")),
    (503, None, 503, Some("30")),
    (401, None, 503, Some("30")),
    (403, None, 503, Some("30")),
    (404, None, 503, Some("30")),
    (307, None, 503, Some("30")),
    (500, None, 503, Some("30")),
    (502, Some("9"), 503, Some("9")),
    (404, Some("9"), 503, Some("30")),
];

#[tokio::test]
async fn the_store() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    for (status, theirs, expected, ours) in STORE {
        let mut answer = FakeAnswer::of(status).header("location", "/elsewhere");
        if let Some(wait) = theirs {
            answer = answer.header("retry-after", wait);
        }
        server.store.answers(answer);
        let reply = server.upload(&token, &["up,_id=c1 1@0"]).await;
        check(&reply, expected, ours, &format!("upload, the store: {status}"));
        let reply = server.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
        check(&reply, expected, ours, &format!("receive, the store: {status}"));
        let asked = server.store.take();
        assert_eq!(asked.len(), 2, "{status}: a redirect is not followed, and nothing is tried again");
        assert!(asked.iter().all(|asked| asked.path == "/asked"), "{status}");
    }
}

#[tokio::test]
async fn no_store_and_a_slow_one() {
    let server = TestServer::with(|config| config.forward.as_mut().unwrap().url = nowhere()).await;
    let token = server.token(CLUSTER).await;
    check(&server.upload(&token, &["up,_id=c1 1@0"]).await, 503, Some("30"), "refused");
    check(&server.receive(CLUSTER, &["up,_id=c1 1@0"]).await, 503, Some("30"), "refused");

    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    server.store.answers(FakeAnswer::of(200).after(Duration::from_secs(15)));
    let started = std::time::Instant::now();
    let (upload, receive) =
        tokio::join!(server.upload(&token, &["up,_id=c1 1@0"]), server.receive(CLUSTER, &["up,_id=c1 1@0"]));
    check(&upload, 503, Some("30"), "slow");
    check(&receive, 503, Some("30"), "slow");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// The answer of the authority; our status on both routes; `Retry-After` of `/authorize`, of receive.
#[tokio::test]
async fn the_authority() {
    let json = |body: &str| FakeAnswer::of(200).header("content-type", "application/json").body(body);
    let out = (503, Some("30"), Some("30"));
    let rows: Vec<(&str, FakeAnswer, _)> = vec![
        ("401", FakeAnswer::of(401), (401, None, None)),
        ("403", FakeAnswer::of(403), (403, None, None)),
        ("404", FakeAnswer::of(404), (404, None, None)),
        ("409", FakeAnswer::of(409), (409, None, None)),
        ("400", FakeAnswer::of(400), (400, None, None)),
        ("418", FakeAnswer::of(418), (418, None, None)),
        ("429", FakeAnswer::of(429), (429, Some("300"), Some("60"))),
        ("429, 7 s", FakeAnswer::of(429).header("retry-after", "7"), (429, Some("300"), Some("7"))),
        ("500", FakeAnswer::of(500), out),
        ("429, 400 s", FakeAnswer::of(429).header("retry-after", "400"), (429, Some("400"), Some("400"))),
        ("500, 9 s", FakeAnswer::of(500).header("retry-after", "9"), (503, Some("9"), Some("9"))),
        ("503, 9 s", FakeAnswer::of(503).header("retry-after", "9"), (503, Some("9"), Some("9"))),
        ("302", FakeAnswer::of(302).header("location", "/elsewhere"), out),
        ("202", json(r#"{"account_id":"UPSTREAM"}"#).body(""), out),
        ("HTML", FakeAnswer::of(200).header("content-type", "text/html").body("UPSTREAM"), out),
        ("HTML with 403", FakeAnswer::of(403).header("content-type", "text/html; charset=utf-8"), out),
        ("no JSON", json("UPSTREAM"), out),
        ("no account", json(r#"{"cluster_id":"new"}"#), out),
        ("another's ID", json(r#"{"cluster_id":"UPSTREAM","account_id":"UPSTREAM"}"#), out),
    ];
    let server = TestServer::new().await;
    for (what, answer, (status, authorize, receive)) in rows {
        server.authority.answers(answer);
        check(&server.authorize("new", "secret").await, status, authorize, &format!("/authorize: {what}"));
        check(&server.receive("new", &["up,_id=new 1@0"]).await, status, receive, &format!("receive: {what}"));
        let asked = server.authority.take();
        assert!(asked.len() == 2 && asked.iter().all(|asked| asked.path == "/asked"), "{what}: {asked:?}");
        assert_eq!(server.store.count(), 0, "{what}");
    }
    server.authority.says(approve);
    check(&server.authorize("new", "secret").await, 200, None, "a no is not remembered");
    check(&server.receive("new", &["up,_id=new 1@0"]).await, 200, None, "a no is not remembered");
}

/// Calls from another address than the other callers of these tests; returns the status.
async fn authorize_from(address: &str, server: &TestServer) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(server.server.external()).await.unwrap();
    let request = "POST /authorize?id=c1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\
                   Content-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

#[tokio::test]
async fn a_caller_that_asks_about_one_cluster_too_often_waits_and_no_other() {
    let server = TestServer::new().await;
    server.authority.answers(FakeAnswer::of(401));
    for number in 0..60 {
        check(&server.authorize("c1", &format!("guess-{number}")).await, 401, None, "a guess");
    }
    check(&server.authorize("c1", "guess").await, 503, Some("1"), "one guess too many");
    check(&server.receive("c1", &["up,_id=c1 1@0"]).await, 503, Some("1"), "the same on the other entrance");
    assert_eq!(server.authority.count(), 60);
    server.authority.says(approve);
    check(&server.authorize("c2", "secret").await, 200, None, "another cluster");
    assert_eq!(authorize_from("127.0.0.2", &server).await, "200", "the same cluster from elsewhere");
}

#[tokio::test]
async fn no_authority() {
    let authorization =
        AuthorizationMode::Authority(AuthoritySettings { url: nowhere(), stale: Duration::from_secs(3600) });
    let server = TestServer::with(|config| config.authorization = authorization).await;
    check(&server.authorize(CLUSTER, "secret").await, 503, Some("30"), "/authorize");
    check(&server.receive(CLUSTER, &["up,_id=c1 1@0"]).await, 503, Some("30"), "receive");
}

#[tokio::test]
async fn credentials() {
    let server = TestServer::new().await;
    for path in ["/authorize?id=c1", "/upload", "/metrics/v1/receive"] {
        for header in [None, Some("Basic c2VjcmV0OnNlY3JldA=="), Some("Bearer"), Some("Bearer a b"), Some("secret")] {
            let mut request = server.post(path).header("content-type", body::TEXT);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let reply = server.send(request).await;
            check(&reply, 401, None, &format!("{path}: {header:?}"));
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{path}: {header:?}");
        }
    }
    for token in ["secret", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        check(&server.upload(token, &["up,_id=c1 1@0"]).await, 401, None, token);
    }
    for token in ["%%%", "c2VjcmV0", "e30=", "eyJjbHVzdGVyX2lkIjoiYzEifQ=="] {
        let reply = server.send(server.post("/metrics/v1/receive").bearer_auth(token)).await;
        check(&reply, 400, None, token);
        assert!(reply.body.contains(r#"base64 of {"authorization_token":"...","cluster_id":"..."}"#), "{reply:?}");
    }
    for query in ["", "?id=", "?other=c1", "?id=a%00b", &format!("?id={}", "x".repeat(257))] {
        check(&server.send(server.post(&format!("/authorize{query}")).bearer_auth("secret")).await, 400, None, query);
    }
    assert_eq!((server.authority.count(), server.store.count()), (0, 0));
}

#[tokio::test]
async fn the_id_may_stand_in_a_form() {
    let server = TestServer::new().await;
    let form = |body: &'static str| {
        let request = server.post("/authorize").bearer_auth("secret").body(body);
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    let reply = server.send(form("a=b&id=c%2F1")).await;
    check(&reply, 200, None, "a form");
    assert_eq!(reply.json()["labels"], serde_json::json!({"_id": "c/1"}));
    assert_eq!(reply.json()["version"], 1);
    assert_eq!(reply.json()["expiresInSeconds"], 86_400);
    let asked: serde_json::Value = serde_json::from_slice(&server.authority.take()[0].body).unwrap();
    assert_eq!(asked, serde_json::json!({"cluster_id": "c/1", "authorization_token": "secret", "account_id": ""}));
    check(&server.send(form("a=b")).await, 400, None, "a form without an ID");
}

#[tokio::test]
async fn methods() {
    let server = TestServer::new().await;
    for path in ["/authorize?id=c1", "/upload", "/metrics/v1/receive"] {
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let method = method.parse().unwrap();
            let reply = server.send(server.outbound.http().request(method, server.external(path))).await;
            check(&reply, 405, None, path);
            assert_eq!(reply.header("allow"), Some("POST"), "{path}");
        }
    }
    assert_eq!(server.get(server.external("/nothing")).await.status, 404);
}

#[tokio::test]
async fn formats_and_encodings() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let text = || body::text(&["up,_id=c1 1@0"]);
    for format in ["application/json", "application/openmetrics-text; version=1.0.0", "application/x-protobuf"] {
        check(&server.send(server.upload_of(&token, format, text())).await, 415, None, format);
    }
    check(&server.send(server.post("/upload").bearer_auth(&token).body(text())).await, 415, None, "no Content-Type");
    for encoding in ["gzip", "zstd", "snappy, gzip"] {
        let request = server.upload_of(&token, body::TEXT, text()).header("content-encoding", encoding);
        check(&server.send(request).await, 415, None, encoding);
    }
    for encoding in ["identity", ""] {
        let request = server.upload_of(&token, body::TEXT, text()).header("content-encoding", encoding);
        check(&server.send(request).await, 200, None, encoding);
    }
    let framed = server.upload_of(&token, body::TEXT, body::framed(&text())).header("content-encoding", "Snappy");
    check(&server.send(framed).await, 200, None, "framed text");
    check(&server.upload_delimited(&token, &["up,_id=c1 1@0"]).await, 200, None, "framed protobuf");

    let block = || body::block(&body::write_request(&["up,_id=c1 1@0"]));
    for (header, value, status) in [
        ("content-type", "application/x-protobuf", 200),
        ("content-type", "application/x-protobuf;proto=prometheus.WriteRequest", 200),
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request", 415),
        ("content-type", "text/plain", 415),
        ("content-encoding", "snappy", 200),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "zstd", 415),
        ("content-encoding", "identity", 415),
    ] {
        let reply = server.send(server.receive_of(CLUSTER, block()).header(header, value)).await;
        check(&reply, status, None, value);
    }
    let twice = server.receive_of(CLUSTER, block()).header("content-encoding", "snappy");
    check(&server.send(twice.header("content-encoding", "snappy")).await, 415, None, "encoded twice");
}

#[tokio::test]
async fn bodies_that_never_succeed() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let day = 24 * 60 * 60 * 1000;
    let id = "label \"_id\"";
    for (series, reason) in [
        (&["up,_id=c1 1@"][..], "no timestamp"),
        (&["up,_id=c1 1@5", "up,_id=c1,a=b 1@4"], "not sorted by time"),
        (&[&format!("up,_id=c1 1@-{}", day + 1)], "over 24 hours old"),
        (&["up,_id=c1 1@600001"], "over 10 minutes ahead"),
        (&["up 1@0"], id),
        (&["up,_id= 1@0"], id),
        (&["up,_id=other 1@0"], id),
        (&["up,_id=c1,_id=other 1@0"], id),
        (&["up,_id=c1,_id=c1 1@0"], id),
        (&["up,_id=c1 1@0", "up,_id=other 1@0"], id),
        (&["up,_id=c1,a=b,a=c 1@0"], "label \"a\""),
    ] {
        for reply in [server.upload(&token, series).await, server.upload_delimited(&token, series).await] {
            check(&reply, 400, None, reason);
            assert!(reply.body.contains(reason) && !reply.body.contains("other"), "{reason}: {reply:?}");
        }
    }
    for (series, reason) in [
        (&["up,_id=c1 1@0 1@600001"][..], "over 10 minutes ahead"),
        (&["up 1@0"], id),
        (&["up,_id= 1@0"], id),
        (&["up,_id=other 1@0"], id),
        (&["up,_id=c1,_id=other 1@0"], id),
        (&["up,_id=c1,_id=c1 1@0"], id),
        (&["_id=c1 1@0"], "no metric name"),
        (&["up,_id=c1,a=b,a=c 1@0"], "label \"a\""),
    ] {
        let reply = server.receive(CLUSTER, series).await;
        check(&reply, 400, None, reason);
        assert!(reply.body.contains(reason) && !reply.body.contains("other"), "{reason}: {reply:?}");
    }
    // Text that is not UTF-8: the sender reads where it is.
    let place = "text that is not UTF-8 in the value of label \"job\" of metric \"up\"";
    let label = [&b"\x0a\x09\x0a\x03job\x12\x02"[..], b"a\xff"].concat();
    let family = [&b"\x0a\x02up\x22"[..], &[label.len() as u8], &label].concat();
    let delimited = [&[family.len() as u8][..], &family].concat();
    let series = [&b"\x0a\x0e\x0a\x08__name__\x12\x02up"[..], &label].concat();
    let request = [&[0x0a, series.len() as u8][..], &series].concat();
    for reply in [
        server.send(server.upload_of(&token, body::TEXT, b"up{job=\"a\xff\"} 1".to_vec())).await,
        server.send(server.upload_of(&token, body::DELIMITED, delimited)).await,
        server.send(server.receive_of(CLUSTER, body::block(&request))).await,
    ] {
        check(&reply, 400, None, place);
        assert!(reply.body.contains(place) && reply.body.lines().count() == 1, "{reply:?}");
    }
    let reply = server.send(server.upload_of(&token, body::TEXT, "up{_id=\"c1\"} 1e400")).await;
    check(&reply, 400, None, "out of range");
    assert!(reply.body.contains("line 1: a value over the range of a 64-bit float"), "{reply:?}");
    let reply = server.send(server.upload_of(&token, body::TEXT, "up{ 1")).await;
    check(&reply, 400, None, "no text");
    check(&server.send(server.upload_of(&token, body::DELIMITED, "\u{1}")).await, 400, None, "no protobuf");
    let block = server.upload_of(&token, body::TEXT, body::block(b"up 1")).header("content-encoding", "snappy");
    check(&server.send(block).await, 400, None, "a block is no stream");
    check(&server.send(server.receive_of(CLUSTER, body::framed(b""))).await, 400, None, "a stream is no block");
    check(&server.send(server.receive_of(CLUSTER, body::block(b"\x0a\x05"))).await, 400, None, "no protobuf");
    check(&server.send(server.receive_of(CLUSTER, "")).await, 400, None, "no block at all");
    assert_eq!(server.store.count(), 0);
}

#[tokio::test]
async fn nothing_to_send_is_fine() {
    let server = TestServer::with(|config| config.rules.whitelist = vec!["wanted".to_owned()]).await;
    let token = server.token(CLUSTER).await;
    let metadata = vec![body::Metadata { kind: 1, family: "up".to_owned(), ..body::Metadata::default() }];
    let metadata = body::WriteRequest { metadata, timeseries: Vec::new() }.encode_to_vec();
    check(&server.upload(&token, &["up,_id=c1 1@0"]).await, 200, None, "all filtered");
    check(&server.upload(&token, &[]).await, 200, None, "empty");
    check(&server.receive(CLUSTER, &["up,_id=c1 1@0"]).await, 200, None, "all filtered");
    check(&server.receive(CLUSTER, &[]).await, 200, None, "empty");
    check(&server.send(server.receive_of(CLUSTER, body::block(&metadata))).await, 200, None, "metadata only");
    assert_eq!(server.metric("telemeter_receive_metadata_requests_total").await, 1.0);
    assert_eq!(server.store.count(), 0);
}

#[tokio::test]
async fn the_rate_limit() {
    let server = TestServer::with(|config| config.ratelimit = Some(Duration::from_secs(270))).await;
    let token = server.token(CLUSTER).await;
    check(&server.upload(&token, &["up,_id=c1 1@0"]).await, 200, None, "the first");
    check(&server.upload(&token, &["up,_id=c1 1@0"]).await, 429, Some("270"), "at once");
    server.clock.advance(Duration::from_millis(269_100));
    check(&server.upload(&token, &["up,_id=c1 1@0"]).await, 429, Some("1"), "a moment too early");
    for _ in 0..3 {
        check(&server.receive(CLUSTER, &["up,_id=c1 1@0"]).await, 200, None, "receive is not limited");
    }
}

#[tokio::test]
async fn a_caller_s_request_id_is_kept() {
    let server = TestServer::new().await;
    let reply = server.send(server.post("/upload").header("x-request-id", "mine-1")).await;
    check(&reply, 401, None, "an ID of the caller's");
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
}
