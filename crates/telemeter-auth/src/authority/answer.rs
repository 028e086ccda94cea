//! The words exchanged with the authority.

use std::sync::Arc;

use http::header;
use serde::{Deserialize, Serialize};
use telemeter_http::client::Answer;

use super::excerpt::excerpt;
use super::question::AuthorityQuestion;
use super::unavailable;
use crate::error::quoted;
use crate::{Error, Secret};

#[derive(Serialize)]
struct RegistrationBody<'a> {
    cluster_id: &'a str,
    authorization_token: &'a str,
    account_id: &'a str,
}

/// What `/authorize` asks the authority.
pub(super) fn registration(token: &Secret, cluster: &str) -> Secret {
    let registration = RegistrationBody { cluster_id: cluster, authorization_token: token.expose(), account_id: "" };
    serde_json::to_string(&registration).expect("texts always have a JSON form").into()
}

/// What an approval holds of interest.
#[derive(Deserialize)]
struct ApprovalBody {
    account_id: Option<String>,
    cluster_id: Option<String>,
}

/// The longest account: it stands in every token of ours.
const MAX_ACCOUNT_BYTES: usize = 256;

/// The account that an answer names.
///
/// A page of HTML is no word of the authority's, whatever its status: something between us speaks in its place. What the body
/// of a failure says goes into the error, for our log; `secrets` are taken out of it.
pub(super) fn read(answer: &Answer, question: &AuthorityQuestion, secrets: &[&str]) -> Result<Arc<str>, Error> {
    let said = || excerpt(&answer.body, secrets);
    let content_type = answer.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.trim_ascii_start().get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html")) {
        let (status, said) = (answer.status_words(), quoted(&said()));
        let reason = format!("it answered with a page of HTML and status {status}{said}");
        return Err(Error::AuthorityUnavailable { reason, retry_after: answer.asks_to_wait() });
    }
    match answer.status.as_u16() {
        200 | 201 => account(&answer.body, question),
        429 => Err(Error::RateLimited { retry_after: question.kind.retry_after(answer.retry_after()) }),
        status @ 400..=499 => Err(Error::Refused { status, said: said() }),
        _ => Err(Error::AuthorityUnavailable {
            reason: format!("it answered with status {}{}", answer.status_words(), quoted(&said())),
            retry_after: answer.asks_to_wait(),
        }),
    }
}

fn account(body: &[u8], question: &AuthorityQuestion) -> Result<Arc<str>, Error> {
    let approval: ApprovalBody =
        serde_json::from_slice(body).map_err(|_| unavailable("its answer is not JSON that holds an account"))?;
    if approval.cluster_id.is_some_and(|cluster| cluster != question.cluster) {
        return Err(unavailable("its answer is about another cluster"));
    }
    match approval.account_id {
        Some(account) if account.len() > MAX_ACCOUNT_BYTES => Err(unavailable("its answer names too long an account")),
        Some(account) if !account.is_empty() => Ok(account.into()),
        _ => Err(unavailable("its answer names no account")),
    }
}
