//! `POST /authorize`: exchanges a cluster token for an access token.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, header};
use telemeter_auth::{
    Secret, bearer,
    composite_token::MAX_CLUSTER_ID_BYTES,
    jwt::{Claims, sign},
    token_response::TokenResponse,
};
use telemeter_fleet::ReportRoute;
use telemeter_wire::{UPLOAD_ACCEPTS_HEADER, UploadAccepts};

use crate::{
    error::{Error, RequestError},
    gateway::Gateway,
    sender::{Sender, question_origin},
};

/// The cap on a form: it holds an ID, and fields that are ignored.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// `POST /authorize?id=ID`, or with the ID in a form. The comment on a step is the status that its failure answers with.
///
/// # Errors
/// Those of its steps, with the cluster as far as it is known.
pub(crate) async fn authorize(State(gateway): State<Gateway>, request: Request) -> Result<Response, RequestError> {
    gateway.enter()?; // 503
    let sender = Sender::of(&request);
    let in_query = id_in(request.uri().query().unwrap_or("").as_bytes());
    if in_query.is_none() && !is_form(&request) {
        return Err(Error::Form(MISSING).into()); // 400
    }
    let origin = question_origin(&request);
    let claimed = in_query.clone().unwrap_or_default();
    // A form is read only where the request shows a token.
    let token = bearer::token(request.headers()).map_err(|error| RequestError::claimed(&claimed, error))?; // 401
    let token = Secret::from(token);
    let id = match in_query {
        Some(id) => Some(id),
        None => id_in(&gateway.read_form(request, MAX_FORM_BYTES).await?), // 413, 400, 503
    };
    let cluster = check_id(id).map_err(|error| RequestError::claimed(&claimed, error))?; // 400
    let account = match &gateway.authority {
        Some(authority) => {
            let approval = authority.register(origin, &token, &cluster).await; // its own 4xx, or 503
            approval.map_err(|error| RequestError::claimed(&cluster, error))?.account.to_string()
        }
        None => cluster.clone(),
    };
    let mut labels: BTreeMap<String, String> = gateway.required_labels.iter().cloned().collect();
    labels.insert(gateway.partition_label.clone(), cluster.clone());
    let claims = Claims::new(account, labels, gateway.clock.now_ms(), gateway.token_expire);
    let jwt = sign(&gateway.verifier.keys(), &claims).map_err(|error| RequestError::verified(&cluster, error))?; // 503
    gateway.record_accepted(ReportRoute::Authorize, &cluster, &sender, None);
    let expires_in = i64::try_from(gateway.token_expire.as_secs()).unwrap_or(i64::MAX);
    let body = TokenResponse::new(jwt, expires_in, claims.labels).to_json();
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static(UPLOAD_ACCEPTS_HEADER), &UploadAccepts::ALL.to_string()),
    ];
    Ok((headers, body).into_response())
}

const MISSING: &str = "the id is missing: POST /authorize?id=CLUSTER_ID";

/// The `id` of a query or form.
fn id_in(form: &[u8]) -> Option<String> {
    url::form_urlencoded::parse(form).find(|(name, _)| name == "id").map(|(_, value)| value.into_owned())
}

/// Returns the ID, or an error where it is missing, empty, longer than [`MAX_CLUSTER_ID_BYTES`], or has a control
/// character.
fn check_id(id: Option<String>) -> Result<String, Error> {
    match id {
        None => Err(Error::Form(MISSING)),
        Some(id) if id.is_empty() => Err(Error::Form("the id is empty: POST /authorize?id=CLUSTER_ID")),
        Some(id) if id.len() > MAX_CLUSTER_ID_BYTES => Err(Error::Form("the id is longer than 256 bytes")),
        Some(id) if id.chars().any(char::is_control) => Err(Error::Form("the id holds a control character")),
        Some(id) => Ok(id),
    }
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    media.is_some_and(|media| media.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}
