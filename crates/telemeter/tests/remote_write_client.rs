//! Tests `--protocol remote-write` against the real server in this process, from the flags to the series in the store.
#![allow(clippy::unwrap_used)]

use std::{ffi::OsString, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::header,
    routing::{get, post},
};
use parking_lot::Mutex;
use telemeter::{
    commands::{self, CommandLine},
    output::Printer,
};
use telemeter_auth::authority::mock;
use telemeter_http::{clock::Clock, listen};
use telemeter_server::{
    Config, RunningServer,
    config::{AuthoritySettings, AuthorizationMode, ForwardSettings},
};
use telemeter_wire::{Arena, DecodeLimits, SeriesSet, exposition::text, remote_write, snappy};

const TOKENS: &str = r#"[{"token":"a-token","clusters":[]}]"#;

async fn serve(router: Router) -> SocketAddr {
    let listener = listen::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()));
    address
}

/// A server with a whitelist, an authority, and a store that keeps what it receives.
struct ServerWithStore {
    server: RunningServer,
    stored: Arc<Mutex<Vec<Bytes>>>,
    /// The address of a Prometheus with a series that the whitelist allows, and one that it does not allow.
    source: SocketAddr,
    now_ms: i64,
}

impl ServerWithStore {
    async fn start() -> Self {
        let stored: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let keep = stored.clone();
        let take = move |body: Bytes| {
            keep.lock().push(body);
            std::future::ready(())
        };
        let store = serve(Router::new().route("/", post(take))).await;
        let authority = serve(mock::router(mock::tokens(TOKENS.as_bytes()).unwrap())).await;
        let now_ms = Clock::system().now_ms();
        let scrape = format!("up{{job=\"a\"}} 1 {}\nsecret 2 {now_ms}\n", now_ms - 30_000);
        let answer =
            move || std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], scrape.clone()));
        let source = serve(Router::new().route("/federate", get(answer))).await;
        let url = format!("http://{authority}/").parse().unwrap();
        let settings = AuthoritySettings { url, stale: Duration::from_secs(3600) };
        let mut config = Config::new(AuthorizationMode::Authority(settings));
        config.listen = "127.0.0.1:0".to_owned();
        config.listen_internal = "127.0.0.1:0".to_owned();
        config.rules.whitelist = vec!["up".to_owned()];
        config.forward = Some(ForwardSettings::new(format!("http://{store}/").parse().unwrap()));
        let server = RunningServer::start(config, Clock::system()).await.unwrap();
        Self { server, stored, source, now_ms }
    }

    /// Runs `telemeter client check`; returns its exit code and its output.
    async fn check(&self, token: &str, more: &[&str]) -> (ExitCode, String) {
        let (from, to) = (format!("--from=http://{}", self.source), format!("--to=http://{}", self.server.external()));
        let (token, base) = (format!("--to-token={token}"), ["telemeter", "client", "check"]);
        let flags = ["--protocol=remote-write", "--id=c1", "--match=up", "--match=secret", &from, &to, &token];
        let argv: Vec<OsString> = base.iter().chain(&flags).chain(more).map(Into::into).collect();
        let CommandLine::Command(command) = CommandLine::parse(None, commands::all, argv).unwrap() else {
            panic!("a program")
        };
        let (mut printer, written) = Printer::to_memory(None, false);
        let code = command.run(&mut printer).await.unwrap();
        (code, written.text())
    }

    /// Returns the series that the store received, in the text format.
    fn stored(&self) -> String {
        let mut all = String::new();
        for body in self.stored.lock().drain(..) {
            let mut plain = Vec::new();
            snappy::decode_block(&body, 1 << 20, &mut plain).unwrap();
            let (arena, mut out) = (Arena::new(), Vec::new());
            let mut set = SeriesSet::new_in(&arena);
            remote_write::decode(&plain, &DecodeLimits::default(), &mut set).unwrap();
            text::encode(&set, &mut out);
            all += std::str::from_utf8(&out).unwrap();
        }
        all
    }
}

#[tokio::test]
async fn series_pass_from_the_scrape_to_the_store_with_their_own_times() {
    let world = ServerWithStore::start().await;
    // The check only asks whether the receiver would accept the series.
    let (code, said) = world.check("a-token", &[]).await;
    assert!(code == ExitCode::SUCCESS && said.contains("the receiver takes the token"), "{said}");
    assert_eq!(world.stored(), "");
    let (code, said) = world.check("a-token", &["--send"]).await;
    assert!(code == ExitCode::SUCCESS && said.contains("200: 2 series in"), "{said}");
    let expected = format!("# TYPE up untyped\nup{{_id=\"c1\",job=\"a\"}} 1 {}\n", world.now_ms - 30_000);
    assert_eq!(world.stored(), expected);
}

#[tokio::test]
async fn a_token_that_the_authority_does_not_know_is_said() {
    let world = ServerWithStore::start().await;
    let (code, said) = world.check("wrong", &[]).await;
    assert_ne!(code, ExitCode::SUCCESS);
    assert!(said.contains("the receiver refused this cluster's token (401)"), "{said}");
    assert!(said.contains("/metrics/v1/receive"), "{said}");
}
