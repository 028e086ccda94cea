//! Both listeners: what they list, TLS, readiness, the recent store, and the end.
#![allow(clippy::unwrap_used)]

mod support;

use std::{path::Path, time::Duration};

use support::{
    CLUSTER, SOON, TestServer, body, body_v2,
    fake::{FakeAnswer, FakeServer},
    nowhere, send,
};
use telemeter_auth::Secret;
use telemeter_http::client::{Outbound, OutboundConfig, OutboundRequest};
use telemeter_http::tls::CertificateFiles;
use telemeter_server::config;

#[tokio::test]
async fn both_list_their_paths() {
    let server = TestServer::new().await;
    let external = server.get(server.external("/")).await;
    assert_eq!(external.header("content-type"), Some("application/json"));
    assert_eq!(
        external.body,
        r#"{"paths":["/","/authorize","/healthz","/healthz/ready","/metrics/v1/receive","/upload"]}"#
    );
    let internal = server.get(server.internal("/")).await;
    assert_eq!(internal.header("content-type"), Some("application/json"));
    let paths = [
        "/",
        "/-/reload",
        "/api/v1/clusters",
        "/api/v1/clusters/{id}",
        "/api/v1/history",
        "/api/v1/metrics",
        "/api/v1/metrics/{name}",
        "/api/v1/refusals",
        "/api/v1/summary",
        "/clusters",
        "/clusters/{id}",
        "/debug/pprof/",
        "/debug/pprof/heap",
        "/debug/pprof/profile",
        "/families",
        "/families/{name}",
        "/healthz",
        "/healthz/ready",
        "/metrics",
        "/refused",
    ];
    assert_eq!(internal.body, serde_json::json!({ "paths": paths }).to_string());
    for path in paths {
        let reply = match path {
            "/-/reload" => server.reload().await,
            "/debug/pprof/profile" | "/debug/pprof/heap" => continue,
            path if path.contains('{') => continue,
            path => server.get(server.internal(path)).await,
        };
        assert_eq!(reply.status, 200, "{path}");
    }
    for path in ["/metrics", "/-/reload", "/debug/pprof/"] {
        assert_eq!(server.get(server.external(path)).await.status, 404, "{path} is not for everybody");
    }
}

#[tokio::test]
async fn both_tell_their_health() {
    let server = TestServer::new().await;
    for url in [server.external(""), server.internal("")] {
        for path in ["/healthz", "/healthz/ready"] {
            let reply = server.get(format!("{url}{path}")).await;
            assert_eq!((reply.status, &*reply.body), (200, "ok"), "{url}{path}");
        }
    }
}

/// A self-signed certificate and its key under these names.
fn write_pair(folder: &Path, name: &str) -> CertificateFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert_file, key_file) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&cert_file, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    CertificateFiles { cert_file, key_file }
}

/// Whether `GET /healthz` succeeds for a client that trusts this certificate.
async fn trusted(address: std::net::SocketAddr, cert: &Path) -> bool {
    let ca_file = Some(cert.to_owned());
    let outbound = Outbound::new(OutboundConfig { ca_file, ..OutboundConfig::new("test") }, None).unwrap();
    let request = OutboundRequest::get(format!("https://{address}/healthz").parse().unwrap());
    outbound.send(request, 100).await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn both_speak_tls_with_a_certificate_each_that_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (external, internal) = (write_pair(folder.path(), "external"), write_pair(folder.path(), "internal"));
    let server = TestServer::with(|config| {
        config.tls = vec![external.clone()];
        config.internal_tls = vec![internal.clone()];
    })
    .await;
    let old = folder.path().join("old.crt");
    std::fs::copy(&external.cert_file, &old).unwrap();
    assert!(trusted(server.server.external(), &old).await);
    assert!(trusted(server.server.internal(), &internal.cert_file).await);
    assert!(!trusted(server.server.external(), &internal.cert_file).await);
    let scraping = Outbound::new(
        OutboundConfig { ca_file: Some(internal.cert_file.clone()), ..OutboundConfig::new("test") },
        None,
    );
    let address = server.server.internal();
    for listener in ["external", "internal"] {
        let scraping = scraping.as_ref().unwrap();
        let get = async |path: &str| {
            let url = format!("https://localhost:{}{path}", address.port()).parse().unwrap();
            let answer = scraping.send(telemeter_http::client::OutboundRequest::get(url), 1 << 20).await.unwrap();
            String::from_utf8(answer.body.to_vec()).unwrap()
        };
        let scrape = get("/metrics").await;
        let series = format!("telemeter_certificate_expiry_timestamp_seconds{{listener=\"{listener}\"}} ");
        let value = scrape.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{scrape}"));
        let expires_s = value.parse::<f64>().unwrap();
        assert!(expires_s > support::NOW_MS as f64 / 1000.0, "{value}");
        let summary: serde_json::Value = serde_json::from_str(&get("/api/v1/summary").await).unwrap();
        let dependencies = summary["dependencies"].as_array().unwrap();
        let name = format!("certificate:{listener}");
        let certificate = dependencies.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(certificate["state"], "ok", "{certificate}");
    }
    for plain in [server.external("/healthz"), server.internal("/healthz")] {
        let request = server.outbound.http().get(plain);
        assert!(server.outbound.send(request).await.is_err(), "no plain HTTP beside TLS");
    }

    let new = write_pair(folder.path(), "new");
    std::fs::copy(&new.cert_file, &external.cert_file).unwrap();
    let error = server.server.reload().await.unwrap_err();
    assert!(error.contains("external.key is not the key of "), "{error}");
    assert!(trusted(server.server.external(), &old).await, "a bad pair keeps the old one");
    std::fs::copy(&new.key_file, &external.key_file).unwrap();
    server.server.reload().await.unwrap();
    assert!(trusted(server.server.external(), &new.cert_file).await);
    assert!(!trusted(server.server.external(), &old).await);
}

#[tokio::test]
async fn a_missing_certificate_and_a_used_port_fail_the_start() {
    let blocker = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = blocker.local_addr().unwrap().to_string();
    let start = async |change: &dyn Fn(&mut config::Config)| {
        let mut config = config::Config::new(config::AuthorizationMode::AnyCluster);
        (config.listen, config.listen_internal) = ("127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned());
        change(&mut config);
        let clock = telemeter_http::clock::Clock::system();
        telemeter_server::RunningServer::start(config, clock).await.err().unwrap().to_string()
    };
    let tls = CertificateFiles { cert_file: "/nowhere.crt".into(), key_file: "/nowhere.key".into() };
    assert!(start(&|config| config.tls = vec![tls.clone()]).await.contains("/nowhere.crt"));
    assert!(start(&|config| config.internal_tls = vec![tls.clone()]).await.contains("/nowhere.crt"));
    assert!(start(&|config| config.listen.clone_from(&taken)).await.contains(&taken));
    assert!(start(&|config| config.shared_keys = vec!["/nowhere.pem".into()]).await.contains("--shared-key: "));
    drop(blocker);
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    server.store.answers(FakeAnswer::of(200).after(Duration::from_millis(800)));
    let upload = server.upload_of(&token, body::TEXT, body::text(&["up,_id=c1 1@0"]));
    let receive = server.receive_of(CLUSTER, body::block(&body::write_request(&["up,_id=c1 1@0"])));
    let outbound = server.outbound.clone();
    let in_flight = tokio::spawn(async move { tokio::join!(send(&outbound, upload), send(&outbound, receive)) });
    while server.store.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let TestServer { server, outbound, store, .. } = server;
    let (external, internal) = (server.external(), server.internal());
    tokio::time::timeout(SOON, server.stop()).await.expect("it ends");
    let (upload, receive) = tokio::time::timeout(SOON, in_flight).await.expect("at once").unwrap();
    assert_eq!((upload.status, receive.status), (200, 200));
    let series: Vec<_> = store.take().iter().flat_map(|asked| body::shown(&body::of_block(&asked.body))).collect();
    assert_eq!(series, ["up,_id=c1 1@0"; 2], "what was acknowledged is there");
    for address in [external, internal] {
        let request = outbound.http().get(format!("http://{address}/healthz"));
        assert!(outbound.send(request).await.is_err(), "nobody listens any more");
    }
}

fn oidc(issuer: &url::Url) -> config::Oidc {
    let client_secret = Secret::from("hunter2");
    let issuer = issuer.as_str().parse().unwrap();
    config::Oidc { issuer, client_id: "telemeter".to_owned(), client_secret, audience: Some("store".to_owned()) }
}

#[tokio::test]
async fn the_store_is_sent_the_provider_s_token() {
    let provider = FakeServer::start(|_| FakeAnswer::of(404)).await;
    let issuer = provider.url();
    provider.says(move |asked| {
        let json = match &*asked.path {
            "/asked/.well-known/openid-configuration" => {
                serde_json::json!({"issuer": issuer.as_str(), "token_endpoint": issuer.join("/token").unwrap().as_str()})
            }
            "/token" => {
                serde_json::json!({"access_token": "of-the-provider", "token_type": "Bearer", "expires_in": 60})
            }
            path => panic!("{path}"),
        };
        FakeAnswer::of(200).header("content-type", "application/json").body(json.to_string())
    });
    let server = TestServer::with(|config| config.oidc = Some(oidc(&provider.url()))).await;
    let token = server.token(CLUSTER).await;
    for _ in 0..3 {
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    }
    let asked = server.store.take();
    assert!(asked.iter().all(|asked| asked.headers["authorization"] == "Bearer of-the-provider"));
    let questions = provider.take();
    let questions: Vec<_> = questions.iter().filter(|asked| asked.path == "/token").collect();
    assert_eq!(questions.len(), 1, "a token is kept");
    assert!(String::from_utf8_lossy(&questions[0].body).contains("audience=store"));
}

#[tokio::test]
async fn an_unavailable_provider_makes_the_server_not_ready_and_does_not_end_it() {
    let without = |authorization: Option<config::AuthorizationMode>| {
        TestServer::with(|config| {
            config.oidc = Some(oidc(&nowhere()));
            config.authorization = authorization.unwrap_or_else(|| config.authorization.clone());
        })
    };
    // The authority is asked with that token, too.
    let reply = without(None).await.authorize(CLUSTER, "token").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{reply:?}");
    let server = without(Some(config::AuthorizationMode::AnyCluster)).await;
    let token = server.token(CLUSTER).await;
    let reply = server.upload(&token, &["up,_id=c1 1@0"]).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{reply:?}");
    assert_eq!(server.store.count(), 0, "nothing is sent without a token");
    for (url, says) in
        [(server.external("/healthz/ready"), "not ready\n"), (server.internal("/healthz/ready"), "oidc: ")]
    {
        let reply = server.get(url).await;
        assert_eq!(reply.status, 503);
        assert!(reply.body.starts_with(says) && reply.header("retry-after").is_some(), "{reply:?}");
        assert!(!reply.body.contains("hunter2"));
    }
    assert_eq!(server.get(server.external("/healthz")).await.status, 200);
}

fn recent() -> Option<config::RecentStoreSettings> {
    Some(config::RecentStoreSettings { keep: Duration::from_secs(7200), max_bytes: 1 << 20 })
}

#[tokio::test]
async fn the_recent_store_holds_what_was_acknowledged() {
    for alone in [false, true] {
        let server = TestServer::with(|config| {
            config.recent_store = recent();
            if alone {
                config.forward = None;
            }
        })
        .await;
        let token = server.token(CLUSTER).await;
        assert_eq!(server.upload(&token, &["up,_id=c1 3@0"]).await.status, 200);
        assert_eq!(server.receive("c2", &["up,_id=c2 4@0"]).await.status, 200);
        server.store.answers(FakeAnswer::of(500));
        let lost = server.upload(&token, &["lost,_id=c1 5@0"]).await.status;
        assert_eq!(lost, if alone { 200 } else { 503 });
        let held = async |name: &str| {
            let reply = server.get(server.internal(&format!("/federate?match[]={name}"))).await;
            assert_eq!(reply.status, 200);
            reply.body
        };
        let now = support::NOW_MS;
        let up = held("up").await;
        assert!(up.contains(&format!("up{{_id=\"c1\"}} 3 {now}")), "{up}");
        assert!(up.contains(&format!("up{{_id=\"c2\"}} 4 {now}")), "{up}");
        assert_eq!(held("lost").await.contains("lost"), alone, "what the store did not take is not held");
        let paths = server.get(server.internal("/")).await.body;
        assert!(["/federate", "/families", "/clusters/{id}"].iter().all(|path| paths.contains(path)), "{paths}");
        assert_eq!(server.get(server.external("/federate")).await.status, 404);
    }
}

#[tokio::test]
async fn the_recent_store_holds_what_went_on_whatever_way_it_came() {
    let server = TestServer::with(|config| {
        config.recent_store = recent();
        config.rules.elide_labels = vec!["replica".to_owned()];
    })
    .await;
    let token = server.token(CLUSTER).await;
    let v2 = |series: &str| {
        let request = server.receive_of(CLUSTER, body_v2::Request::of(&[series]).block());
        request.header("content-type", body_v2::CONTENT_TYPE)
    };
    for push in 0..3 {
        let ms = push * 60_000;
        server.set_offset_ms(ms);
        let sample = |labels: &str| format!("{labels},_id=c1 {push}@{ms}");
        // A remote write that is not changed, one that loses a label, duplicates of which the newer is sent, and remote write 2.0.
        assert_eq!(server.receive(CLUSTER, &[&sample("spliced")]).await.status, 200);
        assert_eq!(server.receive(CLUSTER, &[&sample("changed,replica=a")]).await.status, 200);
        let duplicates = [format!("uploaded,replica=a,_id=c1 9@{}", ms - 2), sample("uploaded,replica=b")];
        let duplicates = [duplicates[0].as_str(), duplicates[1].as_str()];
        assert_eq!(server.upload_delimited(&token, &duplicates).await.status, 200);
        assert_eq!(server.send(v2(&sample("second"))).await.status, 204);
        let reply = server.get(server.internal("/federate?match[]={_id=\"c1\"}")).await.body;
        let lines: Vec<_> = reply.lines().filter(|line| !line.starts_with('#')).collect();
        let now = support::NOW_MS + ms;
        let expected = ["changed", "second", "spliced", "uploaded"];
        assert_eq!(lines, expected.map(|name| format!("{name}{{_id=\"c1\"}} {push} {now}")), "{reply}");
    }
    // Every status but 2xx, for known series and for new ones.
    server.set_offset_ms(200_000);
    for status in [400, 409, 500] {
        server.store.answers(FakeAnswer::of(status));
        for name in ["spliced", "changed,replica=a", "new"] {
            assert_ne!(server.receive(CLUSTER, &[&format!("{name},_id=c1 8@200000")]).await.status, 200);
        }
        assert_ne!(server.upload(&token, &["uploaded,_id=c1 8@200000"]).await.status, 200);
    }
    let reply = server.get(server.internal("/federate?match[]={_id=\"c1\"}")).await.body;
    assert!(!reply.contains(" 8 ") && !reply.contains("new"), "{reply}");
}
