//! The operator's rules on both routes: what passes, what is changed, and that nothing else changes.
#![allow(clippy::unwrap_used)]

mod support;

use prost::Message as _;
use support::{CLUSTER, CallerAnswer, TestServer, body};
use telemeter_server::config::{self, ReceiveIdentity};

/// Which of these series reach the store under these rules, by each route.
async fn check(change: impl FnOnce(&mut config::RuleSettings), series: &[&str], expected: &[&str]) {
    let server = TestServer::with(|config| change(&mut config.rules)).await;
    let token = server.token(CLUSTER).await;
    for way in ["text", "delimited", "receive"] {
        let answer = match way {
            "text" => server.upload(&token, series).await,
            "delimited" => server.upload_delimited(&token, series).await,
            _ => server.receive(CLUSTER, series).await,
        };
        assert_eq!(answer.status, 200, "{way}: {answer:?}");
        assert_eq!(server.stored(), expected, "{way}");
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn without_rules_everything_passes() {
    check(|_| (), &["up,_id=c1 1@0", "down,_id=c1,a=b 2@0"], &["up,_id=c1 1@0", "down,_id=c1,a=b 2@0"]).await;
}

#[tokio::test]
async fn what_is_sent_is_canonical() {
    let series = ["up,z=1,_id=c1,empty=,B=2,a=3 1@0"];
    check(|_| (), &series, &["B=2,up,_id=c1,a=3,z=1 1@0"]).await;
}

#[tokio::test]
async fn labels_are_added_and_win() {
    let rules = |rules: &mut config::RuleSettings| rules.labels = pairs(&[("region", "eu"), ("a", "ours")]);
    let series = ["up,_id=c1 1@0", "up,_id=c1,a=theirs,z=1 2@0"];
    check(rules, &series, &["up,_id=c1,a=ours,region=eu 1@0", "up,_id=c1,a=ours,region=eu,z=1 2@0"]).await;
}

#[tokio::test]
async fn labels_are_elided() {
    let rules = |rules: &mut config::RuleSettings| rules.elide_labels = texts(&["pod", "replica"]);
    let series = ["up,_id=c1,pod=p,replica=r,z=1 1@0", "up,_id=c1,pods=2 2@0"];
    check(rules, &series, &["up,_id=c1,z=1 1@0", "up,_id=c1,pods=2 2@0"]).await;
}

#[tokio::test]
async fn a_label_that_is_added_can_be_elided() {
    let rules = |rules: &mut config::RuleSettings| {
        rules.labels = pairs(&[("a", "1"), ("b", "2")]);
        rules.elide_labels = texts(&["a"]);
    };
    check(rules, &["up,_id=c1 1@0"], &["up,_id=c1,b=2 1@0"]).await;
}

#[tokio::test]
async fn the_whitelist_says_what_passes() {
    let rules = |rules: &mut config::RuleSettings| {
        rules.whitelist = texts(&["up", "{__name__=~\"node_.*\",mode!=\"idle\"}", "{__name__=\"none\",a=\"\"}"]);
    };
    let series = ["up,_id=c1 1@0", "ups,_id=c1 1@0", "node_cpu,_id=c1,mode=idle 1@0", "node_cpu,_id=c1,mode=user 1@0"];
    let more = ["none,_id=c1 1@0", "none,_id=c1,a= 2@0", "none,_id=c1,a=b 3@0"];
    let expected = ["up,_id=c1 1@0", "node_cpu,_id=c1,mode=user 1@0"];
    check(rules, &series, &expected).await;
    // An empty label is an absent one. (Two samples of one series in one upload would be one.)
    check(rules, &[more[0], more[2]], &["none,_id=c1 1@0"]).await;
    check(rules, &[more[1], more[2]], &["none,_id=c1 2@0"]).await;
}

#[tokio::test]
async fn the_answer_says_what_became_of_the_series() {
    let server = TestServer::with(|config| config.rules.whitelist = texts(&["up"])).await;
    let token = server.token(CLUSTER).await;
    let counts = |answer: &CallerAnswer| answer.header("telemeter-series").map(str::to_owned);
    let series = ["up,_id=c1 1@0", "up,_id=c1 2@0", "down,_id=c1 1@0", "down,_id=c1,a=b 1@0"];
    let answer = server.upload(&token, &series).await;
    assert_eq!(counts(&answer).as_deref(), Some("received=4, kept=1, filtered=2, duplicates=1"));
    assert_eq!(server.stored().len(), 1);
    let answer = server.upload_delimited(&token, &series[2..]).await;
    assert_eq!(
        (answer.status, counts(&answer).as_deref()),
        (200, Some("received=2, kept=0, filtered=2, duplicates=0"))
    );
    let answer = server.upload(&token, &["up 1@0"]).await;
    assert_eq!((answer.status, counts(&answer)), (400, None));
}

#[tokio::test]
async fn an_empty_upload_is_answered_and_uses_no_slot() {
    let server = TestServer::with(|config| config.ratelimit = Some(std::time::Duration::from_secs(270))).await;
    let token = server.token(CLUSTER).await;
    let ask = async |token: &str, format: &str| {
        let answer = server.send(server.upload_of(token, format, Vec::new())).await;
        (answer.status, answer.header("telemeter-series").map(str::to_owned))
    };
    let nothing = Some("received=0, kept=0, filtered=0, duplicates=0".to_owned());
    assert_eq!(ask(&token, support::body::TEXT).await, (200, nothing.clone()));
    assert_eq!(ask("not-a-token", support::body::TEXT).await.0, 401);
    assert_eq!(ask(&token, "text/html").await.0, 415);
    // The slot is still free: only an upload uses it. The empty upload is answered all the same.
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 429);
    assert_eq!(ask(&token, support::body::TEXT).await, (200, nothing));
    assert_eq!(server.stored().len(), 1);
}

#[tokio::test]
async fn the_whitelist_sees_the_labels_that_came_not_those_that_are_added() {
    let rules = |rules: &mut config::RuleSettings| {
        rules.whitelist = texts(&["{__name__=\"up\",region=\"\",pod=\"p\"}"]);
        rules.labels = pairs(&[("region", "eu")]);
        rules.elide_labels = texts(&["pod"]);
    };
    check(rules, &["up,_id=c1,pod=p 1@0"], &["up,_id=c1,region=eu 1@0"]).await;
}

#[tokio::test]
async fn the_whitelist_file_is_read_again_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whitelist");
    std::fs::write(&file, "up\n# a comment\n\n{__name__=\"down\"}\n").unwrap();
    let server = TestServer::with(|config| {
        config.rules.whitelist = texts(&["flag"]);
        config.rules.whitelist_file = Some(file.clone());
    })
    .await;
    let token = server.token(CLUSTER).await;
    let passes = async || {
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0", "down,_id=c1 1@0", "flag,_id=c1 1@0"]).await.status, 200);
        server.stored()
    };
    let all = ["up,_id=c1 1@0", "down,_id=c1 1@0", "flag,_id=c1 1@0"];
    assert_eq!(passes().await, all, "both flags add up");

    for bad in ["up\n{__name__=~\"(\"}\n", "{a=}\n"] {
        std::fs::write(&file, bad).unwrap();
        let answer = server.reload().await;
        assert_eq!(answer.status, 500, "{bad}");
        assert!(answer.body.starts_with("not reloaded, the old configuration stays: --whitelist-file "), "{answer:?}");
        assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
        assert_eq!(passes().await, all, "{bad}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(server.reload().await.status, 500, "no file");
    assert_eq!(passes().await, all);

    std::fs::write(&file, "down\n").unwrap();
    assert_eq!(server.reload().await.status, 200);
    assert_eq!(passes().await, all[1..]);
}

#[tokio::test]
async fn a_bad_rule_fails_the_start() {
    let config = |change: fn(&mut config::RuleSettings)| {
        let mut config = telemeter_server::Config::new(config::AuthorizationMode::AnyCluster);
        (config.listen, config.listen_internal) = ("127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned());
        change(&mut config.rules);
        config
    };
    for (bad, flag) in [
        (config(|rules| rules.whitelist = texts(&["{a=~\"(\"}"])), "--whitelist: "),
        (config(|rules| rules.whitelist = texts(&["up", "a,b"])), r#"--whitelist: rule "a,b": column 2: expected "#),
        (config(|rules| rules.whitelist_file = Some("/nowhere".into())), "--whitelist-file: /nowhere cannot be read: "),
    ] {
        let error =
            telemeter_server::RunningServer::start(bad, telemeter_http::clock::Clock::system()).await.err().unwrap();
        let error = error.to_string();
        assert!(error.starts_with(flag) && error.lines().count() == 1, "{error}");
        assert!(error.contains("/nowhere") || error.contains(r#"a selector is up, or {__name__="up""#), "{error}");
    }
}

#[tokio::test]
async fn required_labels_are_sent_to_clients_and_required() {
    let required = |rules: &mut config::RuleSettings| rules.required_labels = pairs(&[("env", "prod")]);
    check(required, &["up,_id=c1,env=prod 1@0"], &["up,_id=c1,env=prod 1@0"]).await;
    let server = TestServer::with(|config| required(&mut config.rules)).await;
    let labels = server.authorize(CLUSTER, "secret").await.json()["labels"].clone();
    assert_eq!(labels, serde_json::json!({"_id": "c1", "env": "prod"}));
    let token = server.token(CLUSTER).await;
    for series in ["up,_id=c1 1@0", "up,_id=c1,env= 1@0", "up,_id=c1,env=test 1@0", "up,_id=c1,env=prod,env=prod 1@0"] {
        for answer in [server.upload(&token, &[series]).await, server.receive(CLUSTER, &[series]).await] {
            assert_eq!(answer.status, 400, "{series}");
            assert!(answer.body.contains("\"env\"") && !answer.body.contains("prod"), "{series}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_partition_label_may_have_another_name() {
    let server = TestServer::with(|config| config.partition_label = "cluster".to_owned()).await;
    assert_eq!(server.authorize("c1", "secret").await.json()["labels"], serde_json::json!({"cluster": "c1"}));
    let token = server.token("c1").await;
    for (series, status) in [("up,cluster=c1 1@0", 200), ("up,_id=c1 1@0", 400), ("up,cluster=c2 1@0", 400)] {
        assert_eq!(server.upload(&token, &[series]).await.status, status, "{series}");
        assert_eq!(server.receive("c1", &[series]).await.status, status, "{series}");
    }
    assert_eq!(server.stored(), ["up,cluster=c1 1@0"; 2]);
}

#[tokio::test]
async fn presence_lets_a_delegate_send_for_others() {
    let server = TestServer::with(|config| config.receive_identity = ReceiveIdentity::Presence).await;
    for (series, status) in [("up,_id=c2 1@0", 200), ("up,_id=c1 1@0", 200), ("up 1@0", 400), ("up,_id= 1@0", 400)] {
        assert_eq!(server.receive("c1", &[series]).await.status, status, "{series}");
    }
    let token = server.token("c1").await;
    assert_eq!(server.upload(&token, &["up,_id=c2 1@0"]).await.status, 400, "an upload is its own cluster's");
}

#[tokio::test]
async fn an_upload_keeps_the_newest_and_gets_our_time() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let series = ["up,_id=c1 1@-9000", "up,_id=c1,a=b 5@-8000", "up,_id=c1 2@-7000", "b,_id=c1 3@4000"];
    for delimited in [false, true] {
        let answer = if delimited {
            server.upload_delimited(&token, &series).await
        } else {
            server.upload(&token, &series).await
        };
        assert_eq!(answer.status, 200);
        assert_eq!(server.stored(), ["up,_id=c1,a=b 5@0", "up,_id=c1 2@0", "b,_id=c1 3@0"]);
    }
}

#[tokio::test]
async fn remote_write_keeps_its_times_and_all_its_samples() {
    let series = ["up,_id=c1 1@-9999999999 2@-5 3@600000", "up,_id=c1 4@7"];
    let server = TestServer::new().await;
    assert_eq!(server.receive(CLUSTER, &series).await.status, 200);
    assert_eq!(server.stored(), series);
}

/// A series with everything that remote write 1.0 can hold.
fn rich(labels: &str) -> body::TimeSeries {
    let mut series = body::time_series(&format!("{labels} 1@0 NaN@5"));
    let labels = vec![body::Label { name: "trace_id".to_owned(), value: "abc".to_owned() }];
    series.exemplars = vec![body::Exemplar { labels, value: 0.5, timestamp: support::NOW_MS }];
    let positive_deltas = vec![1, -2, 3];
    let timestamp = support::NOW_MS;
    series.histograms =
        vec![body::Histogram { count: 7, sum: 1.5, schema: 3, positive_deltas, timestamp, ..Default::default() }];
    series
}

#[tokio::test]
async fn what_needs_no_change_is_sent_byte_for_byte() {
    let server = TestServer::new().await;
    let timeseries = vec![rich("up,_id=c1,a=b"), rich("down,_id=c1")];
    let plain = body::WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec();
    assert_eq!(server.send(server.receive_of(CLUSTER, body::block(&plain))).await.status, 200);
    assert_eq!(body::plain_block(&server.store.take()[0].body), plain);
}

#[tokio::test]
async fn histograms_and_exemplars_ride_along_a_change() {
    let server = TestServer::with(|config| {
        config.rules.labels = pairs(&[("region", "eu")]);
        config.rules.elide_labels = texts(&["pod"]);
        config.rules.whitelist = texts(&["up"]);
    })
    .await;
    let timeseries = vec![rich("down,_id=c1"), rich("up,_id=c1,pod=p,z=1")];
    let metadata = vec![body::Metadata { kind: 1, family: "up".to_owned(), ..body::Metadata::default() }];
    let plain = body::WriteRequest { timeseries, metadata }.encode_to_vec();
    assert_eq!(server.send(server.receive_of(CLUSTER, body::block(&plain))).await.status, 200);
    let stored = body::WriteRequest::decode(&*body::plain_block(&server.store.take()[0].body)).unwrap();
    let expected = body::WriteRequest { timeseries: vec![rich("up,_id=c1,region=eu,z=1")], metadata: Vec::new() };
    assert_eq!(stored.encode_to_vec(), expected.encode_to_vec());
}

#[tokio::test]
async fn a_request_to_the_store_has_the_headers_of_its_version() {
    let server = TestServer::with(|config| config.rules.whitelist = texts(&["up"])).await;
    server.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
    let asked = server.store.take();
    for (name, value) in [
        ("thanos-tenant", "tenant"),
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ] {
        assert_eq!(asked[0].headers[name], value);
    }
    assert!(!asked[0].headers.contains_key("authorization"), "nobody's token goes on");
}

/// The bytes that reach the store of this block.
async fn forwarded(server: &TestServer, block: Vec<u8>) -> Vec<u8> {
    let answer = server.send(server.receive_of(CLUSTER, block)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let [asked] = <[_; 1]>::try_from(server.store.take()).unwrap_or_else(|_| panic!("one request to the store"));
    asked.body.to_vec()
}

#[tokio::test]
async fn a_remote_write_that_no_rule_changes_goes_on_as_it_came() {
    let server = TestServer::with(|config| config.rules.whitelist = texts(&["up", "down"])).await;
    let all: Vec<String> = (0..40).map(|at| format!("up,_id=c1,pod=some-long-name-of-a-pod-{at} 1@0")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let message = |series: &[&str]| body::write_request(series);
    // In two halves that know nothing of each other: our encoder would not write it so.
    let halves = |front: Vec<u8>, back: Vec<u8>| {
        let mut joined = Vec::new();
        let halves = [body::block(&front), body::block(&back)];
        telemeter_wire::snappy::join_blocks(halves.iter().map(Vec::as_slice), &mut joined).unwrap();
        joined
    };
    let sent = halves(message(&all[..20]), message(&all[20..]));
    assert_ne!(sent, body::block(&message(&all)));
    assert_eq!(forwarded(&server, sent.clone()).await, sent);
    // Where something was left out, the rest is encoded again.
    let filtered = halves(message(&all[..20]), message(&["other,_id=c1 1@0"]));
    assert_eq!(forwarded(&server, filtered).await, body::block(&message(&all[..20])));
    let metadata = vec![0x1a, 0x04, 0x12, 0x02, b'u', b'p'];
    let described = halves(message(&all[..20]), metadata);
    assert_eq!(forwarded(&server, described).await, body::block(&message(&all[..20])));
    // A block that is larger than what it holds is compressed again.
    let plain = message(&all[..1]);
    let literal = [&[plain.len() as u8, 60 << 2, plain.len() as u8 - 1][..], &plain].concat();
    assert!(plain.len() < 0x80 && plain.len() > 60);
    assert_eq!(forwarded(&server, literal).await, body::block(&plain));
}

#[tokio::test]
async fn names_are_escaped_for_a_store_of_the_old_alphabet() {
    use telemeter_wire::exposition::Escaping;
    // Names are escaped after the whitelist, which sees them as they came; so are the labels of the operator.
    let rules = |escaping| {
        move |rules: &mut config::RuleSettings| {
            rules.escaping = Some(escaping);
            rules.whitelist = texts(&["up", "{\"http.status\"}"]);
            rules.elide_labels = texts(&["k8s.node"]);
        }
    };
    let series = ["up,_id=c1 1@0", "http.status,_id=c1,k8s.pod=a.b,k8s.node=n 2@0", "http_status,_id=c1 3@0"];
    for (escaping, name, label) in [
        (Escaping::Underscores, "http_status", "k8s_pod"),
        (Escaping::Dots, "http_dot_status", "k8s_dot_pod"),
        (Escaping::Values, "U__http_2e_status", "U__k8s_2e_pod"),
    ] {
        let server = TestServer::with(|config| rules(escaping)(&mut config.rules)).await;
        let token = server.token(CLUSTER).await;
        let mut labels = [name.to_owned(), "_id=c1".to_owned(), format!("{label}=a.b")];
        // The metric name has the place of `__name__` in the order.
        labels.sort_by_key(|label| if label == name { "__name__".to_owned() } else { label.clone() });
        let expected = ["up,_id=c1 1@0".to_owned(), format!("{} 2@0", labels.join(","))];
        for way in ["delimited", "receive"] {
            let answer = match way {
                "delimited" => server.upload_delimited(&token, &series).await,
                _ => server.receive(CLUSTER, &series).await,
            };
            assert_eq!((answer.status, server.stored()), (200, expected.to_vec()), "{way}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn series_that_would_become_one_are_refused() {
    use telemeter_wire::exposition::Escaping;
    let server = TestServer::with(|config| config.rules.escaping = Some(Escaping::Underscores)).await;
    let token = server.token(CLUSTER).await;
    let series = ["a.b,_id=c1 1@0", "a_b,_id=c1 2@0"];
    for answer in [server.upload_delimited(&token, &series).await, server.receive(CLUSTER, &series).await] {
        assert_eq!(answer.status, 400, "{answer:?}");
        let expected = "two series would become one with escaped names: a.b{_id} and a_b{_id}";
        assert!(answer.body.contains(expected), "{answer:?}");
        assert!(server.store.take().is_empty());
    }
    // A store that takes UTF-8 names gets both.
    let server = TestServer::new().await;
    assert_eq!(server.receive(CLUSTER, &series).await.status, 200);
    assert_eq!(server.stored(), series);
}
