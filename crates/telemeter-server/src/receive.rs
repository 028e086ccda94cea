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
use telemeter_rules::{NameVerdict, StepCounts};
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
    gateway::{EncodeBuffers, Gateway, Workspace, Write},
    protocol::{Protocol, put_written},
    rules::ServerSteps,
    sender::{Sender, question_origin},
};

/// Decompressed, a request may be this many times its cap on compressed bytes.
const MAX_RATIO: usize = 16;
/// Most 2.0 requests hold at most so many bytes of text for each of their own bytes, a text counted as often as it is
/// referenced. Room for [`MIN_TEXT_BYTES`] is made in any case.
const USUAL_TEXT_RATIO: usize = 8;
const MIN_TEXT_BYTES: usize = 64 << 10;
/// The name of the limit on these texts in [`WireError::Limit`].
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
        let approval = authority.receive(question_origin(&request), &token).await; // its own 4xx, or 503
        approval.map_err(|error| RequestError::claimed(cluster, error))?;
    }
    if gateway.log_tenant {
        tracing::debug!(tenant = cluster, "receive");
    }
    handle_receive(&gateway, request, cluster).await.map_err(|error| RequestError::verified(cluster, error))
}

/// Reads, processes and delivers a request of a cluster whose credentials were accepted.
async fn handle_receive(gateway: &Gateway, request: Request, cluster: &str) -> Result<Response, Error> {
    let sender = Sender::of(&request);
    let protocol = Protocol::of(request.headers())?; // 415
    let _permit = gateway.acquire_permit(cluster)?; // 503
    let body = gateway.read_body(request, cluster, gateway.limit_receive_bytes).await?; // 413, 400, 503
    let plain_bytes = snappy::announced_len(&body).min(gateway.limit_receive_bytes.saturating_mul(MAX_RATIO));
    let (processed, contents) = match protocol {
        Protocol::V1 => {
            let work = |workspace: &mut Workspace| process(gateway, workspace, body, cluster);
            (gateway.workspaces.with(cluster, plain_bytes, work).await?, None) // 413, 400, 503
        }
        Protocol::V2 => {
            let (processed, contents) = process_v2_sized(gateway, &body, plain_bytes, cluster).await?; // 413, 400, 503
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
    let Some(contents) = contents else { return Ok(status.into_response()) };
    // What the rules left out counts as written, too: a sender would count it as lost.
    let mut response = StatusCode::NO_CONTENT.into_response();
    put_written(response.headers_mut(), &contents);
    Ok(response)
}

/// The outcome of [`process`].
struct ProcessedBody {
    /// What is to be delivered.
    write: Write,
    /// The series that were refused, where the others are stored (`--partial-writes`).
    refused: Option<PartialWrite>,
}

/// One pass over the body: decompress, decode, apply the rules, encode. A 1.0 request that no step changed is forwarded with the
/// bytes that the sender compressed.
fn process(gateway: &Gateway, workspace: &mut Workspace, body: Buffer, cluster: &str) -> Result<ProcessedBody, Error> {
    let protocol = gateway.forward_protocol();
    let Workspace { arena, plain, encoded, layout, encoder, request, .. } = workspace;
    let cap_bytes = gateway.limit_receive_bytes.saturating_mul(MAX_RATIO);
    snappy::decode_block(&body, cap_bytes, plain)?; // 413, 400
    let rules = gateway.rules.load_full();
    let steps = rules.of_receive(cluster, gateway.clock.now_ms()).counting(&gateway.fleet.dropped);
    let mut set = SeriesSet::new_in(arena);
    let metadata = remote_write::decode_keeping(plain, gateway.forward_metadata, &DecodeLimits::default(), &mut set)?; // 400
    if metadata.entries > 0 {
        gateway.metrics.receive_metadata.inc();
    }
    let (report, refused) = apply(gateway, &steps, &mut set, PartialWrite::default(), None, body.len(), cluster)?; // 400
    set.filter_metadata(|family| rules.whitelist().by_name(family) != NameVerdict::Never);
    rules.escape_families(&mut set);
    // A sender's block may be larger than what it holds: that need not be the store's trouble, too.
    if protocol == Protocol::V1 && remote_write::is_unchanged(&set) && body.len() <= plain.len() {
        let series = set.len();
        let staged = gateway.recent_store.is_some().then_some(layout).and_then(|layout| {
            layout.of_unchanged(&set);
            gateway.stage(cluster, layout.series(plain))
        });
        let message = WriteMessage::V1 { block: body.freeze(), plain_bytes: plain.len() };
        return Ok(ProcessedBody { write: Write { message, series, report, staged }, refused });
    }
    let buffers = EncodeBuffers { encoded, layout, encoder, request };
    let (message, series, staged) = gateway.encode(cluster, protocol, &set, buffers);
    Ok(ProcessedBody { write: Write { message, series, report, staged }, refused })
}

/// As [`process`] for 2.0, in a workspace large enough for its texts, each counted as often as it is referenced. How long these
/// are is known once they are decoded: a request that has more text than is usual is decoded again, in a workspace for the most
/// that it may have.
async fn process_v2_sized(
    gateway: &Gateway,
    body: &Buffer,
    plain_bytes: usize,
    cluster: &str,
) -> Result<(ProcessedBody, v2::Contents), Error> {
    let most = DecodeLimits::default().text_bytes.min(gateway.limit_receive_bytes.saturating_mul(MAX_RATIO));
    let usual = plain_bytes.saturating_mul(USUAL_TEXT_RATIO).max(MIN_TEXT_BYTES).min(most);
    for text_bytes in [usual, most] {
        let limits = DecodeLimits { text_bytes, ..DecodeLimits::default() };
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
    let keep = Keep { start_timestamps: protocol == Protocol::V2, metadata: gateway.forward_metadata };
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
    let (report, refused) = apply(gateway, &steps, &mut set, partial, Some(&contents), body.len(), cluster)?; // 400
    rules.escape_families(&mut set);
    let buffers = EncodeBuffers { encoded, layout, encoder, request };
    let (message, series, staged) = gateway.encode(cluster, protocol, &set, buffers);
    Ok((ProcessedBody { write: Write { message, series, report, staged }, refused }, contents))
}

/// Applies the rules to the series of a request, and observes what passed. With `--partial-writes`, a series that the rules refuse
/// is left out, and recorded in `partial`.
fn apply<'a>(
    gateway: &Gateway,
    steps: &'a ServerSteps<'a>,
    set: &mut SeriesSet<'a>,
    mut partial: PartialWrite,
    contents: Option<&v2::Contents>,
    body_bytes: usize,
    cluster: &str,
) -> Result<(ObservedReport, Option<PartialWrite>), Error> {
    let mut counts = StepCounts::default();
    let applied = match gateway.partial_writes {
        true => {
            steps.receive_partial(set, &mut counts, |series, refusal| partial.refuse(series, refusal));
            Ok(())
        }
        false => steps.receive(set, &mut counts),
    };
    gateway.record_counts(ReportRoute::Receive, cluster, &counts, partial.refused());
    applied?;
    let report = gateway.fleet.observe(cluster, set, counts.filtered, body_bytes, gateway.clock.now_ms());
    Ok((report, partial.finish(counts.series, contents)))
}
