//! `POST /metrics/v1/receive`: remote write from a cluster's own Prometheus.

use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode, header};
use telemeter_auth::{bearer, composite_token};
use telemeter_fleet::Route;
use telemeter_http::body::Buffer;
use telemeter_rules::Report;
use telemeter_wire::{SeriesSet, remote_write, snappy};

use crate::{
    error::{Error, RequestError},
    forward::Message,
    gateway::{Gateway, Workspace, Write, asker, limits, single},
    sender::Sender,
};

/// Decompressed, a request may be this many times its cap on compressed bytes.
const MAX_RATIO: usize = 16;

/// `POST /metrics/v1/receive`. The comment on a step is the status that its failure answers with.
///
/// # Errors
/// See there.
pub(crate) async fn receive(State(gateway): State<Gateway>, request: Request) -> Result<StatusCode, RequestError> {
    gateway.enter()?; // 503
    let token = composite_token::decode(bearer::token(request.headers())?)?; // 401, 400
    let cluster = token.cluster_id();
    if let Some(tollbooth) = &gateway.tollbooth {
        let approval = tollbooth.receive(asker(&request), &token).await; // its own 4xx, or 503
        approval.map_err(|error| RequestError::claimed(cluster, error))?;
    }
    if gateway.log_tenant {
        tracing::debug!(tenant = cluster, "receive");
    }
    take(&gateway, request, cluster).await.map_err(|error| RequestError::verified(cluster, error))
}

async fn take(gateway: &Gateway, request: Request, cluster: &str) -> Result<StatusCode, Error> {
    let sender = Sender::of(&request);
    check_headers(request.headers())?; // 415
    let _permit = gateway.begin(cluster)?; // 503
    let body = gateway.read(request, cluster, gateway.limit_receive_bytes).await?; // 413, 400, 503
    let plain_bytes = snappy::announced_len(&body).min(gateway.limit_receive_bytes.saturating_mul(MAX_RATIO));
    let write =
        gateway.workspaces.with(cluster, plain_bytes, |workspace| judge(gateway, workspace, body, cluster)).await; // 413, 400, 503
    gateway.deliver(Route::Receive, cluster, None, &sender, write?).await // what the store said, or 503
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
    let now_ms = gateway.clock.now_ms();
    let steps = rules.of_receive(cluster, now_ms).counting(&gateway.fleet.dropped);
    let mut report = Report::default();
    let mut set = SeriesSet::new_in(arena);
    let metadata = remote_write::decode(plain, &limits(), &mut set)?; // 400
    if metadata.entries > 0 {
        gateway.metrics.receive_metadata.inc();
    }
    let judged = steps.receive(&mut set, &mut report); // 400
    gateway.metrics.add(Route::Receive, &report);
    judged?;
    let series = set.len();
    let seen = gateway.fleet.seen(cluster, &set, report.filtered, body.len(), now_ms);
    // A sender's block may be larger than what it holds: that need not be the store's trouble, too.
    if remote_write::is_unchanged(&set) && body.len() <= plain.len() {
        return Ok(Write { message: Message { block: body.freeze(), plain_bytes: plain.len() }, series, seen });
    }
    encoded.clear();
    remote_write::encode(&set, encoded);
    Ok(Write { message: gateway.workspaces.compress(encoder, encoded), series, seen })
}
