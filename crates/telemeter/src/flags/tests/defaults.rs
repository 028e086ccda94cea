//! The defaults, and the command line of a real deployment.

use super::*;

#[test]
fn defaults_are_the_contract_s() {
    let flags = server(&[]);
    let mut config = telemeter_server::Config::new(flags.authorization.clone());
    config.forward = flags.forward.clone();
    assert_eq!(flags.forward.as_ref().unwrap().tenant.as_deref(), Some("FB870BF3-9F3A-44FF-9BF7-D7A047A52F43"));
    assert!(matches!(&flags.authorization, AuthorizationMode::Authority(a) if a.stale == Duration::from_secs(3_600)));
    assert_eq!(format!("{flags:?}"), format!("{config:?}"));
    let memcached = MemcachedSettings {
        servers: vec!["m:1".into()],
        expire: Duration::from_secs(86_400),
        interval: Some(Duration::from_secs(10)),
    };
    assert_eq!(server(&["--memcached=m:1"]).memcached, Some(memcached));

    let flags = client(&[]);
    let config = telemeter_client::Config::new(flags.from.clone(), flags.to.clone(), "i");
    assert_eq!(format!("{flags:?}"), format!("{config:?}"));
    assert_eq!(flags.from.url.as_str(), "http://prometheus:9090/federate");
    assert_eq!(client(&["--rename="]).renames, config.renames, "as in Go");
    assert_eq!(client(&["--interval=0s"]).interval, config.interval, "as in Go");

    let flags = benchmark(BENCHMARK, &[]).unwrap();
    assert_eq!((flags.listen.as_deref(), flags.workers, flags.once), (Some("localhost:8080"), 1_000, false));
    assert_eq!(flags.interval, Duration::from_secs(270));
    let flags = benchmark(BENCHMARK, &["--clusters=1", "--authorize-all"]).unwrap().fleet.unwrap();
    assert_eq!((flags.duration, flags.connections), (Duration::from_secs(600), 256));

    let flags = quickstart(&[]).unwrap();
    assert_eq!((flags.from.is_none(), flags.store, flags.data_dir), (true, QuickstartStore::PrometheusOnPath, None));
    assert_eq!((flags.interval, flags.matches), (Duration::from_secs(10), vec![r#"{__name__!=""}"#.to_owned()]));
}

/// What the monitoring operator of a cluster passes.
#[test]
fn the_operator_s_deployment() {
    let mut typed = vec![
        "--id=9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11".to_owned(),
        "--from=https://prometheus-k8s.openshift-monitoring.svc:9091".to_owned(),
        "--tls-cert-file=/etc/tls/private/tls.crt".to_owned(),
        "--tls-private-key-file=/etc/tls/private/tls.key".to_owned(),
        "--from-ca-file=/etc/serving-certs-ca-bundle/service-ca.crt".to_owned(),
        "--from-token-file=/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned(),
        "--to=https://infogw.api.openshift.com/".to_owned(),
        "--to-token-file=/etc/telemeter/token".to_owned(),
        "--listen=localhost:8080".to_owned(),
        "--anonymize-salt-file=/etc/telemeter/salt".to_owned(),
        "--anonymize-labels=".to_owned(),
        "--limit-bytes=5242880".to_owned(),
    ];
    let selectors: Vec<String> = (0..211).map(|i| format!(r#"{{__name__="metric_{i}",a=~"x,y|z"}}"#)).collect();
    typed.extend(selectors.iter().map(|selector| format!("--match={selector}")));
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    let flags = client_flags(&[], &typed);
    assert!(flags.warnings().is_empty());
    let config = flags.config().unwrap();
    assert_eq!(config.id, "9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11");
    assert_eq!(config.from.url.as_str(), "https://prometheus-k8s.openshift-monitoring.svc:9091/federate");
    assert_eq!(config.from.identity.unwrap().cert_file, Path::new("/etc/tls/private/tls.crt"));
    assert_eq!(config.from.ca_file.unwrap(), Path::new("/etc/serving-certs-ca-bundle/service-ca.crt"));
    assert_eq!(
        file(config.from.token.as_ref().unwrap()),
        Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token")
    );
    assert_eq!(
        config.to.authorize.as_str(),
        "https://infogw.api.openshift.com/authorize?id=9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11"
    );
    assert_eq!(config.to.upload.as_str(), "https://infogw.api.openshift.com/upload");
    assert_eq!(file(&config.to.token), Path::new("/etc/telemeter/token"));
    assert_eq!(config.listen.as_deref(), Some("localhost:8080"));
    assert!(config.anonymize.is_none());
    assert_eq!(config.limit_bytes, 5_242_880);
    assert_eq!(config.matches, selectors);
    assert_eq!(config.renames, pairs(&[("ALERTS", "alerts")]));
}
