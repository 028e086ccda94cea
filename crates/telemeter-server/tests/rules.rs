//! The operator's rules on both entrances: what passes, what is changed, and that nothing else is.
#![allow(clippy::unwrap_used)]

mod support;

use prost::Message as _;
use support::{CLUSTER, CallerAnswer, TestServer, body};
use telemeter_server::config::{self, ReceiveIdentity};

/// What reaches the store of these series under these rules, by each way in.
async fn check(change: impl FnOnce(&mut config::RuleSettings), series: &[&str], expected: &[&str]) {
    let world = TestServer::with(|config| change(&mut config.rules)).await;
    let token = world.token(CLUSTER).await;
    for way in ["text", "delimited", "receive"] {
        let told = match way {
            "text" => world.upload(&token, series).await,
            "delimited" => world.upload_delimited(&token, series).await,
            _ => world.receive(CLUSTER, series).await,
        };
        assert_eq!(told.status, 200, "{way}: {told:?}");
        assert_eq!(world.stored(), expected, "{way}");
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
    let world = TestServer::with(|config| config.rules.whitelist = texts(&["up"])).await;
    let token = world.token(CLUSTER).await;
    let counts = |told: &CallerAnswer| told.header("telemeter-series").map(str::to_owned);
    let series = ["up,_id=c1 1@0", "up,_id=c1 2@0", "down,_id=c1 1@0", "down,_id=c1,a=b 1@0"];
    let told = world.upload(&token, &series).await;
    assert_eq!(counts(&told).as_deref(), Some("received=4, kept=1, filtered=2, duplicates=1"));
    assert_eq!(world.stored().len(), 1);
    let told = world.upload_delimited(&token, &series[2..]).await;
    assert_eq!((told.status, counts(&told).as_deref()), (200, Some("received=2, kept=0, filtered=2, duplicates=0")));
    let told = world.upload(&token, &["up 1@0"]).await;
    assert_eq!((told.status, counts(&told)), (400, None));
}

#[tokio::test]
async fn an_empty_upload_is_a_question_that_costs_the_cluster_nothing() {
    let world = TestServer::with(|config| config.ratelimit = Some(std::time::Duration::from_secs(270))).await;
    let token = world.token(CLUSTER).await;
    let ask = async |token: &str, format: &str| {
        let told = world.send(world.upload_of(token, format, Vec::new())).await;
        (told.status, told.header("telemeter-series").map(str::to_owned))
    };
    let nothing = Some("received=0, kept=0, filtered=0, duplicates=0".to_owned());
    assert_eq!(ask(&token, support::body::TEXT).await, (200, nothing.clone()));
    assert_eq!(ask("not-a-token", support::body::TEXT).await.0, 401);
    assert_eq!(ask(&token, "text/html").await.0, 415);
    // The slot is free still, and taken only by what is uploaded; the question is answered all the same.
    assert_eq!(world.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    assert_eq!(world.upload(&token, &["up,_id=c1 1@0"]).await.status, 429);
    assert_eq!(ask(&token, support::body::TEXT).await, (200, nothing));
    assert_eq!(world.stored().len(), 1);
}

#[tokio::test]
async fn the_whitelist_judges_what_came_not_what_is_added() {
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
    let world = TestServer::with(|config| {
        config.rules.whitelist = texts(&["flag"]);
        config.rules.whitelist_file = Some(file.clone());
    })
    .await;
    let token = world.token(CLUSTER).await;
    let passes = async || {
        assert_eq!(world.upload(&token, &["up,_id=c1 1@0", "down,_id=c1 1@0", "flag,_id=c1 1@0"]).await.status, 200);
        world.stored()
    };
    let all = ["up,_id=c1 1@0", "down,_id=c1 1@0", "flag,_id=c1 1@0"];
    assert_eq!(passes().await, all, "both flags add up");

    for bad in ["up\n{__name__=~\"(\"}\n", "{a=}\n"] {
        std::fs::write(&file, bad).unwrap();
        let told = world.reload().await;
        assert_eq!(told.status, 500, "{bad}");
        assert!(told.body.starts_with("not reloaded, the old configuration stays: --whitelist-file "), "{told:?}");
        assert_eq!(told.body.lines().count(), 1, "{told:?}");
        assert_eq!(passes().await, all, "{bad}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(world.reload().await.status, 500, "no file");
    assert_eq!(passes().await, all);

    std::fs::write(&file, "down\n").unwrap();
    assert_eq!(world.reload().await.status, 200);
    assert_eq!(passes().await, all[1..]);
}

#[tokio::test]
async fn a_bad_rule_is_no_start() {
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
async fn required_labels_are_told_and_asked_for() {
    let required = |rules: &mut config::RuleSettings| rules.required_labels = pairs(&[("env", "prod")]);
    check(required, &["up,_id=c1,env=prod 1@0"], &["up,_id=c1,env=prod 1@0"]).await;
    let world = TestServer::with(|config| required(&mut config.rules)).await;
    let labels = world.authorize(CLUSTER, "secret").await.json()["labels"].clone();
    assert_eq!(labels, serde_json::json!({"_id": "c1", "env": "prod"}));
    let token = world.token(CLUSTER).await;
    for series in ["up,_id=c1 1@0", "up,_id=c1,env= 1@0", "up,_id=c1,env=test 1@0", "up,_id=c1,env=prod,env=prod 1@0"] {
        for told in [world.upload(&token, &[series]).await, world.receive(CLUSTER, &[series]).await] {
            assert_eq!(told.status, 400, "{series}");
            assert!(told.body.contains("\"env\"") && !told.body.contains("prod"), "{series}: {told:?}");
        }
    }
}

#[tokio::test]
async fn the_partition_label_may_have_another_name() {
    let world = TestServer::with(|config| config.partition_label = "cluster".to_owned()).await;
    assert_eq!(world.authorize("c1", "secret").await.json()["labels"], serde_json::json!({"cluster": "c1"}));
    let token = world.token("c1").await;
    for (series, status) in [("up,cluster=c1 1@0", 200), ("up,_id=c1 1@0", 400), ("up,cluster=c2 1@0", 400)] {
        assert_eq!(world.upload(&token, &[series]).await.status, status, "{series}");
        assert_eq!(world.receive("c1", &[series]).await.status, status, "{series}");
    }
    assert_eq!(world.stored(), ["up,cluster=c1 1@0"; 2]);
}

#[tokio::test]
async fn presence_lets_a_delegate_send_for_others() {
    let world = TestServer::with(|config| config.receive_identity = ReceiveIdentity::Presence).await;
    for (series, status) in [("up,_id=c2 1@0", 200), ("up,_id=c1 1@0", 200), ("up 1@0", 400), ("up,_id= 1@0", 400)] {
        assert_eq!(world.receive("c1", &[series]).await.status, status, "{series}");
    }
    let token = world.token("c1").await;
    assert_eq!(world.upload(&token, &["up,_id=c2 1@0"]).await.status, 400, "an upload is its own cluster's");
}

#[tokio::test]
async fn an_upload_keeps_the_newest_and_gets_our_time() {
    let world = TestServer::new().await;
    let token = world.token(CLUSTER).await;
    let series = ["up,_id=c1 1@-9000", "up,_id=c1,a=b 5@-8000", "up,_id=c1 2@-7000", "b,_id=c1 3@4000"];
    for delimited in [false, true] {
        let told =
            if delimited { world.upload_delimited(&token, &series).await } else { world.upload(&token, &series).await };
        assert_eq!(told.status, 200);
        assert_eq!(world.stored(), ["up,_id=c1,a=b 5@0", "up,_id=c1 2@0", "b,_id=c1 3@0"]);
    }
}

#[tokio::test]
async fn remote_write_keeps_its_times_and_all_its_samples() {
    let series = ["up,_id=c1 1@-9999999999 2@-5 3@600000", "up,_id=c1 4@7"];
    let world = TestServer::new().await;
    assert_eq!(world.receive(CLUSTER, &series).await.status, 200);
    assert_eq!(world.stored(), series);
}

/// A series with all that remote write 1.0 has.
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
    let world = TestServer::new().await;
    let timeseries = vec![rich("up,_id=c1,a=b"), rich("down,_id=c1")];
    let plain = body::WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec();
    assert_eq!(world.send(world.receive_of(CLUSTER, body::block(&plain))).await.status, 200);
    assert_eq!(body::plain_block(&world.store.take()[0].body), plain);
}

#[tokio::test]
async fn histograms_and_exemplars_ride_along_a_change() {
    let world = TestServer::with(|config| {
        config.rules.labels = pairs(&[("region", "eu")]);
        config.rules.elide_labels = texts(&["pod"]);
        config.rules.whitelist = texts(&["up"]);
    })
    .await;
    let timeseries = vec![rich("down,_id=c1"), rich("up,_id=c1,pod=p,z=1")];
    let metadata = vec![body::Metadata { kind: 1, family: "up".to_owned(), ..body::Metadata::default() }];
    let plain = body::WriteRequest { timeseries, metadata }.encode_to_vec();
    assert_eq!(world.send(world.receive_of(CLUSTER, body::block(&plain))).await.status, 200);
    let stored = body::WriteRequest::decode(&*body::plain_block(&world.store.take()[0].body)).unwrap();
    let expected = body::WriteRequest { timeseries: vec![rich("up,_id=c1,region=eu,z=1")], metadata: Vec::new() };
    assert_eq!(stored.encode_to_vec(), expected.encode_to_vec());
}

#[tokio::test]
async fn the_store_is_told_what_it_gets() {
    let world = TestServer::with(|config| config.rules.whitelist = texts(&["up"])).await;
    world.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
    let asked = world.store.take();
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

/// What reaches the store of this block, as it stands there.
async fn forwarded(world: &TestServer, block: Vec<u8>) -> Vec<u8> {
    let told = world.send(world.receive_of(CLUSTER, block)).await;
    assert_eq!(told.status, 200, "{told:?}");
    let [asked] = <[_; 1]>::try_from(world.store.take()).unwrap_or_else(|_| panic!("one request to the store"));
    asked.body.to_vec()
}

#[tokio::test]
async fn a_remote_write_that_no_rule_changes_goes_on_as_it_came() {
    let world = TestServer::with(|config| config.rules.whitelist = texts(&["up", "down"])).await;
    let all: Vec<String> = (0..40).map(|at| format!("up,_id=c1,pod=some-long-name-of-a-pod-{at} 1@0")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let message = |series: &[&str]| body::write_request(series);
    // In two halves that know nothing of each other: an encoder of ours would not write it so.
    let halves = |front: Vec<u8>, back: Vec<u8>| {
        let mut joined = Vec::new();
        let halves = [body::block(&front), body::block(&back)];
        telemeter_wire::snappy::join_blocks(halves.iter().map(Vec::as_slice), &mut joined).unwrap();
        joined
    };
    let sent = halves(message(&all[..20]), message(&all[20..]));
    assert_ne!(sent, body::block(&message(&all)));
    assert_eq!(forwarded(&world, sent.clone()).await, sent);
    // Where something was left out, what is left is written anew.
    let filtered = halves(message(&all[..20]), message(&["other,_id=c1 1@0"]));
    assert_eq!(forwarded(&world, filtered).await, body::block(&message(&all[..20])));
    let metadata = vec![0x1a, 0x04, 0x12, 0x02, b'u', b'p'];
    let described = halves(message(&all[..20]), metadata);
    assert_eq!(forwarded(&world, described).await, body::block(&message(&all[..20])));
    // Nor is a block passed on that is larger than what it holds.
    let plain = message(&all[..1]);
    let literal = [&[plain.len() as u8, 60 << 2, plain.len() as u8 - 1][..], &plain].concat();
    assert!(plain.len() < 0x80 && plain.len() > 60);
    assert_eq!(forwarded(&world, literal).await, body::block(&plain));
}

#[tokio::test]
async fn names_are_escaped_for_a_store_of_the_old_alphabet() {
    use telemeter_wire::exposition::Escaping;
    // Behind the whitelist, which sees the names that came; and the labels of the operator, too.
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
        let world = TestServer::with(|config| rules(escaping)(&mut config.rules)).await;
        let token = world.token(CLUSTER).await;
        let mut labels = [name.to_owned(), "_id=c1".to_owned(), format!("{label}=a.b")];
        // The metric's name stands where `__name__` is sorted.
        labels.sort_by_key(|label| if label == name { "__name__".to_owned() } else { label.clone() });
        let expected = ["up,_id=c1 1@0".to_owned(), format!("{} 2@0", labels.join(","))];
        for way in ["delimited", "receive"] {
            let told = match way {
                "delimited" => world.upload_delimited(&token, &series).await,
                _ => world.receive(CLUSTER, &series).await,
            };
            assert_eq!((told.status, world.stored()), (200, expected.to_vec()), "{way}: {told:?}");
        }
    }
}

#[tokio::test]
async fn series_that_would_become_one_are_refused() {
    use telemeter_wire::exposition::Escaping;
    let world = TestServer::with(|config| config.rules.escaping = Some(Escaping::Underscores)).await;
    let token = world.token(CLUSTER).await;
    let series = ["a.b,_id=c1 1@0", "a_b,_id=c1 2@0"];
    for told in [world.upload_delimited(&token, &series).await, world.receive(CLUSTER, &series).await] {
        assert_eq!(told.status, 400, "{told:?}");
        let expected = "two series would become one with escaped names: a.b{_id} and a_b{_id}";
        assert!(told.body.contains(expected), "{told:?}");
        assert!(world.store.take().is_empty());
    }
    // A store that takes UTF-8 names gets both.
    let world = TestServer::new().await;
    assert_eq!(world.receive(CLUSTER, &series).await.status, 200);
    assert_eq!(world.stored(), series);
}
