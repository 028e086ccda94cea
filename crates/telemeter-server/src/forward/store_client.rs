//! The client of the store: builds a remote-write request, sends it with our access token, and interprets the answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use telemeter_auth::{
    Secret,
    oidc::{SendError, TokenSource},
};
use telemeter_http::client::{Answer, Outbound, OutboundError, OutboundRequest};
use telemeter_wire::remote_write::v2::Contents;
use url::Url;

use super::{
    StoreOutcome,
    batch::WaitingCaller,
    join::Joiner,
    negotiation::Negotiation,
    queue::WaitingRequest,
    scheduler::OutcomeKind,
    verdict::{V2Support, failure_of, outcome_of, outcome_of_v2, v2_support},
};
use crate::protocol::{CONTENT_TYPE_V2, MEDIA_TYPE, Protocol};

const TENANT: HeaderName = HeaderName::from_static("thanos-tenant");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
/// How long a request may wait for a connection and for an access token, before the deadline of its answer begins.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// The largest size of an answer, in bytes: only its status, headers and an excerpt of its body are used.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends batches to the store.
pub(super) struct StoreClient {
    url: Url,
    /// The headers of a request, by version of remote write.
    headers: [HeaderMap; 2],
    outbound: Outbound,
    token: Option<TokenSource>,
    negotiation: Negotiation,
    joiner: Joiner,
}

impl StoreClient {
    /// Sends to `url` through `outbound`, with this tenant, and with an access token where there is a `token` source.
    ///
    /// # Errors
    /// Where the tenant is not a valid header value.
    pub(super) fn new(
        url: Url,
        tenant: Option<&str>,
        outbound: Outbound,
        token: Option<TokenSource>,
        negotiation: Negotiation,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        if let Some(tenant) = tenant {
            let tenant =
                HeaderValue::from_str(tenant).map_err(|_| "--tenant-id cannot stand in a header".to_owned())?;
            headers.insert(TENANT, tenant);
        }
        let joiner = Joiner::new(negotiation.metrics().receive_start_timestamps_dropped.clone());
        Ok(Self {
            url,
            headers: Protocol::ALL.map(|protocol| with_version(&headers, protocol)),
            outbound,
            token,
            negotiation,
            joiner,
        })
    }

    /// The version of remote write that the store gets now.
    pub(super) fn protocol(&self) -> Protocol {
        self.negotiation.protocol()
    }

    /// Sends these messages as one request. `deadline` counts from when there is a connection, because the time to
    /// connect shows nothing about the data. Where the answer shows that the store does not support 2.0 and the mode is
    /// `auto`, the same messages are sent again as 1.0.
    pub(super) async fn send(
        &self,
        batch: &[WaitingRequest<WaitingCaller>],
        deadline: Duration,
    ) -> (StoreOutcome, OutcomeKind) {
        let protocol = self.protocol();
        let (answer, sent) = match self.send_as(protocol, batch, deadline).await {
            Ok(answered) => answered,
            Err(failed) => return failed,
        };
        let ((answer, token), is_v2) = (answer, protocol == Protocol::V2);
        if !is_v2 {
            return outcome_of(&answer, token.as_ref());
        }
        let understood = match v2_support(&answer) {
            // This store is known to support 2.0, so it refuses the data.
            V2Support::Maybe if self.negotiation.is_confirmed() => V2Support::Yes,
            understood => understood,
        };
        match understood {
            V2Support::Yes => self.negotiation.confirm(),
            V2Support::Maybe | V2Support::No if self.negotiation.falls_back() => {
                return self.send_again(batch, deadline, &answer, understood).await;
            }
            _ => {}
        }
        outcome_of_v2(&answer, token.as_ref(), &sent)
    }

    /// Sends the messages again as 1.0, after the store did not accept them as 2.0. Where the data may have been the
    /// cause, it was the cause if the store refuses them as 1.0 too.
    async fn send_again(
        &self,
        batch: &[WaitingRequest<WaitingCaller>],
        deadline: Duration,
        answer: &Answer,
        understood: V2Support,
    ) -> (StoreOutcome, OutcomeKind) {
        let status = answer.status.as_u16();
        let cause = match status {
            400 | 415 => format!("it answered {status}"),
            _ => format!("it answered {status} without a X-Prometheus-Remote-Write-*-Written header"),
        };
        if understood == V2Support::No {
            self.negotiation.fall_back(&cause);
        }
        let (outcome, meaning) = match self.send_as(Protocol::V1, batch, deadline).await {
            Ok(((answer, token), _)) => outcome_of(&answer, token.as_ref()),
            Err(failed) => failed,
        };
        if understood == V2Support::Maybe && meaning == OutcomeKind::Accepted {
            self.negotiation.fall_back(&cause);
        }
        (outcome, meaning)
    }

    /// Sends these messages as one request of this version; returns the store's answer with the access token that was
    /// sent, and how many samples, histograms and exemplars the request held.
    async fn send_as(
        &self,
        protocol: Protocol,
        batch: &[WaitingRequest<WaitingCaller>],
        deadline: Duration,
    ) -> Result<((Answer, Option<Secret>), Contents), (StoreOutcome, OutcomeKind)> {
        let messages = batch.iter().map(|request| &request.item.message);
        let (body, sent) = self
            .joiner
            .join(messages, protocol)
            .map_err(|error| (StoreOutcome::unavailable(None, error.to_string()), OutcomeKind::Failed))?;
        let sending = self.send_with_token(protocol, body, deadline);
        match tokio::time::timeout(CONNECTION_WAIT + deadline, sending).await {
            Ok(Ok(answered)) => Ok((answered, sent)),
            Ok(Err(error)) => Err(failure_of(&error)),
            Err(_) => Err((StoreOutcome::unavailable(None, "no answer within the deadline"), OutcomeKind::Failed)),
        }
    }

    /// Returns the store's answer, and the access token that was sent with the request.
    async fn send_with_token(
        &self,
        protocol: Protocol,
        body: Bytes,
        deadline: Duration,
    ) -> Result<(Answer, Option<Secret>), SendError> {
        let Some(source) = &self.token else {
            let answer = self.post(protocol, &body, None, deadline).await;
            return answer.map(|answer| (answer, None)).map_err(SendError::Outbound);
        };
        let (body, sent) = (&body, &Mutex::new(None));
        let answer = source
            .send(|token| async move {
                let answer = self.post(protocol, body, Some(&token), deadline).await;
                *sent.lock() = Some(token);
                answer
            })
            .await?;
        Ok((answer, sent.lock().take()))
    }

    /// Posts a body in this protocol, with the token if there is one. It is sent once more where the store closed a
    /// kept connection without an answer. Any status is an answer, and not an error.
    async fn post(
        &self,
        protocol: Protocol,
        body: &Bytes,
        token: Option<&Secret>,
        deadline: Duration,
    ) -> Result<Answer, OutboundError> {
        let headers = &self.headers[protocol as usize];
        let request = || {
            let request = OutboundRequest::post(self.url.clone()).with_headers(headers.clone()).with_body(body.clone());
            let request = request.with_timeout(deadline);
            let Some(token) = token else { return Ok(request) };
            let with_token = request.with_bearer(token.expose());
            with_token.map_err(|_| OutboundError::Setup("our token cannot stand in a header".to_owned()))
        };
        self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await
    }
}

/// Adds the headers that name the message type and the version. As the specification of 2.0 requires, 1.0 is sent
/// without the name of its message.
fn with_version(headers: &HeaderMap, protocol: Protocol) -> HeaderMap {
    let (content_type, version) = match protocol {
        Protocol::V1 => (MEDIA_TYPE, "0.1.0"),
        Protocol::V2 => (CONTENT_TYPE_V2, "2.0.0"),
    };
    let mut headers = headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VERSION, HeaderValue::from_static(version));
    headers
}
