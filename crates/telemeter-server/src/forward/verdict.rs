//! Interprets the store's answer: what it says about the data, and whether the store supports remote write 2.0.

use http::StatusCode;
use telemeter_auth::{Secret, oidc::SendError};
use telemeter_http::client::{Answer, OutboundError, excerpt};
use telemeter_wire::remote_write::v2::Contents;

use super::{StoreOutcome, StoreRefusal, scheduler::OutcomeKind};
use crate::protocol::written;

/// Returns the outcome of a batch for its callers, and what the status says about the data. `token` is our access
/// token: the store may repeat it in its answer, and it is removed from the excerpt.
pub(super) fn outcome_of(answer: &Answer, token: Option<&Secret>) -> (StoreOutcome, OutcomeKind) {
    let status = answer.status;
    let excerpt_text = || excerpt(&answer.headers, &answer.body, token.map(Secret::expose).as_slice());
    let cause = || match excerpt_text() {
        text if text.is_empty() => format!("it answered {}", answer.status_words()),
        text => format!("it answered {}: {text}", answer.status_words()),
    };
    match status.as_u16() {
        200..=299 => (StoreOutcome::Accepted(status), OutcomeKind::Accepted),
        400 | 409 | 413 | 422 => {
            (StoreOutcome::Refused(StoreRefusal { status, store_message: excerpt_text().into() }), OutcomeKind::Refused)
        }
        // An answer that asks us to wait means that the store is busy. A 503 without `Retry-After` may come from a
        // proxy, after the store failed on the data.
        429 | 500..=599 => {
            let retry_after = answer.asks_to_wait();
            let is_busy = status == StatusCode::TOO_MANY_REQUESTS || retry_after.is_some();
            let outcome = StoreOutcome::Unavailable { status: Some(status), cause: cause().into(), retry_after };
            (outcome, if is_busy { OutcomeKind::Unrelated } else { OutcomeKind::Failed })
        }
        _ => (StoreOutcome::unavailable(Some(status), cause()), OutcomeKind::Failed),
    }
}

/// Returns the same for a call that got no answer.
pub(super) fn failure_of(error: &SendError) -> (StoreOutcome, OutcomeKind) {
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

/// Whether an answer to a request of 2.0 shows that the store supports 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum V2Support {
    /// The store supports 2.0, even if it refused the data.
    Yes,
    /// The store may not support 2.0, or it refuses this data.
    Maybe,
    /// The store does not support 2.0.
    No,
    /// The answer shows nothing about it.
    Unknown,
}

/// Whether the answer shows that the store supports 2.0.
///
/// The specification, "Unsupported Request Content": a receiver without 2.0 answers 415, and a receiver of 1.0 may
/// answer 400. "Required Written Response Headers": a success without any of these headers is treated like 415, because
/// a receiver of 1.0 found in the message no field that it knows.
pub(super) fn v2_support(answer: &Answer) -> V2Support {
    match (answer.status.as_u16(), written(&answer.headers)) {
        (_, Some(_)) => V2Support::Yes,
        (200..=299 | 415, None) => V2Support::No,
        (400, None) => V2Support::Maybe,
        _ => V2Support::Unknown,
    }
}

/// As [`outcome_of`], for a request of 2.0 that held `sent`. A success counts as a failure where the store wrote less
/// than was sent.
pub(super) fn outcome_of_v2(answer: &Answer, token: Option<&Secret>, sent: &Contents) -> (StoreOutcome, OutcomeKind) {
    let status = answer.status;
    if !status.is_success() {
        return outcome_of(answer, token);
    }
    let Some(written) = written(&answer.headers) else {
        let cause = format!(
            "it answered {} and does not say what it wrote (no X-Prometheus-Remote-Write-*-Written header): it knows remote \
             write 1.0 alone, which --forward-protocol 1.0 or auto sends",
            status.as_u16()
        );
        return (StoreOutcome::unavailable(Some(status), cause), OutcomeKind::Unrelated);
    };
    let parts = [
        ("samples", written.samples, sent.samples),
        ("histograms", written.histograms, sent.histograms),
        ("exemplars", written.exemplars, sent.exemplars),
    ];
    let less: Vec<String> = parts
        .iter()
        .filter(|(_, written, sent)| written < sent)
        .map(|(what, written, sent)| format!("{written} of {sent} {what}"))
        .collect();
    if less.is_empty() {
        return (StoreOutcome::Accepted(status), OutcomeKind::Accepted);
    }
    let cause = format!("it answered {} and wrote {}", status.as_u16(), less.join(", "));
    // The batch is split, and sending its parts separately shows which cluster's data was not written.
    (StoreOutcome::unavailable(Some(status), cause), OutcomeKind::Refused)
}
