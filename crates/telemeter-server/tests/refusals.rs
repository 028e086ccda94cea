//! Each reason for which a request does not succeed, provoked on the wire: the line of the log, the counter, the registry
//! and the JSON name the same cluster and the same reason.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use support::{
    CLUSTER, TestServer, body,
    fake::{FakeAnswer, approve},
    log::{LogCapture, LoggedLine},
    refusal::{ExpectedRefusal, RefusedCaller},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

struct RefusalWatch {
    server: TestServer,
    log: LogCapture,
    seen: BTreeSet<&'static str>,
}

impl RefusalWatch {
    async fn new(change: impl FnOnce(&mut telemeter_server::Config)) -> Self {
        let log = LogCapture::start();
        Self { server: TestServer::with(change).await, log, seen: BTreeSet::new() }
    }

    /// Checks the one refusal since the last call.
    async fn check(&mut self, expected: ExpectedRefusal) {
        let (lines, counted) = (self.log.refusals(), self.server.metric(&expected.counter()).await);
        let get = async |path: String| self.server.get(self.server.internal(&path)).await.json();
        expected.check(&lines, counted, get).await;
        self.seen.insert(expected.reason);
    }
}

#[tokio::test]
async fn each_reason_is_the_same_in_log_counter_registry_and_json() {
    let mut watch = RefusalWatch::new(|config| {
        config.limit_bytes = 20_000;
        config.limit_receive_bytes = 20_000;
    })
    .await;
    let up = ["up,_id=c1 1@0"];
    let token = watch.server.token(CLUSTER).await;
    let _ = watch.log.take();
    let (authorize, upload, receive) = ("authorize", "upload", "receive");

    watch.server.send(watch.server.post("/authorize?id=c7")).await;
    watch
        .check(ExpectedRefusal {
            route: authorize,
            status: 401,
            reason: "credentials",
            of: RefusedCaller::Claimed("c7"),
            cause: "",
        })
        .await;
    watch.server.send(watch.server.post("/upload")).await;
    watch
        .check(ExpectedRefusal {
            route: upload,
            status: 401,
            reason: "credentials",
            of: RefusedCaller::Nobody,
            cause: "",
        })
        .await;
    watch.server.send(watch.server.post("/metrics/v1/receive").bearer_auth("%%%")).await;
    watch
        .check(ExpectedRefusal {
            route: receive,
            status: 400,
            reason: "credentials",
            of: RefusedCaller::Nobody,
            cause: "",
        })
        .await;
    watch.server.upload("a.b.c", &up).await;
    watch
        .check(ExpectedRefusal { route: upload, status: 401, reason: "token", of: RefusedCaller::Nobody, cause: "" })
        .await;
    // An expired access token still names its cluster.
    watch.server.clock.advance(Duration::from_secs(86_400 + 61));
    watch.server.upload(&token, &up).await;
    let of = RefusedCaller::Claimed(CLUSTER);
    watch.check(ExpectedRefusal { route: upload, status: 401, reason: "token", of, cause: "expired" }).await;
    watch.server.set_offset_ms(0);
    watch.server.send(watch.server.post("/authorize?id=").bearer_auth("secret")).await;
    watch
        .check(ExpectedRefusal {
            route: authorize,
            status: 400,
            reason: "form",
            of: RefusedCaller::Nobody,
            cause: "empty",
        })
        .await;

    for (answer, status, reason) in [
        (FakeAnswer::of(401), 401, "authority_refused"),
        (FakeAnswer::of(429), 429, "authority_rate_limited"),
        (FakeAnswer::of(500), 503, "authority_unavailable"),
    ] {
        watch.server.authority.answers(answer);
        watch.server.authorize("new", "secret").await;
        let of = RefusedCaller::Claimed("new");
        watch.check(ExpectedRefusal { route: authorize, status, reason, of, cause: "the authority" }).await;
        watch.server.receive("new", &up).await;
        watch.check(ExpectedRefusal { route: receive, status, reason, of, cause: "the authority" }).await;
    }
    watch.server.authority.says(approve);
    let reply = watch.server.get(watch.server.internal("/api/v1/clusters/new")).await;
    assert_eq!(reply.status, 404, "who is not verified is no cluster: {reply:?}");

    watch.server.send(watch.server.outbound.http().get(watch.server.external("/upload"))).await;
    watch
        .check(ExpectedRefusal {
            route: upload,
            status: 405,
            reason: "method",
            of: RefusedCaller::Nobody,
            cause: "POST",
        })
        .await;

    let of = RefusedCaller::Verified(CLUSTER);
    let text = |series: &[&str]| body::text(series);
    watch.server.send(watch.server.upload_of(&token, "application/json", "{}")).await;
    watch.check(ExpectedRefusal { route: upload, status: 415, reason: "unsupported", of, cause: "" }).await;
    watch.server.send(watch.server.upload_of(&token, body::TEXT, vec![b'#'; 20_001])).await;
    watch.check(ExpectedRefusal { route: upload, status: 413, reason: "too_large", of, cause: "20000" }).await;
    watch.server.send(watch.server.receive_of(CLUSTER, vec![b'#'; 20_001])).await;
    watch.check(ExpectedRefusal { route: receive, status: 413, reason: "too_large", of, cause: "20000" }).await;
    watch.server.send(watch.server.upload_of(&token, body::TEXT, "up{ 1")).await;
    watch.check(ExpectedRefusal { route: upload, status: 400, reason: "undecodable", of, cause: "" }).await;
    let labels: String = (0..200).map(|at| format!(",l{at}=x")).collect();
    watch.server.send(watch.server.upload_of(&token, body::TEXT, text(&[&format!("up,_id=c1{labels} 1@0")]))).await;
    watch.check(ExpectedRefusal { route: upload, status: 400, reason: "limit", of, cause: "128" }).await;
    watch.server.upload(&token, &["up,_id=other 1@0"]).await;
    watch.check(ExpectedRefusal { route: upload, status: 400, reason: "identity", of, cause: "_id" }).await;
    watch.server.receive(CLUSTER, &["up 1@0"]).await;
    watch.check(ExpectedRefusal { route: receive, status: 400, reason: "identity", of, cause: "_id" }).await;
    watch.server.receive(CLUSTER, &["_id=c1 1@0"]).await;
    watch.check(ExpectedRefusal { route: receive, status: 400, reason: "labels", of, cause: "name" }).await;
    watch.server.upload(&token, &["up,_id=c1 1@600001"]).await;
    watch.check(ExpectedRefusal { route: upload, status: 400, reason: "timestamps", of, cause: "ahead" }).await;

    watch.server.store.answers(FakeAnswer::of(409).body("out of order\nsample, token=hunter2"));
    watch.server.upload(&token, &up).await;
    let cause = "409 Conflict: out of order sample, token=[redacted]";
    watch.check(ExpectedRefusal { route: upload, status: 409, reason: "store_refused", of, cause }).await;
    watch.server.store.answers(FakeAnswer::of(404).body("remote write receiver needs to be enabled\n"));
    watch.server.receive(CLUSTER, &up).await;
    let cause = "it answered 404: remote write receiver needs to be enabled";
    watch.check(ExpectedRefusal { route: receive, status: 503, reason: "store_unavailable", of, cause }).await;

    raw(&watch.server, &token, "transfer-encoding: chunked\r\n\r\nzz\r\n").await;
    watch.check(ExpectedRefusal { route: upload, status: 400, reason: "framing", of, cause: "" }).await;
    // The sender closes in the middle of the body.
    raw(&watch.server, &token, "content-length: 100\r\n\r\nup 1").await;
    watch.check(ExpectedRefusal { route: upload, status: 503, reason: "body", of, cause: "" }).await;

    // The other reasons need another server, or a failure of ours: they are below, and in `refusals_of_ours.rs`.
    let all = telemeter_fleet::Reason::ALL.map(telemeter_fleet::Reason::name);
    let missing: Vec<_> = all.into_iter().filter(|reason| !watch.seen.contains(reason)).collect();
    assert_eq!(missing, ["concurrency", "draining", "internal", "overloaded", "rate_limited"]);
}

/// An upload whose headers and body end so.
async fn raw(server: &TestServer, token: &str, end: &str) {
    let mut stream = TcpStream::connect(server.server.external()).await.unwrap();
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nuser-agent: test\r\n\
         content-type: text/plain\r\n{end}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(support::SOON, stream.read_to_end(&mut answer)).await.unwrap();
}

#[tokio::test]
async fn an_upload_before_its_time() {
    let mut watch = RefusalWatch::new(|config| config.ratelimit = Some(Duration::from_secs(270))).await;
    let token = watch.server.token(CLUSTER).await;
    watch.server.upload(&token, &["up,_id=c1 1@0"]).await;
    let _ = watch.log.take();
    watch.server.upload(&token, &["up,_id=c1 1@0"]).await;
    let of = RefusedCaller::Verified(CLUSTER);
    watch
        .check(ExpectedRefusal { route: "upload", status: 429, reason: "rate_limited", of, cause: "270 seconds" })
        .await;
    let reply = watch.server.get(watch.server.internal("/api/v1/clusters/c1")).await.json();
    assert_eq!(reply["limits"]["next_upload_at"], "2027-01-15T08:04:30Z", "{reply}");
    assert_eq!(reply["limits"]["rate_limit_seconds"], 270);
}

#[tokio::test]
async fn a_flood_of_refusals_fills_no_disk() {
    let watch = RefusalWatch::new(|config| config.log_refusals_per_second = 3).await;
    for _ in 0..10 {
        watch.server.upload("a.b.c", &[]).await;
    }
    watch.server.send(watch.server.post("/upload")).await;
    let of = |reason: &'static str| move |line: &&LoggedLine| line["reason"] == reason;
    let lines = watch.log.refusals();
    assert_eq!(lines.iter().filter(of("token")).count(), 3);
    assert_eq!(lines.iter().filter(of("credentials")).count(), 1, "another reason has its own share");
    let series = "telemeter_refused_requests_total{handler=\"upload\",reason=\"token\"}";
    assert_eq!(watch.server.metric(series).await, 10.0, "all are counted");
    watch.server.clock.advance(Duration::from_secs(1));
    let ended = async {
        loop {
            if let Some(line) = watch.log.take().into_iter().find(|line| line.contains_key("more")) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let line = tokio::time::timeout(support::SOON, ended).await.expect("the line that says how many more there were");
    assert_eq!((line["reason"].as_str(), line["more"].as_str()), ("token", "7"));
}

#[tokio::test]
async fn what_comes_from_outside_is_cut() {
    let watch = RefusalWatch::new(|_| ()).await;
    let long = "x".repeat(200);
    let request = watch.server.post(&format!("/authorize?id={long}")).header("user-agent", format!("ä{long}"));
    watch.server.send(request).await;
    let lines = watch.log.refusals();
    assert_eq!(lines[0]["claimed_cluster"], "x".repeat(128));
    assert_eq!(lines[0]["user_agent"].len(), 128);
}

#[tokio::test]
async fn a_caller_reads_no_word_of_an_upstream() {
    let watch = RefusalWatch::new(|_| ()).await;
    let token = watch.server.token(CLUSTER).await;
    for status in [400, 404, 500] {
        watch.server.store.answers(FakeAnswer::of(status).body("UPSTREAM says so"));
        let reply = watch.server.upload(&token, &["up,_id=c1 1@0"]).await;
        assert!(!reply.body.contains("UPSTREAM"), "{reply:?}");
        assert!(watch.log.refusals()[0]["cause"].contains("UPSTREAM says so"), "{status}");
    }
    for status in [403, 500] {
        watch.server.authority.answers(FakeAnswer::of(status).body("UPSTREAM was asked with secret"));
        for reply in [watch.server.authorize("new", "secret").await, watch.server.receive("new", &[]).await] {
            assert!(!reply.body.contains("UPSTREAM"), "{reply:?}");
        }
        let lines = watch.log.refusals();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let all = lines.iter().all(|line| line["cause"].contains("UPSTREAM was asked with [redacted]"));
        assert!(all, "{lines:?}");
    }
}
