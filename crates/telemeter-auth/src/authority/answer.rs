//! Reads the authority's answer: the account of an approval, or the error that a refusal or a failure becomes.

use std::sync::Arc;

use http::header;
use serde::Deserialize;
use telemeter_http::client::{Answer, excerpt};

use super::question::AuthorityQuestion;
use super::unavailable;
use crate::Error;
use crate::error::quoted;

/// The fields of an approval that we use.
#[derive(Deserialize)]
struct ApprovalBody {
    account_id: Option<String>,
    cluster_id: Option<String>,
}

/// The longest account: every access token of ours contains it.
const MAX_ACCOUNT_BYTES: usize = 256;

/// The account that the answer names.
///
/// A page of HTML never comes from the authority itself but from a proxy before it, so it counts as unavailable, whatever
/// its status. The error of a failure holds an excerpt of the body for our log, without any of `secrets`.
///
/// # Errors
/// [`Error::Refused`], [`Error::RateLimited`] or [`Error::AuthorityUnavailable`].
pub(super) fn read(answer: &Answer, question: &AuthorityQuestion, secrets: &[&str]) -> Result<Arc<str>, Error> {
    let body_excerpt = || excerpt(&answer.headers, &answer.body, secrets);
    let content_type = answer.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.trim_ascii_start().get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html")) {
        let (status, excerpt) = (answer.status_words(), quoted(&body_excerpt()));
        let reason = format!("it answered with a page of HTML and status {status}{excerpt}");
        return Err(Error::AuthorityUnavailable { reason, retry_after: answer.asks_to_wait() });
    }
    match answer.status.as_u16() {
        200 | 201 => account_in(&answer.body, question),
        429 => Err(Error::RateLimited { retry_after: question.kind.retry_after(answer.retry_after()) }),
        status @ 400..=499 => Err(Error::Refused { status, excerpt: body_excerpt() }),
        _ => Err(Error::AuthorityUnavailable {
            reason: format!("it answered with status {}{}", answer.status_words(), quoted(&body_excerpt())),
            retry_after: answer.asks_to_wait(),
        }),
    }
}

/// The account that the body of an approval names.
///
/// # Errors
/// [`Error::AuthorityUnavailable`]: the body is not such JSON, is about another cluster, or names no account or one of
/// more than [`MAX_ACCOUNT_BYTES`].
fn account_in(body: &[u8], question: &AuthorityQuestion) -> Result<Arc<str>, Error> {
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
