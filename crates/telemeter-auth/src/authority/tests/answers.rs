//! Tests the questions to the authority, and how each of its answers is understood.
use super::*;

#[tokio::test]
async fn asks_in_both_shapes() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = authority(&fake_authority);
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, approved("acct", false));
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));

    let requests = fake_authority.0.received_requests().await.unwrap();
    let registration: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    let expected = serde_json::json!({"cluster_id": "c-1", "authorization_token": "hunter2", "account_id": ""});
    assert_eq!(registration, expected);
    assert_eq!(requests[1].body, COMPOSITE.as_bytes(), "the composite token itself, byte for byte");
    for request in requests {
        assert_eq!(request.method.as_str(), "POST");
        assert_eq!(request.url.path(), "/accounts");
        assert_eq!(request.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn a_refusal_has_its_status() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = authority(&fake_authority);
    for status in [400, 401, 403, 404, 409, 410, 418, 422] {
        fake_authority.says(ResponseTemplate::new(status)).await;
        assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, refused(status));
        assert_eq!(authority.receive(ORIGIN, &composite()).await, refused(status));
    }
    fake_authority.says(ResponseTemplate::new(429).insert_header("Retry-After", "7")).await;
    let limited = |seconds| Err(Error::RateLimited { retry_after: Duration::from_secs(seconds) });
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, limited(300));
    assert_eq!(authority.receive(ORIGIN, &composite()).await, limited(7));
    fake_authority.says(ResponseTemplate::new(429).insert_header("Retry-After", "400")).await;
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, limited(400));
    fake_authority.says(ResponseTemplate::new(429)).await;
    assert_eq!(authority.receive(ORIGIN, &composite()).await, limited(60));
}

#[tokio::test]
async fn everything_else_is_unavailability() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = authority(&fake_authority);
    let json = |body: &str| ResponseTemplate::new(200).set_body_raw(body.to_owned(), "application/json");
    let html = |status| ResponseTemplate::new(status).set_body_raw("<p>{}", "text/HTML; charset=utf-8");
    let redirect = ResponseTemplate::new(302).insert_header("Location", fake_authority.0.uri());
    for (answer, reason) in [
        (ResponseTemplate::new(500), "status 500"),
        (ResponseTemplate::new(503), "status 503"),
        (redirect, "status 302 (a redirect to http://"),
        (ResponseTemplate::new(204), "status 204"),
        (html(200), "HTML and status 200"),
        (html(403), "HTML and status 403"),
        (html(404), "HTML and status 404"),
        (json(""), "not JSON"),
        (json("[]"), "not JSON"),
        (json("{\"account_id\":\"a\"} x"), "not JSON"),
        (json("{\"account_id\":7}"), "not JSON"),
        (json("{\"account_id\":\"a\",\"account_id\":\"b\"}"), "not JSON"),
        (json("{}"), "no account"),
        (json("{\"account_id\":\"\"}"), "no account"),
        (json("{\"account_id\":null}"), "no account"),
        (json("{\"account_id\":\"a\",\"cluster_id\":\"c-2\"}"), "another cluster"),
        (json("{\"account_id\":\"a\",\"cluster_id\":\"\"}"), "another cluster"),
        (json(&format!("{{\"account_id\":\"{}\"}}", "a".repeat(MAX_ANSWER_BYTES))), "longer than 32768 bytes"),
    ] {
        fake_authority.says(answer).await;
        check_unavailable(authority.register(ORIGIN, &token(), "c-1").await, reason);
        check_unavailable(authority.receive(ORIGIN, &composite()).await, reason);
    }
    let dates = [("Date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("Retry-After", "Sun, 06 Nov 1994 08:49:16 GMT")];
    let as_date = ResponseTemplate::new(500).append_headers(dates);
    for (answer, expected) in [
        (ResponseTemplate::new(503).insert_header("Retry-After", "9"), Some(9)),
        (ResponseTemplate::new(500).insert_header("Retry-After", "9"), Some(9)),
        (ResponseTemplate::new(504).insert_header("Retry-After", "100000"), Some(3600)),
        (as_date, Some(9)),
        (html(503).insert_header("Retry-After", "9"), Some(9)),
        (html(200).insert_header("Retry-After", "9"), None),
        (ResponseTemplate::new(302).insert_header("Retry-After", "9"), None),
        (ResponseTemplate::new(502), None),
    ] {
        fake_authority.says(answer).await;
        let outcome = authority.receive(ORIGIN, &composite()).await;
        let Err(Error::AuthorityUnavailable { retry_after, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn it_may_leave_out_the_cluster_and_answer_201() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = authority(&fake_authority);
    fake_authority.says(ResponseTemplate::new(201).set_body_string(r#"{"account_id":"a"}"#)).await;
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("a", false));
}

#[tokio::test]
async fn slow_or_absent_is_unavailable() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(approval("acct").set_delay(10 * SECOND)).await;
    let (slow, _) = authority_of(AuthorityConfig { deadline: SECOND / 5, ..fake_authority.config() }, None);
    let start = Instant::now();
    let expected = format!("no answer from {}/accounts within 200 ms (reached directly)", fake_authority.0.uri());
    check_unavailable(slow.receive(ORIGIN, &composite()).await, &expected);
    assert!(start.elapsed() < 3 * SECOND);

    let unbound = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (absent, _) = authority_of(AuthorityConfig::new(format!("http://{unbound}/").parse().unwrap()), None);
    check_unavailable(absent.register(ORIGIN, &token(), "c-1").await, &format!("cannot connect to http://{unbound}/"));
}

#[tokio::test]
async fn a_slow_name_server_is_no_lasting_outage() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(approval("acct")).await;
    let address = *fake_authority.0.address();
    let resolver = Resolver::new(move |_, _| async move {
        tokio::time::sleep(SECOND / 2).await;
        Ok(vec![address])
    });
    let outbound = OutboundConfig { resolver, connection_wait: SECOND / 5, ..OutboundConfig::new("authorize") };
    let outbound = Outbound::new(outbound, None).unwrap();
    let config = AuthorityConfig::new("http://authority.test/accounts".parse().unwrap());
    let authority = Authority::new(config, outbound, Clock::fixed(NOW_MS).0, None, None);
    check_unavailable(authority.receive(ORIGIN, &composite()).await, "still looking up authority.test, which goes on");
    let mut tries = 0;
    while let Err(error) = authority.receive(ORIGIN, &composite()).await {
        tries += 1;
        assert!(tries < 50, "{error}");
    }
}

/// An authority that reads a request and never answers it, or that answers one byte at a time without end.
async fn raw_authority(is_piecemeal: bool) -> AuthorityConfig {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    if is_piecemeal {
                        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n";
                        for byte in head.iter().chain(std::iter::repeat_n(&b' ', 9_000)) {
                            stream.write_all(&[*byte]).await?;
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    AuthorityConfig { deadline: SECOND / 2, ..AuthorityConfig::new(format!("http://{address}/").parse().unwrap()) }
}

#[tokio::test]
async fn an_authority_that_hangs_or_answers_piecemeal_is_unavailable_at_the_deadline() {
    for is_piecemeal in [false, true] {
        let (authority, _) = authority_of(raw_authority(is_piecemeal).await, None);
        let start = Instant::now();
        check_unavailable(authority.receive(ORIGIN, &composite()).await, " within 500 ms");
        assert!(start.elapsed() >= SECOND / 2 && start.elapsed() < 8 * SECOND, "{:?}", start.elapsed());
    }
}
