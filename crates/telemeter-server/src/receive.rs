//! `POST /metrics/v1/receive`: remote write from a cluster's own Prometheus.

use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode, header};
use telemeter_auth::{bearer, composite_token};
use telemeter_http::body::{BodyError, Buffer};
use telemeter_rules::{Refusal, Report};
use telemeter_wire::{Error as WireError, SeriesSet, remote_write, snappy};

use crate::{
    error::Error,
    forward::Message,
    gateway::{Gateway, Workspace, Write, asker, limits, single},
    metrics::Route,
};

/// Decompressed, a request may be this many times its cap on compressed bytes.
const MAX_RATIO: usize = 16;

/// `POST /metrics/v1/receive`. The comment on a step is the status that its failure answers with.
///
/// # Errors
/// See there.
pub(crate) async fn receive(State(gateway): State<Gateway>, request: Request) -> Result<StatusCode, Error> {
    let answer = admit(&gateway, request).await;
    if let Err(error) = &answer {
        count(&gateway, error);
    }
    answer
}

async fn admit(gateway: &Gateway, request: Request) -> Result<StatusCode, Error> {
    gateway.enter()?; // 503
    let token = composite_token::decode(bearer::token(request.headers())?)?; // 401, 400
    if let Some(tollbooth) = &gateway.tollbooth {
        tollbooth.receive(asker(&request), &token).await?; // its own 4xx, or 503
    }
    if gateway.log_tenant {
        tracing::debug!(tenant = token.cluster_id(), "receive");
    }
    take(gateway, request, token.cluster_id()).await
}

async fn take(gateway: &Gateway, request: Request, cluster: &str) -> Result<StatusCode, Error> {
    check_headers(request.headers())?; // 415
    let _permit = gateway.begin(cluster)?; // 503
    let body = gateway.read(request, cluster, gateway.limit_receive_bytes).await?; // 413, 400, 503
    let plain_bytes = snappy::announced_len(&body).min(gateway.limit_receive_bytes.saturating_mul(MAX_RATIO));
    let write = gateway.workspaces.with(plain_bytes, |workspace| judge(gateway, workspace, body, cluster)); // 413, 400, 503
    gateway.deliver(Route::receive, cluster, write?).await // what the store said, or 503
}

/// Remote write 1.0 has one Content-Type and one Content-Encoding; a sender that says neither means them.
fn check_headers(headers: &HeaderMap) -> Result<(), Error> {
    let content_type = single(headers, &header::CONTENT_TYPE)?.unwrap_or("application/x-protobuf");
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf")) {
        return Err(Error::Unsupported("the Content-Type is not application/x-protobuf"));
    }
    let proto = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("proto"));
    if proto.is_some_and(|(_, message)| message.trim_matches('"') != "prometheus.WriteRequest") {
        return Err(Error::Unsupported("only remote write 1.0 is supported: proto=prometheus.WriteRequest"));
    }
    let encoding = single(headers, &header::CONTENT_ENCODING)?.unwrap_or("snappy");
    if !encoding.trim().eq_ignore_ascii_case("snappy") {
        return Err(Error::Unsupported("the Content-Encoding is not snappy"));
    }
    Ok(())
}

/// One pass over the body: decompress, decode, judge, encode. What no step changed goes on as it came, compressed and all.
fn judge(gateway: &Gateway, workspace: &mut Workspace, body: Buffer, cluster: &str) -> Result<Write, Error> {
    let Workspace { arena, plain, encoded, encoder, .. } = workspace;
    let cap_bytes = gateway.limit_receive_bytes.saturating_mul(MAX_RATIO);
    snappy::decode_block(&body, cap_bytes, plain)?; // 413, 400
    let rules = gateway.rules.load_full();
    let steps = rules.of_receive(cluster, gateway.clock.now_ms());
    let mut report = Report::default();
    let mut set = SeriesSet::new_in(arena);
    let metadata = remote_write::decode(plain, &limits(), &mut set)?; // 400
    if metadata.entries > 0 {
        gateway.metrics.receive_metadata.inc();
    }
    let judged = steps.receive(&mut set, &mut report); // 400
    gateway.metrics.add(Route::receive, &report);
    judged?;
    let series = set.len();
    // A sender's block may be larger than what it holds: that need not be the store's trouble, too.
    if remote_write::is_unchanged(&set) && body.len() <= plain.len() {
        return Ok(Write { message: Message { block: body.freeze(), plain_bytes: plain.len() }, series });
    }
    encoded.clear();
    remote_write::encode(&set, encoded);
    Ok(Write { message: gateway.workspaces.compress(encoder, encoded), series })
}

fn count(gateway: &Gateway, error: &Error) {
    gateway.refused(Route::receive, error);
    match error {
        Error::Body(BodyError::TooLarge { .. }) | Error::Wire(WireError::TooLong { .. }) => {
            gateway.metrics.receive_size_limited.inc();
        }
        Error::Refused(Refusal::LabelMissing { .. }) => {
            gateway.metrics.receive_missing_labels.inc();
        }
        Error::Refused(Refusal::LabelValue { .. } | Refusal::LabelTwice { .. }) => {
            gateway.metrics.receive_incorrect_labels.inc();
        }
        _ => {}
    }
}
