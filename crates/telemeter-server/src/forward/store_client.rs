//! The client of the store: builds a remote-write request, sends it with our token, and reads what the answer means.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use telemeter_auth::{
    Secret,
    oidc::{SendError, TokenSource},
};
use telemeter_http::{
    body::BufferPool,
    client::{Answer, Outbound, OutboundError, OutboundRequest, excerpt},
};
use telemeter_wire::snappy;
use url::Url;

use super::{StoreOutcome, StoreRefusal, batch::WaitingCaller, queue::WaitingRequest, scheduler::OutcomeKind};

const TENANT: HeaderName = HeaderName::from_static("thanos-tenant");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
/// How long a request may wait for a connection, and again for a token, before the clock of its answer begins.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// A store's answer has nothing to say but its status.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends batches to the store.
pub(super) struct StoreClient {
    url: Url,
    headers: HeaderMap,
    outbound: Outbound,
    token: Option<TokenSource>,
    buffers: BufferPool,
}

impl StoreClient {
    /// Sends to `url` through `outbound`, with this tenant, and with a token where there is a source of them.
    ///
    /// # Errors
    /// Where the tenant cannot stand in a header.
    pub(super) fn new(
        url: Url,
        tenant: Option<&str>,
        outbound: Outbound,
        token: Option<TokenSource>,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
        if let Some(tenant) = tenant {
            let tenant =
                HeaderValue::from_str(tenant).map_err(|_| "--tenant-id cannot stand in a header".to_owned())?;
            headers.insert(TENANT, tenant);
        }
        Ok(Self { url, headers, outbound, token, buffers: BufferPool::new(8, 4 << 20) })
    }

    /// Sends these messages as one request. `deadline` is for an answer on a connection: what the making of a connection
    /// takes says nothing of the data.
    pub(super) async fn send(
        &self,
        batch: &[WaitingRequest<WaitingCaller>],
        deadline: Duration,
    ) -> (StoreOutcome, OutcomeKind) {
        let body = match self.join(batch) {
            Ok(body) => body,
            Err(error) => return (StoreOutcome::unavailable(None, error.to_string()), OutcomeKind::Failed),
        };
        match tokio::time::timeout(CONNECTION_WAIT + deadline, self.send_with_token(body, deadline)).await {
            Ok(Ok((answer, token))) => outcome_of(&answer, token.as_ref()),
            Ok(Err(error)) => failure_of(&error),
            Err(_) => (StoreOutcome::unavailable(None, "no answer within the deadline"), OutcomeKind::Failed),
        }
    }

    /// The store's answer, and the token that it was sent with.
    async fn send_with_token(&self, body: Bytes, deadline: Duration) -> Result<(Answer, Option<Secret>), SendError> {
        let Some(source) = &self.token else {
            return self.post(&body, None, deadline).await.map(|answer| (answer, None)).map_err(SendError::Outbound);
        };
        let (body, sent) = (&body, &Mutex::new(None));
        let answer = source
            .send(|token| async move {
                let answer = self.post(body, Some(&token), deadline).await;
                *sent.lock() = Some(token);
                answer
            })
            .await?;
        Ok((answer, sent.lock().take()))
    }

    fn join(&self, batch: &[WaitingRequest<WaitingCaller>]) -> Result<Bytes, telemeter_wire::Error> {
        if let [single] = batch {
            return Ok(single.item.message.block.clone());
        }
        let mut joined = self.buffers.take();
        snappy::join_blocks(batch.iter().map(|request| &request.item.message.block[..]), &mut joined)?;
        Ok(joined.freeze())
    }

    async fn post(&self, body: &Bytes, token: Option<&Secret>, deadline: Duration) -> Result<Answer, OutboundError> {
        let request = || {
            let request =
                OutboundRequest::post(self.url.clone()).with_headers(self.headers.clone()).with_body(body.clone());
            let request = request.with_timeout(deadline);
            let Some(token) = token else { return Ok(request) };
            let with_token = request.with_bearer(token.expose());
            with_token.map_err(|_| OutboundError::Setup("our token cannot stand in a header".to_owned()))
        };
        self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await
    }
}

/// The store's rows of the status table, and what each says of the data. `token` is ours: the store may repeat it, and
/// nobody is to read it.
fn outcome_of(answer: &Answer, token: Option<&Secret>) -> (StoreOutcome, OutcomeKind) {
    let status = answer.status;
    let said = || excerpt(&answer.headers, &answer.body, token.map(Secret::expose).as_slice());
    let cause = || match said() {
        said if said.is_empty() => format!("it answered {}", answer.status_words()),
        said => format!("it answered {}: {said}", answer.status_words()),
    };
    match status.as_u16() {
        200..=299 => (StoreOutcome::Taken(status), OutcomeKind::Taken),
        400 | 409 | 413 | 422 => {
            (StoreOutcome::Refused(StoreRefusal { status, said: said().into() }), OutcomeKind::Refused)
        }
        // What asks us to wait is busy. A 503 that does not may come from a proxy whose store broke on the data.
        429 | 500..=599 => {
            let retry_after = answer.asks_to_wait();
            let is_busy = status == StatusCode::TOO_MANY_REQUESTS || retry_after.is_some();
            let outcome = StoreOutcome::Unavailable { status: Some(status), cause: cause().into(), retry_after };
            (outcome, if is_busy { OutcomeKind::Unrelated } else { OutcomeKind::Failed })
        }
        _ => (StoreOutcome::unavailable(Some(status), cause()), OutcomeKind::Failed),
    }
}

fn failure_of(error: &SendError) -> (StoreOutcome, OutcomeKind) {
    match error {
        SendError::NoToken(error) => (StoreOutcome::unavailable(None, error.to_string()), OutcomeKind::Unrelated),
        SendError::TokenRefused => (
            StoreOutcome::unavailable(Some(StatusCode::UNAUTHORIZED), "it refuses our token (401)"),
            OutcomeKind::Unrelated,
        ),
        SendError::Outbound(
            error @ (OutboundError::Connect(_) | OutboundError::ConnectTimeout(_) | OutboundError::Setup(_)),
        ) => (StoreOutcome::unavailable(None, error.to_string()), OutcomeKind::Unreachable),
        SendError::Outbound(error) => (StoreOutcome::unavailable(None, error.to_string()), OutcomeKind::Failed),
    }
}
