//! `POST /upload`: families of metrics from a client.

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
    SeriesSet, UPLOAD_COUNTS_HEADER, UploadCounts,
    exposition::{self, ExpositionFormat},
    snappy,
};

use crate::{
    error::{Error, RequestError},
    gateway::{Gateway, Workspace, Write, limits, single},
    protocol::Protocol,
    ratelimit::Slot,
    sender::Sender,
};

/// `POST /upload`. The comment on a step is the status that its failure answers with.
///
/// # Errors
/// See there.
pub(crate) async fn upload(State(gateway): State<Gateway>, request: Request) -> Result<Response, RequestError> {
    gateway.enter()?; // 503
    let now_ms = gateway.clock.now_ms();
    let verified = gateway.verifier.verify(bearer::token(request.headers())?, now_ms);
    let caller = verified.map_err(|bad| not_good(&gateway, bad))?; // 401
    let cluster = caller.label(&gateway.partition_label).ok_or(Error::TokenWithoutCluster)?; // 401
    if is_question(&request) {
        return answer_question(&request).map_err(|error| RequestError::verified(cluster, error)); // 415
    }
    let slot = gateway.admit(cluster, now_ms).map_err(|error| RequestError::verified(cluster, error))?; // 429
    let answer = take(&gateway, request, &caller, cluster, &slot, now_ms).await;
    slot.settle(answer.as_ref().is_err_and(Error::is_ours));
    answer.map_err(|error| RequestError::verified(cluster, error))
}

/// Whether nothing is uploaded: with an empty body `client check` asks whether an upload would be let in. Real clients send
/// none: where nothing matched they do not call.
fn is_question(request: &Request) -> bool {
    request.body().size_hint().exact() == Some(0)
}

/// What an upload would be told by now. No slot is taken, nothing is stored, and the cluster does not count as heard from.
fn answer_question(request: &Request) -> Result<Response, Error> {
    ExpositionFormat::of(single(request.headers(), &header::CONTENT_TYPE)?)?;
    Encoding::of(request.headers())?;
    Ok(accepted(StatusCode::OK, UploadCounts::default()))
}

/// A success, and what became of the series.
fn accepted(status: StatusCode, counts: UploadCounts) -> Response {
    const COUNTS: HeaderName = HeaderName::from_static(UPLOAD_COUNTS_HEADER);
    let mut answer = status.into_response();
    if let Ok(value) = HeaderValue::try_from(counts.to_string()) {
        answer.headers_mut().insert(COUNTS, value);
    }
    answer
}

/// What is wrong with a token, and of whom it was if it was good once.
fn not_good(gateway: &Gateway, bad: BadToken) -> RequestError {
    let claimed = bad.named.as_ref().and_then(|caller| caller.label(&gateway.partition_label));
    RequestError::claimed(claimed.unwrap_or_default(), AuthError::Token(bad.fault))
}

async fn take(
    gateway: &Gateway,
    request: Request,
    caller: &Caller,
    cluster: &str,
    slot: &Slot,
    now_ms: i64,
) -> Result<Response, Error> {
    let sender = Sender::of(&request);
    let format = ExpositionFormat::of(single(request.headers(), &header::CONTENT_TYPE)?)?; // 415
    let encoding = Encoding::of(request.headers())?; // 415
    let _permit = gateway.begin(cluster)?; // 503
    let body = gateway.read(request, cluster, gateway.limit_bytes).await?; // 413, 400, 503
    let plain_bytes = encoding.plain_bytes(body.len(), gateway.limit_bytes);
    let job = UploadJob { encoding, format, caller, cluster, now_ms };
    let write = gateway.workspaces.with(cluster, plain_bytes, |workspace| judge(gateway, workspace, &job, &body)).await; // 413, 400, 503
    drop(body);
    let (write, counts) = write?;
    let status = gateway.deliver(ReportRoute::Upload, cluster, slot.taken(), &sender, write).await?; // what the store said, or 503
    Ok(accepted(status, counts))
}

/// How the body of an upload is compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Snappy,
}

impl Encoding {
    /// How many bytes a body of so many has at most when decompressed.
    fn plain_bytes(self, body_bytes: usize, limit_bytes: usize) -> usize {
        match self {
            Self::Identity => body_bytes,
            Self::Snappy => body_bytes.saturating_mul(snappy::MAX_RATIO).min(limit_bytes),
        }
    }

    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        match single(headers, &header::CONTENT_ENCODING)?.unwrap_or("").trim() {
            "" | "identity" => Ok(Self::Identity),
            encoding if encoding.eq_ignore_ascii_case("snappy") => Ok(Self::Snappy),
            _ => Err(Error::Unsupported("the Content-Encoding is neither snappy (framed) nor identity")),
        }
    }
}

/// What an upload is judged by, beside its body.
struct UploadJob<'j> {
    encoding: Encoding,
    format: ExpositionFormat,
    caller: &'j Caller,
    cluster: &'j str,
    now_ms: i64,
}

/// One pass over the body: decompress, decode, judge, encode.
fn judge(
    gateway: &Gateway,
    workspace: &mut Workspace,
    job: &UploadJob<'_>,
    body: &[u8],
) -> Result<(Write, UploadCounts), Error> {
    let protocol = gateway.forward_protocol();
    let Workspace { arena, plain, newest, encoded, layout, encoder, request } = workspace;
    let plain = match job.encoding {
        Encoding::Identity => body,
        Encoding::Snappy => {
            snappy::decode_framed(body, gateway.limit_bytes, plain)?; // 413, 400
            plain
        }
    };
    let rules = gateway.rules.load_full();
    let steps = rules.of_upload(job.caller, job.now_ms).counting(&gateway.fleet.dropped);
    let mut report = StepCounts::default();
    let mut set = SeriesSet::new_in(arena);
    exposition::decode(job.format, plain, &limits(), &mut set)?; // 400
    let judged = steps.upload(&mut set, &mut report); // 400
    let is_kept = gateway.recent_store.is_some();
    let (mut series, mut staged) = (0, None);
    if judged.is_ok() && (is_kept || protocol == Protocol::V1) {
        encoded.clear();
        let mut layout = is_kept.then_some(layout);
        series = newest.encode(&set, job.now_ms, &mut report, encoded, layout.as_deref_mut());
        staged = layout.and_then(|layout| gateway.stage(job.cluster, layout.series(encoded)));
    }
    if judged.is_ok() && protocol == Protocol::V2 {
        report.doubled = 0;
        series = newest.encode_v2(&set, job.now_ms, &mut report, request);
    }
    gateway.metrics.add(ReportRoute::Upload, &report);
    judged?;
    let seen = gateway.fleet.seen(job.cluster, &set, report.filtered, plain.len(), job.now_ms);
    let message = match protocol {
        Protocol::V1 => gateway.workspaces.compress(encoder, encoded),
        Protocol::V2 => gateway.request_of(request),
    };
    let counts = UploadCounts {
        received: report.series,
        kept: series as u64,
        filtered: report.filtered,
        duplicates: report.doubled,
    };
    Ok((Write { message, series, seen, staged }, counts))
}
