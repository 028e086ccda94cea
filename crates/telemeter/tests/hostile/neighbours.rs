//! Runs the authority and the store of the server; the test sets how they answer.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use telemeter_wire::{
    DecodeLimits, remote_write,
    series::{Arena, SeriesSet},
    snappy,
};
use tokio::net::TcpListener;

use crate::payload::GOOD_TOKEN;

/// The prefix of the IDs of the attackers' clusters.
pub(crate) const HOSTILE: &str = "hostile";
const MAX_BODY_BYTES: usize = 64 << 20;
/// How long a request hangs: longer than any deadline of the server.
const HANG: Duration = Duration::from_secs(600);

/// How a store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFailure {
    /// It closes the connection without an answer.
    Closes,
    /// It never answers.
    Hangs,
    /// It answers with this status.
    Answers(u16),
}

/// A store that counts the requests that it accepts.
#[derive(Default)]
pub(crate) struct CountingStore {
    /// The failure for requests with data of a hostile cluster.
    pub(crate) on_hostile_data: Mutex<Option<StoreFailure>>,
    /// The failure for all requests.
    pub(crate) on_all: Mutex<Option<StoreFailure>>,
    pub(crate) taken: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl CountingStore {
    pub(crate) async fn start() -> (Arc<Self>, SocketAddr) {
        let store = Arc::new(Self::default());
        let serving = store.clone();
        let address = serve(move |request| {
            let store = serving.clone();
            async move { store.answer(request).await }
        })
        .await;
        (store, address)
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let block = read(request).await?;
        let failure = (*self.on_all.lock()).or_else(|| (*self.on_hostile_data.lock()).filter(|_| has_hostile(&block)));
        let Some(failure) = failure else {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return Ok(answer(StatusCode::NO_CONTENT, Bytes::new()));
        };
        self.failed.fetch_add(1, Ordering::Relaxed);
        match failure {
            StoreFailure::Closes => Err(io::Error::other("closed on purpose")),
            StoreFailure::Hangs => {
                tokio::time::sleep(HANG).await;
                Err(io::Error::other("nobody waits any more"))
            }
            StoreFailure::Answers(status) => {
                let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
                Ok(answer(status, Bytes::from_static(b"no")))
            }
        }
    }
}

/// Whether a request contains a series of a hostile cluster.
fn has_hostile(block: &[u8]) -> bool {
    let mut message = Vec::new();
    if snappy::decode_block(block, MAX_BODY_BYTES, &mut message).is_err() {
        return false;
    }
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    if remote_write::decode(&message, &DecodeLimits::default(), &mut set).is_err() {
        return false;
    }
    set.iter().any(|series| series.label("_id").is_some_and(|cluster| cluster.starts_with(HOSTILE)))
}

/// An authority that knows one token.
#[derive(Default)]
pub(crate) struct OneTokenAuthority {
    /// How long it waits before it refuses a token that it does not know.
    pub(crate) refuses_after: Mutex<Duration>,
    /// Whether it never answers.
    pub(crate) hangs: Mutex<bool>,
    /// The number of questions, by cluster.
    pub(crate) asked: Mutex<HashMap<String, u64>>,
}

impl OneTokenAuthority {
    pub(crate) async fn start() -> (Arc<Self>, SocketAddr) {
        let authority = Arc::new(Self::default());
        let serving = authority.clone();
        let address = serve(move |request| {
            let authority = serving.clone();
            async move { authority.answer(request).await }
        })
        .await;
        (authority, address)
    }

    /// Returns the number of questions about a cluster.
    pub(crate) fn questions(&self, cluster: &str) -> u64 {
        self.asked.lock().get(cluster).copied().unwrap_or(0)
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let body = read(request).await?;
        let question: serde_json::Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
        let text = |name: &str| question.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let (cluster, token) = (text("cluster_id"), text("authorization_token"));
        *self.asked.lock().entry(cluster.clone()).or_default() += 1;
        if *self.hangs.lock() {
            tokio::time::sleep(HANG).await;
        }
        if token != GOOD_TOKEN {
            let pause = *self.refuses_after.lock();
            tokio::time::sleep(pause).await;
            return Ok(answer(StatusCode::UNAUTHORIZED, Bytes::from_static(b"{}")));
        }
        let account = format!("account-of-{cluster}");
        let body = serde_json::json!({"cluster_id": cluster, "authorization_token": token, "account_id": account});
        Ok(answer(StatusCode::OK, body.to_string().into()))
    }
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::new(body)).expect("an answer")
}

async fn read(request: Request<Incoming>) -> io::Result<Bytes> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await.map_err(io::Error::other)?;
    Ok(body.to_bytes())
}

/// Starts a server on a free port; it runs as long as the runtime. An error of `answer` closes the connection.
async fn serve<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(answer);
                // The connection ends when the server under test closes it, or when `answer` fails.
                let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}
