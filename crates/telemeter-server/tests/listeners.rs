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
    let world = TestServer::new().await;
    let external = world.get(world.external("/")).await;
    assert_eq!(external.header("content-type"), Some("application/json"));
    assert_eq!(
        external.body,
        r#"{"paths":["/","/authorize","/healthz","/healthz/ready","/metrics/v1/receive","/upload"]}"#
    );
    let internal = world.get(world.internal("/")).await;
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
        let told = match path {
            "/-/reload" => world.reload().await,
            "/debug/pprof/profile" | "/debug/pprof/heap" => continue,
            path if path.contains('{') => continue,
            path => world.get(world.internal(path)).await,
        };
        assert_eq!(told.status, 200, "{path}");
    }
    for path in ["/metrics", "/-/reload", "/debug/pprof/"] {
        assert_eq!(world.get(world.external(path)).await.status, 404, "{path} is not for everybody");
    }
}

#[tokio::test]
async fn both_tell_their_health() {
    let world = TestServer::new().await;
    for url in [world.external(""), world.internal("")] {
        for path in ["/healthz", "/healthz/ready"] {
            let told = world.get(format!("{url}{path}")).await;
            assert_eq!((told.status, &*told.body), (200, "ok"), "{url}{path}");
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

/// Whether a `GET /healthz` succeeds for one who trusts this certificate.
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
    let world = TestServer::with(|config| {
        config.tls = vec![external.clone()];
        config.internal_tls = vec![internal.clone()];
    })
    .await;
    let old = folder.path().join("old.crt");
    std::fs::copy(&external.cert_file, &old).unwrap();
    assert!(trusted(world.server.external(), &old).await);
    assert!(trusted(world.server.internal(), &internal.cert_file).await);
    assert!(!trusted(world.server.external(), &internal.cert_file).await);
    let scraping = Outbound::new(
        OutboundConfig { ca_file: Some(internal.cert_file.clone()), ..OutboundConfig::new("test") },
        None,
    );
    let address = world.server.internal();
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
    for plain in [world.external("/healthz"), world.internal("/healthz")] {
        let request = world.outbound.http().get(plain);
        assert!(world.outbound.send(request).await.is_err(), "no plain HTTP beside TLS");
    }

    let new = write_pair(folder.path(), "new");
    std::fs::copy(&new.cert_file, &external.cert_file).unwrap();
    let error = world.server.reload().await.unwrap_err();
    assert!(error.contains("external.key is not the key of "), "{error}");
    assert!(trusted(world.server.external(), &old).await, "a bad pair keeps the old one");
    std::fs::copy(&new.key_file, &external.key_file).unwrap();
    world.server.reload().await.unwrap();
    assert!(trusted(world.server.external(), &new.cert_file).await);
    assert!(!trusted(world.server.external(), &old).await);
}

#[tokio::test]
async fn a_missing_certificate_and_a_taken_port_are_no_start() {
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
    let world = TestServer::new().await;
    let token = world.token(CLUSTER).await;
    world.store.answers(FakeAnswer::of(200).after(Duration::from_millis(800)));
    let upload = world.upload_of(&token, body::TEXT, body::text(&["up,_id=c1 1@0"]));
    let receive = world.receive_of(CLUSTER, body::block(&body::write_request(&["up,_id=c1 1@0"])));
    let outbound = world.outbound.clone();
    let in_flight = tokio::spawn(async move { tokio::join!(send(&outbound, upload), send(&outbound, receive)) });
    while world.store.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let TestServer { server, outbound, store, .. } = world;
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
    let world = TestServer::with(|config| config.oidc = Some(oidc(&provider.url()))).await;
    let token = world.token(CLUSTER).await;
    for _ in 0..3 {
        assert_eq!(world.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    }
    let asked = world.store.take();
    assert!(asked.iter().all(|asked| asked.headers["authorization"] == "Bearer of-the-provider"));
    let questions = provider.take();
    let questions: Vec<_> = questions.iter().filter(|asked| asked.path == "/token").collect();
    assert_eq!(questions.len(), 1, "a token is kept");
    assert!(String::from_utf8_lossy(&questions[0].body).contains("audience=store"));
}

#[tokio::test]
async fn a_provider_that_is_out_is_not_ready_but_no_exit() {
    let without = |door: Option<config::AuthorizationMode>| {
        TestServer::with(|config| {
            config.oidc = Some(oidc(&nowhere()));
            config.door = door.unwrap_or_else(|| config.door.clone());
        })
    };
    // The authority is asked with that token, too.
    let told = without(None).await.authorize(CLUSTER, "token").await;
    assert_eq!((told.status, told.header("retry-after")), (503, Some("30")), "{told:?}");
    let world = without(Some(config::AuthorizationMode::AnyCluster)).await;
    let token = world.token(CLUSTER).await;
    let told = world.upload(&token, &["up,_id=c1 1@0"]).await;
    assert_eq!((told.status, told.header("retry-after")), (503, Some("30")), "{told:?}");
    assert_eq!(world.store.count(), 0, "nothing is sent without a token");
    for (url, says) in [(world.external("/healthz/ready"), "not ready\n"), (world.internal("/healthz/ready"), "oidc: ")]
    {
        let told = world.get(url).await;
        assert_eq!(told.status, 503);
        assert!(told.body.starts_with(says) && told.header("retry-after").is_some(), "{told:?}");
        assert!(!told.body.contains("hunter2"));
    }
    assert_eq!(world.get(world.external("/healthz")).await.status, 200);
}

fn recent() -> Option<config::RecentStoreSettings> {
    Some(config::RecentStoreSettings { keep: Duration::from_secs(7200), max_bytes: 1 << 20 })
}

#[tokio::test]
async fn the_recent_store_holds_what_was_acknowledged() {
    for alone in [false, true] {
        let world = TestServer::with(|config| {
            config.recent_store = recent();
            if alone {
                config.forward = None;
            }
        })
        .await;
        let token = world.token(CLUSTER).await;
        assert_eq!(world.upload(&token, &["up,_id=c1 3@0"]).await.status, 200);
        assert_eq!(world.receive("c2", &["up,_id=c2 4@0"]).await.status, 200);
        world.store.answers(FakeAnswer::of(500));
        let lost = world.upload(&token, &["lost,_id=c1 5@0"]).await.status;
        assert_eq!(lost, if alone { 200 } else { 503 });
        let held = async |name: &str| {
            let told = world.get(world.internal(&format!("/federate?match[]={name}"))).await;
            assert_eq!(told.status, 200);
            told.body
        };
        let now = support::NOW_MS;
        let up = held("up").await;
        assert!(up.contains(&format!("up{{_id=\"c1\"}} 3 {now}")), "{up}");
        assert!(up.contains(&format!("up{{_id=\"c2\"}} 4 {now}")), "{up}");
        assert_eq!(held("lost").await.contains("lost"), alone, "what the store did not take is not held");
        let paths = world.get(world.internal("/")).await.body;
        assert!(["/federate", "/families", "/clusters/{id}"].iter().all(|path| paths.contains(path)), "{paths}");
        assert_eq!(world.get(world.external("/federate")).await.status, 404);
    }
}

#[tokio::test]
async fn the_recent_store_holds_what_went_on_whatever_way_it_came() {
    let world = TestServer::with(|config| {
        config.recent_store = recent();
        config.rules.elide_labels = vec!["replica".to_owned()];
    })
    .await;
    let token = world.token(CLUSTER).await;
    let v2 = |series: &str| {
        let request = world.receive_of(CLUSTER, body_v2::Request::of(&[series]).block());
        request.header("content-type", body_v2::CONTENT_TYPE)
    };
    for push in 0..3 {
        let ms = push * 60_000;
        world.set_offset_ms(ms);
        let sample = |labels: &str| format!("{labels},_id=c1 {push}@{ms}");
        // One that goes on as it came, one that loses a label, duplicates of which the newer is sent, and remote write 2.0.
        assert_eq!(world.receive(CLUSTER, &[&sample("spliced")]).await.status, 200);
        assert_eq!(world.receive(CLUSTER, &[&sample("changed,replica=a")]).await.status, 200);
        let duplicates = [format!("uploaded,replica=a,_id=c1 9@{}", ms - 2), sample("uploaded,replica=b")];
        let duplicates = [duplicates[0].as_str(), duplicates[1].as_str()];
        assert_eq!(world.upload_delimited(&token, &duplicates).await.status, 200);
        assert_eq!(world.send(v2(&sample("second"))).await.status, 204);
        let told = world.get(world.internal("/federate?match[]={_id=\"c1\"}")).await.body;
        let lines: Vec<_> = told.lines().filter(|line| !line.starts_with('#')).collect();
        let now = support::NOW_MS + ms;
        let expected = ["changed", "second", "spliced", "uploaded"];
        assert_eq!(lines, expected.map(|name| format!("{name}{{_id=\"c1\"}} {push} {now}")), "{told}");
    }
    // Whatever the store says but 2xx, of series that are known and of new ones.
    world.set_offset_ms(200_000);
    for status in [400, 409, 500] {
        world.store.answers(FakeAnswer::of(status));
        for name in ["spliced", "changed,replica=a", "new"] {
            assert_ne!(world.receive(CLUSTER, &[&format!("{name},_id=c1 8@200000")]).await.status, 200);
        }
        assert_ne!(world.upload(&token, &["uploaded,_id=c1 8@200000"]).await.status, 200);
    }
    let told = world.get(world.internal("/federate?match[]={_id=\"c1\"}")).await.body;
    assert!(!told.contains(" 8 ") && !told.contains("new"), "{told}");
}
