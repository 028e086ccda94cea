//! `POST /metrics/v1/receive`: remote write from a cluster's own Prometheus, 1.0 and 2.0.

mod content;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use telemeter_auth::{bearer, composite_token};
use telemeter_fleet::ReportRoute;
use telemeter_http::body::Buffer;
use telemeter_rules::StepCounts;
use telemeter_wire::{
    DecodeLimits, Error as WireError, ReferenceError, SeriesSet,
    remote_write::{
        self,
        v2::{self, Keep},
    },
    snappy,
};

pub(crate) use self::content::is_v2;
use crate::{
    error::{Error, PartialWrite, RequestError},
    fleet::ObservedReport,
    forward::WriteMessage,
    gateway::{EncodeRoom, Gateway, Workspace, Write, asker, limits},
    protocol::{Protocol, put_written},
    rules::ServerSteps,
    sender::Sender,
};

/// Decompressed, a request may be this many times its cap on compressed bytes.
const MAX_RATIO: usize = 16;
/// The texts of a 2.0 request, as often as they are referenced, mostly are at most so many times the request; one of
/// [`MIN_TEXT_BYTES`] or less is not worth the question.
const USUAL_TEXT_RATIO: usize = 8;
const MIN_TEXT_BYTES: usize = 64 << 10;
/// What [`WireError::Limit`] calls these texts.
const ALL_TEXT: &str = "bytes in all labels";

/// `POST /metrics/v1/receive`. The comment on a step is the status that its failure answers with.
///
/// # Errors
/// Those of its steps, with the cluster as far as it is known.
pub(crate) async fn receive(State(gateway): State<Gateway>, request: Request) -> Result<Response, RequestError> {
    gateway.enter()?; // 503
    let token = composite_token::decode(bearer::token(request.headers())?)?; // 401, 400
    let cluster = token.cluster_id();
    if let Some(authority) = &gateway.authority {
        let approval = authority.receive(asker(&request), &token).await; // its own 4xx, or 503
        approval.map_err(|error| RequestError::claimed(cluster, error))?;
    }
    if gateway.log_tenant {
        tracing::debug!(tenant = cluster, "receive");
    }
    take(&gateway, request, cluster).await.map_err(|error| RequestError::verified(cluster, error))
}

async fn take(gateway: &Gateway, request: Request, cluster: &str) -> Result<Response, Error> {
    let sender = Sender::of(&request);
    let protocol = Protocol::of(request.headers())?; // 415
    let _permit = gateway.begin(cluster)?; // 503
    let body = gateway.read(request, cluster, gateway.limit_receive_bytes).await?; // 413, 400, 503
    let plain_bytes = snappy::announced_len(&body).min(gateway.limit_receive_bytes.saturating_mul(MAX_RATIO));
    let (processed, success) = match protocol {
        Protocol::V1 => {
            let work = |workspace: &mut Workspace| process(gateway, workspace, body, cluster);
            (gateway.workspaces.with(cluster, plain_bytes, work).await?, None) // 413, 400, 503
        }
        Protocol::V2 => {
            let (processed, contents) = process_v2_in_room(gateway, &body, plain_bytes, cluster).await?; // 413, 400, 503
            (processed, Some(contents))
        }
    };
    let ProcessedBody { write, refused } = processed;
    if let Some(refused) = refused {
        if !refused.is_all() {
            gateway.deliver(ReportRoute::Receive, cluster, None, &sender, write).await?; // what the store said, or 503
        }
        return Err(Error::PartialWrite(Box::new(refused))); // 400
    }
    let status = gateway.deliver(ReportRoute::Receive, cluster, None, &sender, write).await?; // what the store said, or 503
    let Some(contents) = success else { return Ok(status.into_response()) };
    // What the rules left out was written as well as it ever will be: a sender would count it as lost.
    let mut response = StatusCode::NO_CONTENT.into_response();
    put_written(response.headers_mut(), &contents);
    Ok(response)
}

/// What became of a body.
struct ProcessedBody {
    /// What is to be delivered.
    write: Write,
    /// The series that were refused, where the others go on (`--partial-writes`).
    refused: Option<PartialWrite>,
}

/// One pass over the body: decompress, decode, apply the rules, encode. What no step changed goes on as it came, compressed and all.
fn process(gateway: &Gateway, workspace: &mut Workspace, body: Buffer, cluster: &str) -> Result<ProcessedBody, Error> {
    let protocol = gateway.forward_protocol();
    let Workspace { arena, plain, encoded, layout, encoder, request, .. } = workspace;
    let cap_bytes = gateway.limit_receive_bytes.saturating_mul(MAX_RATIO);
    snappy::decode_block(&body, cap_bytes, plain)?; // 413, 400
    let rules = gateway.rules.load_full();
    let steps = rules.of_receive(cluster, gateway.clock.now_ms()).counting(&gateway.fleet.dropped);
    let mut set = SeriesSet::new_in(arena);
    let metadata = remote_write::decode(plain, &limits(), &mut set)?; // 400
    if metadata.entries > 0 {
        gateway.metrics.receive_metadata.inc();
    }
    let (seen, refused) = apply(gateway, &steps, &mut set, PartialWrite::default(), None, body.len(), cluster)?; // 400
    // A sender's block may be larger than what it holds: that need not be the store's trouble, too.
    if protocol == Protocol::V1 && remote_write::is_unchanged(&set) && body.len() <= plain.len() {
        let series = set.len();
        let staged = gateway.recent_store.is_some().then_some(layout).and_then(|layout| {
            layout.of_unchanged(&set);
            gateway.stage(cluster, layout.series(plain))
        });
        let message = WriteMessage::V1 { block: body.freeze(), plain_bytes: plain.len() };
        return Ok(ProcessedBody { write: Write { message, series, seen, staged }, refused });
    }
    let room = EncodeRoom { encoded, layout, encoder, request };
    let (message, series, staged) = gateway.encode(cluster, protocol, &set, room);
    Ok(ProcessedBody { write: Write { message, series, seen, staged }, refused })
}

/// As [`process`] for 2.0, in a workspace that has room for its texts as often as they are referenced. How long these are is
/// known once they are decoded: a request with more of them than is usual is decoded again, where there is room for the most
/// that it may have.
async fn process_v2_in_room(
    gateway: &Gateway,
    body: &Buffer,
    plain_bytes: usize,
    cluster: &str,
) -> Result<(ProcessedBody, v2::Contents), Error> {
    let most = limits().text_bytes.min(gateway.limit_receive_bytes.saturating_mul(MAX_RATIO));
    let usual = plain_bytes.saturating_mul(USUAL_TEXT_RATIO).max(MIN_TEXT_BYTES).min(most);
    for text_bytes in [usual, most] {
        let limits = DecodeLimits { text_bytes, ..limits() };
        let work = |workspace: &mut Workspace| process_v2(gateway, workspace, body, cluster, &limits);
        match gateway.workspaces.with(cluster, plain_bytes.max(text_bytes), work).await {
            Err(Error::Wire(WireError::Limit { what: ALL_TEXT, .. })) if text_bytes < most => {}
            processed => return processed,
        }
    }
    Err(WireError::Limit { what: ALL_TEXT, limit: most }.into())
}

/// One pass over the body: decompress, decode, apply the rules, encode. What 2.0 alone has is kept where the store is sent 2.0.
fn process_v2(
    gateway: &Gateway,
    workspace: &mut Workspace,
    body: &Buffer,
    cluster: &str,
    limits: &DecodeLimits,
) -> Result<(ProcessedBody, v2::Contents), Error> {
    let protocol = gateway.forward_protocol();
    let keep = Keep { start_timestamps: protocol == Protocol::V2 };
    let Workspace { arena, plain, encoded, layout, encoder, request, .. } = workspace;
    let cap_bytes = gateway.limit_receive_bytes.saturating_mul(MAX_RATIO);
    snappy::decode_block(body, cap_bytes, plain)?; // 413, 400
    let rules = gateway.rules.load_full();
    let steps = rules.of_receive(cluster, gateway.clock.now_ms()).counting(&gateway.fleet.dropped);
    let mut set = SeriesSet::new_in(arena);
    let mut partial = PartialWrite::default();
    let mut refuse = |error| partial.refuse_references(&error);
    let refused = gateway.partial_writes.then_some(&mut refuse as &mut dyn FnMut(ReferenceError));
    let contents = v2::decode_keeping(plain, keep, limits, &mut set, refused)?; // 400
    if contents.metadata > 0 {
        gateway.metrics.receive_metadata.inc();
    }
    if !keep.start_timestamps {
        gateway.metrics.receive_start_timestamps_dropped.inc_by(contents.start_timestamps);
    }
    let (seen, refused) = apply(gateway, &steps, &mut set, partial, Some(&contents), body.len(), cluster)?; // 400
    let room = EncodeRoom { encoded, layout, encoder, request };
    let (message, series, staged) = gateway.encode(cluster, protocol, &set, room);
    Ok((ProcessedBody { write: Write { message, series, seen, staged }, refused }, contents))
}

/// Takes the series of a request through the rules, and notes what is seen of them. Where `--partial-writes` says so, a series
/// that they refuse is left out, and noted in `partial`.
fn apply<'a>(
    gateway: &Gateway,
    steps: &'a ServerSteps<'a>,
    set: &mut SeriesSet<'a>,
    mut partial: PartialWrite,
    contents: Option<&v2::Contents>,
    body_bytes: usize,
    cluster: &str,
) -> Result<(ObservedReport, Option<PartialWrite>), Error> {
    let mut report = StepCounts::default();
    let applied = match gateway.partial_writes {
        true => {
            steps.receive_partial(set, &mut report, |series, refusal| partial.refuse(series, refusal));
            Ok(())
        }
        false => steps.receive(set, &mut report),
    };
    gateway.metrics.add(ReportRoute::Receive, &report);
    applied?;
    let seen = gateway.fleet.seen(cluster, set, report.filtered, body_bytes, gateway.clock.now_ms());
    Ok((seen, partial.finish(report.series, contents)))
}
