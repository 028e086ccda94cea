//! Tests of how outbound connections are made and kept, with slow name servers and silent peers.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::{Router, extract::Request, routing::get};
use telemeter_http::client::{Answer, Outbound, OutboundConfig, OutboundError, OutboundRequest, Resolver};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use support::{SOON, Serving, limits, outbound, write_pair};

/// A simple server that passes each connection to `serve`, and counts connections.
async fn server<A>(serve: impl Fn(TcpStream) -> A + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>)
where
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (address, count)
}

/// Reads one request without a body; returns false at the end of the connection.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Responds to one request after the other.
async fn answer_all(mut stream: TcpStream) {
    while read_head(&mut stream).await {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    }
}

/// A resolver that returns this address for every name, after a delay, and the counter of its lookups.
fn slow_resolver(address: SocketAddr, takes: Duration) -> (Resolver, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let resolver = Resolver::new(move |_name, _port| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(takes).await;
            Ok(vec![address])
        }
    });
    (resolver, count)
}

async fn ask(outbound: &Outbound, url: &str) -> Result<Answer, OutboundError> {
    timeout(2 * SOON, outbound.send(OutboundRequest::get(url.parse().unwrap()), 1000)).await.expect("bounded")
}

#[tokio::test]
async fn a_lookup_that_outlasts_its_call_serves_the_next() {
    let (address, connections) = server(answer_all).await;
    let (resolver, lookups) = slow_resolver(address, Duration::from_millis(700));
    let outbound = outbound(|config| {
        config.resolver = resolver;
        config.connection_wait = Duration::from_millis(250);
    });
    let error = ask(&outbound, "http://store.test/write?token=hunter2").await.expect_err("too slow for the first");
    assert!(matches!(error, OutboundError::ConnectTimeout(_)), "{error:?}");
    let expected = "cannot connect to http://store.test/write: no connection within 250 ms: still looking up store.test, \
                    which goes on (reached directly)";
    assert_eq!(error.to_string(), expected);
    let mut failures = 1;
    while ask(&outbound, "http://store.test/write").await.is_err() {
        failures += 1;
        assert!(failures < 100, "it never comes");
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 1, "all waited for the same lookup");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_nobody_waits_for_any_more_is_kept_for_the_next_call() {
    // The same holds where connections are not kept after their response, as for the scrape.
    for keep_alive in [true, false] {
        let (address, connections) = server(answer_all).await;
        let (resolver, lookups) = slow_resolver(address, Duration::from_millis(300));
        let outbound = outbound(|config| {
            config.resolver = resolver;
            config.connection_wait = Duration::from_millis(100);
            config.keep_alive = keep_alive;
        });
        ask(&outbound, "http://store.test/").await.expect_err("too slow for the first");
        while connections.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(200)).await;
        assert_eq!(ask(&outbound, "http://store.test/").await.unwrap().body, "ok");
        assert_eq!((lookups.load(Ordering::SeqCst), connections.load(Ordering::SeqCst)), (1, 1));
    }
}

#[tokio::test]
async fn the_clock_of_the_answer_starts_with_the_connection() {
    let (address, _) = server(answer_all).await;
    let (resolver, _) = slow_resolver(address, Duration::from_millis(1500));
    let outbound = outbound(|config| {
        config.resolver = resolver;
        config.timeout = Duration::from_millis(1000);
    });
    assert_eq!(ask(&outbound, "http://store.test/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_request_can_have_a_deadline_of_its_own() {
    let (address, _) = server(|mut stream| async move {
        read_head(&mut stream).await;
        sleep(Duration::from_secs(60)).await;
    })
    .await;
    let outbound = outbound(|config| config.timeout = Duration::from_secs(60));
    let url = format!("http://{address}/slow");
    let request = OutboundRequest::get(url.parse().unwrap()).with_timeout(Duration::from_millis(200));
    let error = timeout(SOON, outbound.send(request, 10)).await.expect("bounded").expect_err("too late");
    assert_eq!(error.to_string(), format!("no answer from {url} within 200 ms (reached directly)"));
    assert_eq!(error.kind(), "timeout");
}

#[tokio::test]
async fn all_of_a_connection_has_one_deadline() {
    let resolver = Resolver::new(|_, _| std::future::pending());
    let outbound = outbound(|config| {
        config.resolver = resolver;
        config.connect_timeout = Duration::from_millis(200);
    });
    let error = ask(&outbound, "http://store.test/").await.expect_err("no name server");
    assert!(matches!(error, OutboundError::ConnectTimeout(_)), "{error:?}");
    let expected = "cannot connect to http://store.test/: no connection within 200 ms: still looking up store.test \
                    (reached directly)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_handshake_has_a_deadline_of_its_own() {
    let (address, _) = server(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let outbound = outbound(|config| config.handshake_timeout = Duration::from_millis(200));
    let error = ask(&outbound, &format!("https://{address}/")).await.expect_err("it says nothing");
    let expected = format!(
        "cannot connect to https://{address}/: the TLS handshake with 127.0.0.1 was not done within 200 ms (reached directly)"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind(), "timeout");
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_hangs_up_is_told_apart() {
    let (plain, _) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        sleep(Duration::from_secs(5)).await;
    })
    .await;
    let (gone, _) = server(|stream| async move { drop(stream) }).await;
    let outbound = outbound(|_| ());
    let error = ask(&outbound, &format!("https://{plain}/")).await.expect_err("no TLS").to_string();
    assert!(error.contains(": TLS handshake with 127.0.0.1: the answer is not TLS: "), "{error}");
    let error = ask(&outbound, &format!("https://{gone}/")).await.expect_err("nobody").to_string();
    assert!(error.contains(": TLS handshake with 127.0.0.1: "), "{error}");
}

#[tokio::test]
async fn many_calls_do_not_make_many_connections_at_a_time() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let resolver = Resolver::new(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let outbound = outbound(|config| {
        config.resolver = resolver;
        config.connection_wait = Duration::from_millis(300);
    });
    for _ in 0..3 {
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let outbound = outbound.clone();
                tokio::spawn(async move { ask(&outbound, "http://store.test/").await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().expect_err("no name server");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 16, "those that were begun go on, and no others are");
}

#[tokio::test]
async fn every_caller_hears_of_a_connection_that_fails() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let outbound = outbound(|_| ());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let outbound = outbound.clone();
            tokio::spawn(async move { ask(&outbound, &format!("http://{address}/")).await })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap().expect_err("nobody is there");
        assert!(error.to_string().contains(&format!("connecting to {address}: Connection refused")), "{error}");
        assert_eq!(error.kind(), "connect");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_or_not_as_it_was_asked_for() {
    for (keep_alive, expected) in [(true, 1), (false, 5)] {
        let (address, connections) = server(answer_all).await;
        let outbound = outbound(|config| config.keep_alive = keep_alive);
        for _ in 0..5 {
            assert_eq!(ask(&outbound, &format!("http://{address}/")).await.unwrap().body, "ok");
        }
        assert_eq!(connections.load(Ordering::SeqCst), expected, "keep_alive: {keep_alive}");
    }
}

/// The same of HTTP/2, on which several requests could be sent at once; a connection that is not kept is closed.
#[tokio::test]
async fn an_http2_connection_is_used_again_or_not_as_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let router = Router::new().route("/", get(async |request: Request| format!("{:?}", request.version())));
    let patient = ListenLimits { handshake_timeout: SOON, header_timeout: SOON, idle_timeout: 2 * SOON, ..limits() };
    let serving = Serving::start(router, Some(ListenerTls::load(&cert, &key).unwrap()), patient).await;
    let target = serving.address;
    for (keep_alive, one_by_one, at_once) in [(true, 1, 1), (false, 5, 10)] {
        let closed = Arc::new(AtomicUsize::new(0));
        let counter = closed.clone();
        let (address, connections) = server(move |mut stream| {
            let counter = counter.clone();
            async move {
                let mut to = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await;
        let outbound = outbound(|config| (config.keep_alive, config.ca_file) = (keep_alive, Some(cert.clone())));
        let url = format!("https://{address}/");
        for _ in 0..5 {
            assert_eq!(ask(&outbound, &url).await.unwrap().body, "HTTP/2.0");
        }
        assert_eq!(connections.load(Ordering::SeqCst), one_by_one, "keep_alive: {keep_alive}");
        let answers = futures_util::future::join_all((0..5).map(|_| ask(&outbound, &url))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.body == "HTTP/2.0")));
        assert_eq!(connections.load(Ordering::SeqCst), at_once, "keep_alive: {keep_alive}");
        let all_closed = async {
            while closed.load(Ordering::SeqCst) < at_once {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if !keep_alive {
            timeout(SOON, all_closed).await.expect("each is closed after its answer");
        }
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    let (address, _) = server(move |stream| {
        let counter = counter.clone();
        async move {
            answer_all(stream).await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let outbound = outbound(|_| ());
    ask(&outbound, &format!("http://{address}/")).await.unwrap();
    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        sleep(Duration::from_millis(200)).await;
    };
    pass(60).await;
    assert_eq!(closed.load(Ordering::SeqCst), 0, "it is kept for a while");
    pass(60).await;
    for _ in 0..100 {
        if closed.load(Ordering::SeqCst) == 1 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it is still open");
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_meanwhile_fails_no_call() {
    // The server responds to one request on each connection, and does not announce that it closes.
    let (address, connections) = server(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let outbound = outbound(|_| ());
    for _ in 0..5 {
        assert_eq!(ask(&outbound, &format!("http://{address}/")).await.unwrap().body, "ok");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_where() {
    let (address, _) = server(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello").await;
    })
    .await;
    let error = ask(&outbound(|_| ()), &format!("http://{address}/federate")).await.expect_err("half an answer");
    assert_eq!(error.kind(), "broken");
    let error = error.to_string();
    assert!(
        error.starts_with(&format!("the answer of http://{address}/federate broke off after 5 bytes: ")),
        "{error}"
    );
    assert!(error.ends_with(" (reached directly)"), "{error}");
}

#[tokio::test]
async fn a_peer_that_closes_without_an_answer_is_named() {
    let (address, _) = server(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let error = ask(&outbound(|_| ()), &format!("http://{address}/")).await.expect_err("no answer").to_string();
    assert!(error.starts_with(&format!("no answer from http://{address}/: ")), "{error}");
}

#[tokio::test]
async fn the_making_of_a_connection_ends_with_the_process_not_with_the_call() {
    // A runtime that ends while a connection is being made must not hang or panic.
    let ended = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let config = OutboundConfig {
                resolver: Resolver::new(|_, _| std::future::pending()),
                connection_wait: Duration::from_millis(50),
                ..OutboundConfig::new("test")
            };
            let outbound = Outbound::new(config, None).unwrap();
            ask(&outbound, "http://store.test/").await.expect_err("no name server");
        });
        drop(runtime);
    });
    let start = std::time::Instant::now();
    while !ended.is_finished() {
        assert!(start.elapsed() < SOON, "it hangs");
        sleep(Duration::from_millis(10)).await;
    }
    ended.join().unwrap();
}

#[tokio::test]
async fn no_url_of_another_kind_is_asked_for() {
    let error = ask(&outbound(|_| ()), "ftp://user:hunter2@host/").await.expect_err("no HTTP");
    assert_eq!(error.to_string(), "ftp://host/ is no URL of http or https");
}
