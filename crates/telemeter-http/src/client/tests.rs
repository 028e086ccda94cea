use super::*;

fn wait(retry_after_value: &'static str, date: Option<&'static str>) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static(retry_after_value));
    if let Some(date) = date {
        headers.insert(header::DATE, http::HeaderValue::from_static(date));
    }
    // The number is 1994-11-06 08:49:30 UTC in milliseconds.
    retry_after(&headers, 784_111_770_000)
}

#[test]
fn retry_after_takes_seconds_and_dates() {
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(wait("120", None), seconds(120));
    assert_eq!(wait(" 0 ", None), seconds(0));
    assert_eq!(wait("99999999999999999999999", None), Some(MAX_RETRY_AFTER));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", None), seconds(7));
    assert_eq!(wait("Sunday, 06-Nov-94 08:49:37 GMT", None), seconds(7));
    assert_eq!(wait("Sun Nov  6 08:49:37 1994", None), seconds(7));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT", None), seconds(0));
    // The peer's clock is an hour behind ours.
    assert_eq!(wait("Sun, 06 Nov 1994 07:49:37 GMT", Some("Sun, 06 Nov 1994 07:49:07 GMT")), seconds(30));
    for nonsense in ["", "-1", "1.5", "soon", "+3"] {
        assert_eq!(wait(nonsense, None), None, "{nonsense}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), 0), None);
}

#[test]
fn a_missing_or_wrong_file_is_named() {
    let mut config = OutboundConfig::new("test");
    config.ca_file = Some("/nowhere/ca.pem".into());
    let error = Outbound::new(config.clone(), None).expect_err("no such file").to_string();
    assert!(error.starts_with("/nowhere/ca.pem cannot be read: "), "{error}");

    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing here").expect("written");
    config.ca_file = Some(empty.clone());
    let error = Outbound::new(config, None).expect_err("no certificate").to_string();
    assert_eq!(error, format!("{} holds no certificate in PEM that can be used", empty.display()));
}

#[test]
fn an_identity_must_be_a_pair() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        let (cert_file, key_file) =
            (folder.path().join(format!("{name}.crt")), folder.path().join(format!("{name}.key")));
        std::fs::write(&cert_file, made.cert.pem()).expect("written");
        std::fs::write(&key_file, made.signing_key.serialize_pem()).expect("written");
        CertificateFiles { cert_file, key_file }
    };
    let (one, two) = (pair("one"), pair("two"));
    let mut config = OutboundConfig::new("test");
    config.identity = Some(one.clone());
    Outbound::new(config.clone(), None).expect("a pair");
    let (cert_file, key_file) = (one.cert_file.display().to_string(), two.key_file.display().to_string());
    config.identity = Some(CertificateFiles { cert_file: one.cert_file, key_file: two.key_file });
    let error = Outbound::new(config, None).expect_err("no pair").to_string();
    assert_eq!(error, format!("{key_file} is not the key of {cert_file}"));
}

#[test]
fn a_proxy_variable_that_is_none_ends_the_start() {
    let mut config = OutboundConfig::new("test");
    config.proxy = ProxyUse::FromVariables(vec![("HTTPS_PROXY".to_owned(), "socks4://user:hunter2@proxy".to_owned())]);
    assert!(!format!("{config:?}").contains("hunter"), "{config:?}");
    let error = Outbound::new(config, None).expect_err("no proxy");
    assert_eq!(error.to_string(), "HTTPS_PROXY has a scheme that is none of http, https, socks5 and socks5h");
}

#[tokio::test]
async fn a_refused_connection_names_no_secret() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let outbound = Outbound::new(OutboundConfig::new("test"), None).expect("built");
    let url = format!("http://user:hunter2@127.0.0.1:{port}/path?token=hunter3");
    let request = OutboundRequest::get(url.parse().expect("a URL"));
    let error = outbound.send(request, 10).await.expect_err("refused");
    assert!(matches!(error, OutboundError::Connect(_)), "{error:?}");
    let expected = format!(
        "cannot connect to http://127.0.0.1:{port}/path: connecting to 127.0.0.1:{port}: Connection refused (reached directly)"
    );
    assert_eq!(error.to_string(), expected);
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("hunter"), "{text}");
    }
}
