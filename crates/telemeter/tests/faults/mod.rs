//! Fake peers of a client or a server with a fault: programs that answer late, in pieces, or with invalid headers, or
//! with certificates that cannot be trusted.

use std::{net::SocketAddr, path::Path, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use telemeter_http::{
    clock::Clock,
    listen::{self, ListenLimits},
    tls::ListenerTls,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const ID: &str = "0a9c3e5f-7d21-4b8e-9f60-2c4d8a1b3e57";

/// One fault, and the command that reports it.
pub(crate) struct SetupFault {
    pub(crate) name: &'static str,
    /// The command, like `client check`.
    pub(crate) program: &'static [&'static str],
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) exit_code: i32,
    /// Whether the check succeeds with a warning.
    pub(crate) is_warning: bool,
}

/// The address of each program, and the files.
pub(crate) struct FaultStage {
    folder: tempfile::TempDir,
    prometheus: u16,
    page: u16,
    good: u16,
    good_tls: u16,
    self_signed: u16,
    unknown: u16,
    expired: u16,
    not_yet: u16,
    nginx: u16,
    refusing: u16,
    unknown_cluster: u16,
    login: u16,
    slow: u16,
    early: u16,
    failing: u16,
    filtering: u16,
    proxy: u16,
    closed: u16,
    store: u16,
    cache: u16,
}

impl FaultStage {
    pub(crate) async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
        write("token", b"a-secret-token\n");
        write("empty", b" \n");
        write("utf-16", b"\xff\xfea\0");
        write("no-roots.pem", b"");
        write("whitelist", b"up\n{__name__=\"up\"}\n{__name__=~\"cluster:.*\"}\n");
        write_certificates(folder.path());
        let tls = |name: &str| {
            let path = |end: &str| folder.path().join(format!("{name}.{end}"));
            Some(ListenerTls::load(path("crt"), path("key")).unwrap())
        };
        let telemeter = || telemeter(None, "received=1, kept=1, filtered=0, duplicates=0");
        Self {
            prometheus: serve(Router::new().route("/federate", get(scrape)), None).await,
            page: raw(&["HTTP/1.1 200 OK\r\nContent-Ty", "pe: text/html\r\nServer: grafana\r\n\r\n<html><ti", "tle>Grafana</title>"]).await,
            good: serve(telemeter(), None).await,
            good_tls: serve(telemeter(), tls("good")).await,
            self_signed: serve(telemeter(), tls("self-signed")).await,
            unknown: serve(telemeter(), tls("good")).await,
            expired: serve(telemeter(), tls("expired")).await,
            not_yet: serve(telemeter(), tls("not-yet")).await,
            nginx: raw(&[
                "HTTP/1.1 404 Not Found\r\nServer: nginx/1.25.3\r\nContent-Type: text/html\r\nX-Odd: \t\r\nConnection: close\r\n",
                "\r\n<html>\r\n<head><title>404 Not Fou",
                "nd</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n</body>\r\n</html>\r\n",
            ])
            .await,
            refusing: serve(answering(StatusCode::UNAUTHORIZED, "the authority does not know this token (request a1)\n"), None).await,
            unknown_cluster: serve(answering(StatusCode::NOT_FOUND, "the authority does not know this cluster (request a1)\n"), None).await,
            login: raw(&["HTTP/1.1 302 Found\r\nLocation: https://login.example/?next=1\r\nContent-Length: 0\r\n\r\n"]).await,
            slow: serve(Router::new().route("/authorize", post(async || tokio::time::sleep(Duration::from_secs(60)).await)), None).await,
            early: serve(dated(3600), None).await,
            failing: serve(answering(StatusCode::SERVICE_UNAVAILABLE, "who is calling cannot be found out now; try again later (request a1)\n"), None).await,
            filtering: serve(self::telemeter(None, "received=1, kept=0, filtered=1, duplicates=0"), None).await,
            proxy: raw(&["HTTP/1.1 403 Forbidden\r\n", "Via: squid\r\nContent-Length: 0\r\n\r\n"]).await,
            closed: closed(),
            store: serve(Router::new().route("/write", post(async || StatusCode::NO_CONTENT)), None).await,
            cache: closed(),
            folder,
        }
    }

    pub(crate) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder())
    }

    /// Returns each port, with the usual port of such a program.
    pub(crate) fn ports(&self) -> Vec<(u16, u16)> {
        let servers = [
            self.good,
            self.good_tls,
            self.self_signed,
            self.unknown,
            self.expired,
            self.not_yet,
            self.nginx,
            self.refusing,
            self.unknown_cluster,
            self.login,
            self.slow,
            self.early,
            self.failing,
            self.filtering,
            self.closed,
        ];
        let others =
            [(self.prometheus, 9090), (self.page, 3000), (self.proxy, 3128), (self.store, 19291), (self.cache, 11211)];
        servers.into_iter().map(|port| (port, 9003)).chain(others).collect()
    }

    pub(crate) fn faults(&self) -> Vec<SetupFault> {
        let client = |name, exit_code, to: String, more: &[&str]| SetupFault {
            name,
            program: &["client", "check"],
            arguments: [
                format!("--from=http://127.0.0.1:{}", self.prometheus),
                format!("--to={to}"),
                format!("--id={ID}"),
            ]
            .into_iter()
            .chain([format!("--to-token-file={}", self.path("token"))])
            .chain(more.iter().map(|argument| (*argument).to_owned()))
            .collect(),
            variables: Vec::new(),
            exit_code,
            is_warning: false,
        };
        let plain = |port: u16| format!("http://127.0.0.1:{port}");
        let https = |port: u16| format!("https://localhost:{port}");
        let ca = format!("--to-ca-file={}", self.path("ca.pem"));
        let all = format!("--to-ca-file={}", self.path("all.pem"));
        let proxied = SetupFault {
            variables: vec![("HTTPS_PROXY", format!("http://127.0.0.1:{}", self.proxy))],
            ..client("proxy-403", 13, "https://telemeter.example".to_owned(), &[])
        };
        let from = |name, exit_code, url: String, more: &[&str]| {
            let mut fault = client(name, exit_code, plain(self.good), more);
            fault.arguments[0] = format!("--from={url}");
            fault
        };
        let token = |name, file: &str| {
            let mut fault = client(name, 11, plain(self.good), &[]);
            fault.arguments[3] = format!("--to-token-file={}", self.path(file));
            fault
        };
        let server = |name, exit_code, more: Vec<String>| SetupFault {
            name,
            program: &["server", "check"],
            arguments: more,
            variables: Vec::new(),
            exit_code,
            is_warning: false,
        };
        let authority = |port: u16| format!("--authorize={}/question", plain(port));
        let store = |path: &str| format!("--forward-url={}/{path}", plain(self.store));
        let key = || format!("--shared-key={}", self.path("good.key"));
        let whitelist = || format!("--whitelist-file={}", self.path("whitelist"));
        let certificate = |name: &str| {
            [
                format!("--tls-crt={}", self.path(&format!("{name}.crt"))),
                format!("--tls-key={}", self.path(&format!("{name}.key"))),
            ]
        };
        vec![
            client("good", 0, https(self.good_tls), &[&ca]),
            client("good-send", 0, plain(self.good), &["--send"]),
            token("empty-token-file", "empty"),
            token("missing-token-file", "tokens"),
            token("utf-16-token-file", "utf-16"),
            client("unknown-name", 12, "https://telemeter.invalid".to_owned(), &["--timeout=5s"]),
            proxied,
            client("closed-port", 14, plain(self.closed), &[]),
            client("self-signed", 15, https(self.self_signed), &[]),
            client("unknown-authority", 15, https(self.unknown), &[]),
            client("expired", 15, https(self.expired), &[&all]),
            client("not-yet-valid", 15, https(self.not_yet), &[&all]),
            client("wrong-name", 15, format!("https://127.0.0.1:{}", self.good_tls), &[&ca]),
            client("http-behind-https", 15, https(self.good), &[]),
            client("https-behind-http", 21, plain(self.good_tls), &[]),
            from("html-metrics", 20, plain(self.page), &[]),
            from("too-large", 20, plain(self.prometheus), &["--limit-bytes=50"]),
            from("nothing-matched", 20, plain(self.prometheus), &["--match=no_such_metric"]),
            from("no-federate", 20, format!("http://127.0.0.1:{}/metrics", self.prometheus), &[]),
            client("clock", 16, plain(self.early), &[]),
            client("not-a-server", 21, plain(self.nginx), &[]),
            client("redirect", 21, plain(self.login), &[]),
            client("wrong-token", 21, plain(self.refusing), &[]),
            client("unknown-cluster", 21, plain(self.unknown_cluster), &[]),
            client("slow", 21, plain(self.slow), &["--timeout=1s"]),
            client("failing", 21, plain(self.failing), &[]),
            SetupFault { is_warning: true, ..client("whitelist", 0, plain(self.filtering), &["--send"]) },
            server(
                "good-server",
                0,
                [key(), whitelist(), authority(self.refusing), store("write")]
                    .into_iter()
                    .chain(certificate("good"))
                    .collect(),
            ),
            server(
                "server-certificate",
                31,
                [key(), authority(self.refusing), store("write")].into_iter().chain(certificate("expired")).collect(),
            ),
            server("server-store", 36, vec![key(), whitelist(), authority(self.refusing), store("api/v1/receive")]),
            server("server-authority", 34, vec![key(), whitelist(), authority(self.page), store("write")]),
            server(
                "server-memcached",
                35,
                vec![
                    key(),
                    whitelist(),
                    authority(self.refusing),
                    store("write"),
                    format!("--memcached=127.0.0.1:{}", self.cache),
                ],
            ),
        ]
    }
}

/// Writes certificates to files: an authority (`ca.pem`), its certificates for localhost, and a self-signed
/// certificate.
/// self-signed certificate.
fn write_certificates(folder: &Path) {
    {
        let now = Clock::system().now_ms() / 1000;
        let day = |days: i64| {
            let date = telemeter_http::date::rfc3339((now + days * 86_400) * 1000);
            let part = |range: std::ops::Range<usize>| date[range].parse::<u16>().unwrap();
            let small = |range| u8::try_from(part(range)).unwrap();
            rcgen::date_time_ymd(i32::from(part(0..4)), small(5..7), small(8..10))
        };
        let named = |name: &str, from: i64, until: i64| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            (params.not_before, params.not_after) = (day(from), day(until));
            params
        };
        let write = |name: &str, cert: &str, key: &rcgen::KeyPair| {
            std::fs::write(folder.join(format!("{name}.crt")), cert).unwrap();
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        };
        let mut authority = named("Example Internal CA", -10, 3650);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(authority.clone(), &authority_key);
        let ca = authority.self_signed(&authority_key).unwrap().pem();
        std::fs::write(folder.join("ca.pem"), &ca).unwrap();
        std::fs::write(folder.join("all.pem"), &ca).unwrap();
        for (name, from, until) in [("good", -1, 90), ("expired", -30, -2), ("not-yet", 2, 90)] {
            let key = rcgen::KeyPair::generate().unwrap();
            write(name, &named("telemeter", from, until).signed_by(&key, &issuer).unwrap().pem(), &key);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        write("self-signed", &named("telemeter.example", -1, 90).self_signed(&key).unwrap().pem(), &key);
    }
}

async fn serve(router: Router, tls: Option<ListenerTls>) -> u16 {
    let mut listener = listen::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    if let Some(tls) = tls {
        listener = listener.with_tls(tls);
    }
    tokio::spawn(listen::serve(listener, router, ListenLimits::default(), std::future::pending()));
    address.port()
}

/// Returns a port on which no program listens.
fn closed() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server that answers every request with these bytes, piece after piece, and closes the connection.
async fn raw(pieces: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(answer(stream, pieces));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, pieces: &[&str]) {
    let mut asked = Vec::new();
    while !asked.windows(4).any(|part| part == b"\r\n\r\n") {
        match stream.read_buf(&mut asked).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    for piece in pieces {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if stream.write_all(piece.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

async fn scrape() -> impl IntoResponse {
    let now_ms = Clock::system().now_ms();
    let text = format!("# TYPE up untyped\nup{{job=\"prometheus\"}} 1 {}\n", now_ms - 15_000);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// A fake telemeter server that accepts all uploads, or gives uploads this answer.
fn telemeter(upload: Option<StatusCode>, counts: &'static str) -> Router {
    let grant = || {
        serde_json::json!({"version": 1, "token": "granted", "expiresInSeconds": 86_400, "labels": {"_id": ID}})
            .to_string()
    };
    let upload = upload.unwrap_or(StatusCode::OK);
    Router::new()
        .route("/authorize", post(async move || grant()))
        .route("/upload", post(async move || (upload, [("telemeter-series", counts)])))
}

fn answering(status: StatusCode, text: &'static str) -> Router {
    Router::new().route("/", get(async || "ok")).fallback(async move || (status, text))
}

/// A fake telemeter server with a clock that is this many seconds ahead.
fn dated(ahead_secs: u64) -> Router {
    let date = move || {
        let then = std::time::UNIX_EPOCH
            + Duration::from_millis(Clock::system().now_ms().unsigned_abs())
            + Duration::from_secs(ahead_secs);
        httpdate::fmt_http_date(then)
    };
    telemeter(None, "received=1, kept=1, filtered=0, duplicates=0").layer(axum::middleware::map_response(
        move |mut response: axum::response::Response| {
            let date = date();
            async move {
                response.headers_mut().insert(header::DATE, date.parse().unwrap());
                response
            }
        },
    ))
}
