//! `GET /federate?match[]=…`: the fleet's newest samples, for any Prometheus to pull.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use telemeter_rules::Selector;
use telemeter_wire::{
    Label,
    exposition::{Escaping, TEXT_CONTENT_TYPE},
};
use tokio::sync::mpsc;

use super::Pages;

/// How many `match[]` a request may have, and how many bytes each.
const SELECTORS: usize = 1000;
const SELECTOR_BYTES: usize = 4096;

/// How many requests are answered at a time; others are answered with 503.
pub(super) const AT_A_TIME: usize = 4;

/// How many pieces wait for a reader.
const PIECES: usize = 4;

/// How long a reader may read nothing before its request ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with the newest sample of each series that at least one `match[]` selects, in the text format; names are escaped as
/// `escaping=` of the request's `Accept` asks.
pub(super) async fn federate(State(pages): State<Pages>, uri: Uri, request: HeaderMap) -> Response {
    let accept: Vec<_> = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let escaping = Escaping::accepted(&accept.join(","));
    let Some(store) = pages.view.gateway().recent_store.clone() else {
        return refuse(StatusCode::NOT_FOUND, "there is no recent store: start the server with --recent-store");
    };
    let selectors = match selectors(uri.query().unwrap_or("")) {
        Ok(selectors) => selectors,
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(turn) = Arc::clone(&pages.federations).try_acquire_owned() else {
        let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "others are being answered; come again");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("15"));
        return response;
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES);
    let is_whole = Arc::new(AtomicBool::new(false));
    let (whole, runtime) = (Arc::clone(&is_whole), tokio::runtime::Handle::current());
    let now_ms = pages.view.now_ms();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let matches = |labels: &[Label<'_>]| selectors.iter().any(|selector| selector.matches(labels));
        let ended = store.select(now_ms, escaping, matches, |piece| {
            let sent = runtime.block_on(tokio::time::timeout(PATIENCE, sender.send(piece.into())));
            if matches!(sent, Ok(Ok(()))) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        whole.store(ended.is_continue(), Ordering::Release);
    });
    let content_type = format!("{TEXT_CONTENT_TYPE}; escaping={}", escaping.as_str());
    let headers = [
        (header::CONTENT_TYPE, content_type.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body(receiver, is_whole)).into_response()
}

/// The body made of `pieces`. It ends with an error where pieces are missing: a text that is cut off would look complete.
fn body(pieces: mpsc::Receiver<Bytes>, is_whole: Arc<AtomicBool>) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some((pieces, is_whole)), |state| async {
        let (mut pieces, is_whole) = state?;
        match pieces.recv().await {
            Some(piece) => Some((Ok(piece), Some((pieces, is_whole)))),
            None if is_whole.load(Ordering::Acquire) => None,
            None => Some((Err(io::Error::other("the answer was cut off")), None)),
        }
    }))
}

/// The selectors of a query, or what is wrong with it: none, more than [`SELECTORS`], one over [`SELECTOR_BYTES`], or a
/// malformed one.
fn selectors(query: &str) -> Result<Vec<Selector>, String> {
    let mut selectors = Vec::new();
    for (_, text) in url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "match[]") {
        if selectors.len() == SELECTORS {
            return Err(format!("over the limit of {SELECTORS} match[]"));
        }
        if text.len() > SELECTOR_BYTES {
            return Err(format!("over the limit of {SELECTOR_BYTES} bytes in one match[]"));
        }
        selectors.push(Selector::parse(&text).map_err(|error| format!("match[]: {error}"))?);
    }
    if selectors.is_empty() {
        return Err(r#"say which series: /federate?match[]=up or /federate?match[]={__name__=~".+"}"#.to_owned());
    }
    Ok(selectors)
}

/// A response in plain text with one line, which no cache keeps. Line breaks in the reason become spaces.
fn refuse(status: StatusCode, reason: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("{}\n", reason.replace(['\n', '\r'], " "))).into_response()
}
