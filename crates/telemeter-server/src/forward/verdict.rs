//! What the store's answer means: for those whose data it was, and for the version that it is sent.

use http::StatusCode;
use telemeter_auth::{Secret, oidc::SendError};
use telemeter_http::client::{Answer, OutboundError, excerpt};
use telemeter_wire::remote_write::v2::Contents;

use super::{StoreOutcome, StoreRefusal, scheduler::OutcomeKind};
use crate::protocol::written;

/// The store's rows of the status table, and what each says of the data. `token` is ours: the store may repeat it, and
/// nobody is to read it.
pub(super) fn outcome_of(answer: &Answer, token: Option<&Secret>) -> (StoreOutcome, OutcomeKind) {
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

/// What a call without an answer means.
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

/// What an answer to a request of 2.0 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Understood {
    /// It knows 2.0, whatever it thought of the data.
    Yes,
    /// It may not know 2.0, or not take this data.
    Maybe,
    /// It does not know 2.0.
    No,
    /// Nothing of that.
    Untold,
}

/// Whether the store knows 2.0.
///
/// "Unsupported Request Content": 415, of a receiver of 1.0 maybe 400. "Required Written Response Headers": success without any
/// of them is to be taken for 415, as from a receiver of 1.0 that found nothing in the message that it knows.
pub(super) fn understood(answer: &Answer) -> Understood {
    match (answer.status.as_u16(), written(&answer.headers)) {
        (_, Some(_)) => Understood::Yes,
        (200..=299 | 415, None) => Understood::No,
        (400, None) => Understood::Maybe,
        _ => Understood::Untold,
    }
}

/// As [`outcome_of`], of a request of 2.0 that held `sent`. Success that is not of all of it is none.
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
        return (StoreOutcome::Taken(status), OutcomeKind::Taken);
    }
    let cause = format!("it answered {} and wrote {}", status.as_u16(), less.join(", "));
    // Whose data it did not write shows where it is sent apart.
    (StoreOutcome::unavailable(Some(status), cause), OutcomeKind::Refused)
}
