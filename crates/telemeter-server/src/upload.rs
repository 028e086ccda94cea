//! `POST /upload`: metric families from a client.

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use telemeter_auth::{
    Error as AuthError, bearer,
    jwt::{BadToken, Caller},
};
use telemeter_fleet::ReportRoute;
use telemeter_rules::StepCounts;
use telemeter_wire::{
    DecodeLimits, SeriesSet, UPLOAD_COUNTS_HEADER, UploadCounts,
    exposition::{self, ExpositionFormat},
    snappy,
};

use crate::{
    error::{Error, RequestError},
    gateway::{Gateway, Workspace, Write},
    headers::single_value,
    protocol::Protocol,
    ratelimit::Slot,
    sender::Sender,
};

/// `POST /upload`. The comment on a step is the status that its failure answers with.
///
/// # Errors
/// Those of its steps, with the cluster as far as it is known.
pub(crate) async fn upload(State(gateway): State<Gateway>, request: Request) -> Result<Response, RequestError> {
    gateway.enter()?; // 503
    let now_ms = gateway.clock.now_ms();
    let verified = gateway.verifier.verify(bearer::token(request.headers())?, now_ms);
    let caller = verified.map_err(|bad| token_error(&gateway, bad))?; // 401
    let cluster = caller.label(&gateway.partition_label).ok_or(Error::TokenWithoutCluster)?; // 401
    if is_probe(&request) {
        return answer_probe(&request).map_err(|error| RequestError::verified(cluster, error)); // 415
    }
    let slot = gateway.acquire_slot(cluster, now_ms).map_err(|error| RequestError::verified(cluster, error))?; // 429
    let answer = handle_upload(&gateway, request, &caller, cluster, &slot, now_ms).await;
    slot.settle(answer.as_ref().is_err_and(Error::is_ours));
    answer.map_err(|error| RequestError::verified(cluster, error))
}

/// Whether the body is empty: `client check` sends none to ask whether an upload would be accepted. A client that has nothing to
/// upload sends no request.
fn is_probe(request: &Request) -> bool {
    request.body().size_hint().exact() == Some(0)
}

/// Answers as an upload would be answered so far. No slot is used, nothing is stored, and the cluster does not count as
/// heard from.
fn answer_probe(request: &Request) -> Result<Response, Error> {
    ExpositionFormat::of(single_value(request.headers(), &header::CONTENT_TYPE)?)?;
    Encoding::of(request.headers())?;
    Ok(success(StatusCode::OK, UploadCounts::default()))
}

/// A response of success, with a header that counts what became of the series.
fn success(status: StatusCode, counts: UploadCounts) -> Response {
    const COUNTS: HeaderName = HeaderName::from_static(UPLOAD_COUNTS_HEADER);
    let mut answer = status.into_response();
    if let Ok(value) = HeaderValue::try_from(counts.to_string()) {
        answer.headers_mut().insert(COUNTS, value);
    }
    answer
}

/// The error of a token that is not valid, with the cluster that it names where it was valid once.
fn token_error(gateway: &Gateway, bad: BadToken) -> RequestError {
    let claimed = bad.caller.as_ref().and_then(|caller| caller.label(&gateway.partition_label));
    RequestError::claimed(claimed.unwrap_or_default(), AuthError::Token(bad.fault))
}

/// Reads, processes and delivers an upload that has a slot.
async fn handle_upload(
    gateway: &Gateway,
    request: Request,
    caller: &Caller,
    cluster: &str,
    slot: &Slot,
    now_ms: i64,
) -> Result<Response, Error> {
    let sender = Sender::of(&request);
    let format = ExpositionFormat::of(single_value(request.headers(), &header::CONTENT_TYPE)?)?; // 415
    let encoding = Encoding::of(request.headers())?; // 415
    let _permit = gateway.acquire_permit(cluster)?; // 503
    let body = gateway.read_body(request, cluster, gateway.limit_bytes).await?; // 413, 400, 503
    let plain_bytes = encoding.plain_bytes(body.len(), gateway.limit_bytes);
    let job = UploadJob { encoding, format, caller, cluster, now_ms };
    let processed =
        gateway.workspaces.with(cluster, plain_bytes, |workspace| process(gateway, workspace, &job, &body)).await; // 413, 400, 503
    drop(body);
    let (write, counts) = processed?;
    let status = gateway.deliver(ReportRoute::Upload, cluster, slot.record(), &sender, write).await?; // what the store said, or 503
    Ok(success(status, counts))
}

/// How the body of an upload is compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Snappy,
}

impl Encoding {
    /// The most bytes that a body of `body_bytes` can have when decompressed.
    fn plain_bytes(self, body_bytes: usize, limit_bytes: usize) -> usize {
        match self {
            Self::Identity => body_bytes,
            Self::Snappy => body_bytes.saturating_mul(snappy::MAX_RATIO).min(limit_bytes),
        }
    }

    /// The encoding that `Content-Encoding` names: identity without it. Returns an error for an encoding other than
    /// `snappy` (framed) and `identity`, and for a repeated header.
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        match single_value(headers, &header::CONTENT_ENCODING)?.unwrap_or("").trim() {
            "" | "identity" => Ok(Self::Identity),
            encoding if encoding.eq_ignore_ascii_case("snappy") => Ok(Self::Snappy),
            _ => Err(Error::Unsupported("the Content-Encoding is neither snappy (framed) nor identity")),
        }
    }
}

/// What [`process`] needs besides the body.
struct UploadJob<'j> {
    encoding: Encoding,
    format: ExpositionFormat,
    caller: &'j Caller,
    cluster: &'j str,
    now_ms: i64,
}

/// One pass over the body: decompress, decode, apply the rules, encode. The counts are recorded even where the rules
/// refuse it.
fn process(
    gateway: &Gateway,
    workspace: &mut Workspace,
    job: &UploadJob<'_>,
    body: &[u8],
) -> Result<(Write, UploadCounts), Error> {
    let protocol = gateway.forward_protocol();
    let Workspace { arena, plain, deduplicator, encoded, layout, encoder, request } = workspace;
    let plain = match job.encoding {
        Encoding::Identity => body,
        Encoding::Snappy => {
            snappy::decode_framed(body, gateway.limit_bytes, plain)?; // 413, 400
            plain
        }
    };
    let rules = gateway.rules.load_full();
    let steps = rules.of_upload(job.caller, job.now_ms).counting(&gateway.fleet.dropped);
    let mut counts = StepCounts::default();
    let mut set = SeriesSet::new_in(arena);
    exposition::decode(job.format, plain, &DecodeLimits::default(), &mut set)?; // 400
    let applied = steps.upload(&mut set, &mut counts); // 400
    let is_staged = gateway.recent_store.is_some();
    let (mut series, mut staged) = (0, None);
    if applied.is_ok() && (is_staged || protocol == Protocol::V1) {
        encoded.clear();
        let mut layout = is_staged.then_some(layout);
        series = deduplicator.encode(&set, job.now_ms, &mut counts, encoded, layout.as_deref_mut());
        staged = layout.and_then(|layout| gateway.stage(job.cluster, layout.series(encoded)));
    }
    if applied.is_ok() && protocol == Protocol::V2 {
        counts.duplicates = 0;
        series = deduplicator.encode_v2(&set, job.now_ms, &mut counts, request);
    }
    gateway.record_counts(ReportRoute::Upload, job.cluster, &counts, 0);
    applied?;
    let observed = gateway.fleet.observe(job.cluster, &set, counts.filtered, plain.len(), job.now_ms);
    let message = match protocol {
        Protocol::V1 => gateway.workspaces.compress(encoder, encoded),
        Protocol::V2 => gateway.request_of(request),
    };
    let upload_counts = UploadCounts {
        received: counts.series,
        kept: series as u64,
        filtered: counts.filtered,
        duplicates: counts.duplicates,
    };
    Ok((Write { message, series, report: observed, staged }, upload_counts))
}
