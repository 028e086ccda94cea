//! Tests where the credentials are sent, in the header or in the body: it is found out as in Go's
//! `golang.org/x/oauth2`.

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn tries_the_body_next_and_remembers_what_succeeded() {
    let issuer = Issuer::start().await;
    issuer
        .answers(|request| match request.headers.contains_key("authorization") {
            true => ResponseTemplate::new(401).set_body_string(r#"{"error":"invalid_client"}"#),
            false => grant("in-the-body", &300.into()),
        })
        .await;
    let (source, clock) = issuer.source();
    assert_eq!(source.token().await, Ok("in-the-body".into()));
    let questions = issuer.questions("/token").await;
    assert_eq!(questions.len(), 2);
    let expected = [
        ("grant_type", "client_credentials"),
        ("audience", "the store"),
        ("client_id", "me & co"),
        ("client_secret", SECRET),
    ];
    assert_eq!(form(&questions[1]), pairs(&expected));
    clock.advance(Duration::from_secs(301));
    assert_eq!(source.token().await, Ok("in-the-body".into()));
    assert_eq!(issuer.questions("/token").await.len(), 3);
    assert_eq!(issuer.questions("/.well-known/openid-configuration").await.len(), 1);
}

/// A provider with a token endpoint that accepts credentials only in the body, and gives the answer `otherwise` to
/// those in the header.
async fn accepts_the_body(otherwise: ResponseTemplate) -> Issuer {
    let issuer = Issuer::start().await;
    issuer
        .answers(move |request| match request.headers.contains_key("authorization") {
            true => otherwise.clone(),
            false => grant("in-the-body", &300.into()),
        })
        .await;
    issuer
}

#[tokio::test]
async fn any_failure_with_the_header_makes_it_try_the_body() {
    let answer = ResponseTemplate::new;
    for otherwise in [
        answer(400).set_body_json(serde_json::json!({"error": "invalid_request"})),
        answer(401),
        answer(403),
        answer(404),
        answer(405),
        answer(429),
        answer(500),
        answer(302).insert_header("Location", "/login"),
        answer(200).set_body_json(serde_json::json!({"error": "invalid_client"})),
        answer(200).set_body_raw("<html>", "text/html"),
        answer(200).set_body_json(serde_json::json!({"access_token": "t", "token_type": "mac"})),
        answer(200).set_body_string("x".repeat(256 * 1024 + 1)),
    ] {
        let shown = format!("{otherwise:?}");
        let issuer = accepts_the_body(otherwise).await;
        assert_eq!(issuer.source().0.token().await, Ok("in-the-body".into()), "{shown}");
        assert_eq!(issuer.questions("/token").await.len(), 2, "{shown}");
    }
}

#[tokio::test]
async fn a_provider_that_asks_us_to_wait_is_not_asked_a_second_time() {
    for status in [429, 500, 503] {
        let issuer = accepts_the_body(ResponseTemplate::new(status).insert_header("Retry-After", "30")).await;
        let error = issuer.source().0.token().await.unwrap_err().to_string();
        assert!(error.contains(&status.to_string()), "{error}");
        assert_eq!(issuer.questions("/token").await.len(), 1, "{status}");
    }
}

#[tokio::test]
async fn both_answers_are_in_the_error() {
    let issuer = Issuer::start().await;
    let refusal =
        |status, error: &str| ResponseTemplate::new(status).set_body_json(serde_json::json!({"error": error}));
    let (first, second) = (refusal(401, "invalid_client"), refusal(400, "unauthorized_client"));
    issuer
        .answers(move |request| match request.headers.contains_key("authorization") {
            true => first.clone(),
            false => second.clone(),
        })
        .await;
    let error = issuer.source().0.token().await.unwrap_err();
    let reason = "the token endpoint answered with status 401: invalid_client; with the credentials in the body: \
                  the token endpoint answered with status 400: unauthorized_client";
    assert_eq!(error, unavailable(reason));
}

/// Each entry of the expected lists says whether that request had its credentials in the header.
#[tokio::test]
async fn a_method_that_succeeded_outlives_an_outage_but_not_a_refusal() {
    let issuer = Issuer::start().await;
    let next = Arc::new(Mutex::new(None));
    let status = next.clone();
    issuer
        .answers(move |request| match (request.headers.contains_key("authorization"), *status.lock()) {
            (_, Some(status)) => ResponseTemplate::new(status),
            (true, None) => ResponseTemplate::new(401),
            (false, None) => grant("in-the-body", &300.into()),
        })
        .await;
    let provider = Provider::new(config_of(&issuer.name()), outbound());
    let ask = async |status: Option<u16>, expected: bool| {
        *next.lock() = status;
        assert_eq!(provider.request_token().await.is_ok(), expected, "{status:?}");
        let questions = issuer.questions("/token").await;
        questions.iter().map(|question| question.headers.contains_key("authorization")).collect::<Vec<_>>()
    };
    assert_eq!(ask(None, true).await, [true, false]);
    assert_eq!(ask(Some(503), false).await, [true, false, false]);
    assert_eq!(ask(None, true).await, [true, false, false, false]);
    assert_eq!(ask(Some(401), false).await, [true, false, false, false, false]);
    assert_eq!(ask(None, true).await, [true, false, false, false, false, true, false], "both are tried again");
}

/// A provider on a plain TCP socket: it writes `answers` for a request with credentials in the header, then closes.
async fn raw_provider(answers: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("http://{}", listener.local_addr().unwrap());
    let (issuer, questions) = (name.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = questions.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (issuer, counted) = (issuer.clone(), counted.clone());
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
                let body = match request.starts_with("get ") {
                    true => serde_json::json!({"issuer": issuer, "token_endpoint": format!("{issuer}/token")}),
                    false => serde_json::json!({"access_token": "in-the-body"}),
                };
                let mut answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
                if request.starts_with("post ") {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                if request.contains("authorization: ") {
                    match answers {
                        Some(bytes) => answer = bytes.to_owned(),
                        None => {
                            // The answer is sent byte by byte, for longer than any caller waits.
                            for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
                                if stream.write_all(&[*byte]).await.is_err() {
                                    return;
                                }
                                tokio::time::sleep(Duration::from_millis(100)).await;
                            }
                        }
                    }
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (name, questions)
}

#[tokio::test]
async fn a_provider_that_closes_is_asked_in_the_body_and_one_that_is_slow_is_not() {
    for cut_off in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "SSH-2.0-nothing\r\n"] {
        let (name, questions) = raw_provider(Some(cut_off)).await;
        let issued = Provider::new(config_of(&name), outbound()).request_token().await.unwrap();
        assert_eq!(issued.token, "in-the-body".into(), "{cut_off:?}");
        assert!(questions.load(Ordering::Relaxed) >= 2, "{cut_off:?}");
    }
    let (name, questions) = raw_provider(None).await;
    let settings = OutboundConfig { timeout: Duration::from_secs(2), ..OutboundConfig::new("oauth") };
    let provider = Provider::new(config_of(&name), Outbound::new(settings, None).unwrap());
    let reason = provider.request_token().await.err().unwrap();
    assert!(reason.starts_with("the token endpoint: "), "{reason}");
    assert_eq!(questions.load(Ordering::Relaxed), 1);
}
