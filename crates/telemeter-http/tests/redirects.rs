//! Tests of redirects: they are followed where the configuration says so, and credentials are not sent to other hosts.
#![allow(clippy::unwrap_used)]

mod support;

use axum::Router;
use axum::routing::get;
use telemeter_http::client::{OpenAnswer, Outbound, OutboundError, OutboundRequest, Redirects};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::time::timeout;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use support::{SOON, Serving, outbound, write_pair};

fn following() -> Outbound {
    outbound(|config| config.redirects = Redirects::Follow)
}

async fn redirect(server: &MockServer, from: &str, status: u16, to: &str) {
    let answer = ResponseTemplate::new(status).insert_header("location", to);
    Mock::given(method("GET")).and(path(from)).respond_with(answer).mount(server).await;
}

async fn metrics(server: &MockServer, at: &str) {
    let answer = ResponseTemplate::new(200).set_body_string("up 1\n");
    Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(server).await;
}

async fn open(outbound: &Outbound, url: &str) -> Result<OpenAnswer, OutboundError> {
    let request = OutboundRequest::get(url.parse().unwrap()).with_bearer("hunter2").unwrap();
    timeout(SOON, outbound.open(request, 1000)).await.expect("bounded")
}

async fn body(mut opened: OpenAnswer) -> String {
    let mut body = Vec::new();
    while let Some(chunk) = opened.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).unwrap()
}

/// Whether each of the requests carried our token.
async fn tokens(server: &MockServer) -> Vec<bool> {
    let requests = server.received_requests().await.unwrap();
    requests.iter().map(|request| request.headers.contains_key("authorization")).collect()
}

#[tokio::test]
async fn each_kind_is_followed_on_the_same_host_with_our_token() {
    for status in [301, 302, 303, 307, 308] {
        let server = MockServer::start().await;
        redirect(&server, "/federate", status, "/federate/?match%5B%5D=up").await;
        metrics(&server, "/federate/").await;
        let opened = open(&following(), &format!("{}/federate", server.uri())).await.unwrap();
        assert_eq!(opened.status, 200);
        assert_eq!(opened.url().query(), Some("match%5B%5D=up"));
        assert_eq!(body(opened).await, "up 1\n");
        assert_eq!(tokens(&server).await, [true, true], "{status}");
    }
}

#[tokio::test]
async fn another_host_sees_no_token_and_neither_does_the_way_back() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);
    // Two names of one machine count as two hosts.
    let other_uri = other.uri().replace("127.0.0.1", "localhost");
    redirect(&server, "/", 302, &format!("{other_uri}/there")).await;
    redirect(&other, "/there", 302, &format!("{}/back", server.uri())).await;
    metrics(&server, "/back").await;
    let opened = open(&following(), &server.uri()).await.unwrap();
    assert_eq!(body(opened).await, "up 1\n");
    assert_eq!(tokens(&other).await, [false]);
    assert_eq!(tokens(&server).await, [true, false], "once gone, it stays gone");
}

#[tokio::test]
async fn from_http_to_https_of_the_same_host() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let answer = |headers: http::HeaderMap| async move {
        headers.get("authorization").map_or("no token", |_| "with a token").to_owned()
    };
    let router = Router::new().route("/federate", get(answer));
    let secure = Serving::start(router, Some(ListenerTls::load(&cert, &key).unwrap()), ListenLimits::default()).await;
    let plain = MockServer::start().await;
    let to = format!("https://localhost:{}/federate", secure.address.port());
    redirect(&plain, "/federate", 301, &to).await;
    let outbound = outbound(|config| {
        config.redirects = Redirects::Follow;
        config.ca_file = Some(cert.clone());
    });
    let from = format!("{}/federate", plain.uri().replace("127.0.0.1", "localhost"));
    assert_eq!(body(open(&outbound, &from).await.unwrap()).await, "with a token");
}

#[tokio::test]
async fn a_loop_ends_and_names_where_it_led() {
    let server = MockServer::start().await;
    redirect(&server, "/a", 302, "/b?token=hunter3").await;
    redirect(&server, "/b", 302, "/a").await;
    let error = open(&following(), &format!("{}/a", server.uri())).await.expect_err("a loop");
    let uri = server.uri();
    assert_eq!(error.to_string(), format!("stopped after 10 redirects: the last led from {uri}/b to {uri}/a"));
    assert_eq!(error.kind(), "redirect");
    assert_eq!(server.received_requests().await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_target_that_fails_is_named_and_so_is_who_led_there() {
    let server = MockServer::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    redirect(&server, "/", 302, &format!("http://user:hunter3@{address}/x?token=hunter4")).await;
    let error = open(&following(), &server.uri()).await.expect_err("nobody is there").to_string();
    assert!(error.starts_with(&format!("cannot connect to http://{address}/x: ")), "{error}");
    assert!(error.ends_with(&format!("; {}/ redirected there", server.uri())), "{error}");
    assert!(!error.contains("hunter"), "{error}");
}

#[tokio::test]
async fn what_points_nowhere_is_an_answer_or_an_error() {
    let server = MockServer::start().await;
    Mock::given(path("/none")).respond_with(ResponseTemplate::new(302)).mount(&server).await;
    redirect(&server, "/not-modified", 304, "/elsewhere").await;
    redirect(&server, "/file", 302, "file:///etc/passwd").await;
    redirect(&server, "/bad", 302, "http://[::1").await;
    let outbound = following();
    let at = |path: &str| format!("{}{path}", server.uri());
    assert_eq!(open(&outbound, &at("/none")).await.unwrap().status, 302);
    assert_eq!(open(&outbound, &at("/not-modified")).await.unwrap().status, 304);
    let error = open(&outbound, &at("/file")).await.expect_err("no HTTP").to_string();
    assert!(error.ends_with("/file redirects to file:///etc/passwd, which is no URL of http or https"), "{error}");
    let error = open(&outbound, &at("/bad")).await.expect_err("no URL").to_string();
    assert!(error.ends_with("/bad redirects to something that is no URL"), "{error}");
}

#[tokio::test]
async fn where_it_is_not_followed_the_answer_names_its_target() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);
    redirect(&server, "/", 307, &format!("{}/x?token=hunter3", other.uri())).await;
    let outbound = outbound(|_| ());
    let answer = outbound.send(OutboundRequest::get(server.uri().parse().unwrap()), 1000).await.unwrap();
    let target = format!("{}/x", other.uri());
    assert_eq!(answer.redirect.as_deref(), Some(target.as_str()));
    assert_eq!(answer.status_words(), format!("307 (a redirect to {target}, which is not followed)"));
    assert_eq!(open(&outbound, &server.uri()).await.unwrap().redirect_target(), Some(target));
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_deadline_is_for_all_of_them_together() {
    let server = MockServer::start().await;
    let slow = std::time::Duration::from_millis(400);
    let answer = ResponseTemplate::new(302).insert_header("location", "/").set_delay(slow);
    Mock::given(path("/")).respond_with(answer).mount(&server).await;
    let outbound = outbound(|config| {
        config.redirects = Redirects::Follow;
        config.timeout = std::time::Duration::from_secs(1);
    });
    let error = open(&outbound, &server.uri()).await.expect_err("too late");
    assert_eq!(error.kind(), "timeout", "{error}");
}
