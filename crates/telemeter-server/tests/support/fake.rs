//! A fake of a service that the server calls: it gives the answers that a test sets, and records the requests.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use parking_lot::Mutex;
use telemeter_http::{
    body,
    listen::{self, ListenLimits},
};

/// One request that it received.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub(crate) struct FakeAnswer {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: String,
    delay: Duration,
}

impl FakeAnswer {
    /// A response with this status, and a body that no caller of the server may read.
    pub(crate) fn of(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self { status, headers: Vec::new(), body: "UPSTREAM says so".to_owned(), delay: Duration::ZERO }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).expect("a status"), ..self }
    }

    pub(crate) fn body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

type AnswerFn = Arc<dyn Fn(&ReceivedRequest) -> FakeAnswer + Send + Sync>;

/// A server that answers every request with one function. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FakeServer {
    shared: Arc<Inner>,
    address: SocketAddr,
}

struct Inner {
    say: Mutex<AnswerFn>,
    asked: Mutex<Vec<ReceivedRequest>>,
}

impl FakeServer {
    pub(crate) async fn start(say: impl Fn(&ReceivedRequest) -> FakeAnswer + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Inner { say: Mutex::new(Arc::new(say)), asked: Mutex::default() });
        let listener = listen::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(listen::serve(listener, router, ListenLimits::default(), std::future::pending()));
        Self { shared, address }
    }

    pub(crate) fn url(&self) -> url::Url {
        format!("http://{}/asked", self.address).parse().expect("a URL")
    }

    /// Sets the function that answers requests from now on.
    pub(crate) fn says(&self, say: impl Fn(&ReceivedRequest) -> FakeAnswer + Send + Sync + 'static) {
        *self.shared.say.lock() = Arc::new(say);
    }

    /// Sets one response for all requests from now on.
    pub(crate) fn answers(&self, answer: FakeAnswer) {
        self.says(move |_| answer.clone());
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.shared.asked.lock())
    }

    /// How many requests it received since the last call of `take`.
    pub(crate) fn count(&self) -> usize {
        self.shared.asked.lock().len()
    }
}

async fn answer(State(shared): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = Vec::new();
    body::read(body, 64 << 20, Duration::from_secs(20), &mut bytes).await.expect("a whole body");
    let asked = ReceivedRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: bytes,
    };
    let say = shared.say.lock().clone();
    let answer = say(&asked);
    shared.asked.lock().push(asked);
    tokio::time::sleep(answer.delay).await;
    let mut response = (answer.status, answer.body).into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(HeaderName::from_static(name), value.parse().expect("a header"));
    }
    response
}

/// The answer of an authority that approves every token.
pub(crate) fn approve(asked: &ReceivedRequest) -> FakeAnswer {
    let question: serde_json::Value = serde_json::from_slice(&asked.body).expect("JSON");
    let cluster = question["cluster_id"].as_str().expect("a cluster");
    let body = serde_json::json!({"cluster_id": cluster, "account_id": format!("account of {cluster}")});
    FakeAnswer::of(201).header("content-type", "application/json").body(body.to_string())
}
