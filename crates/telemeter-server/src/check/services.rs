//! Checks the services that the server calls, with the requests that the server sends them.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use telemeter_auth::{
    Error as AuthError, Secret,
    authority::{Authority, QuestionOrigin},
    memcached::{CacheError, Memcached},
    oidc::TokenSource,
};
use telemeter_http::{
    check::{self, CheckStep, CheckSteps},
    client::Outbound,
};
use tokio::time::timeout;
use url::Url;

use super::{AUTHORITY, DEADLINE, MEMCACHED, OIDC, STORE};
use crate::{
    config,
    forward::{Forward, StoreOutcome, WriteMessage},
};

/// A cluster ID and token that no real cluster has.
const MADE_UP: &str = "telemeter-server-check";
/// What is written to memcached expires after this.
const CACHE_EXPIRE: Duration = Duration::from_secs(10);
/// How long the name of a memcached server may take to be resolved.
const CACHE_WAIT: Duration = Duration::from_secs(5);

const TIMED_OUT: &str = "no answer within 30 s";

/// Checks the provider: requests a token.
pub(super) async fn oidc(oidc: &config::Oidc, outbound: &Outbound, source: &TokenSource, steps: &mut CheckSteps<'_>) {
    let tried = format!("--oidc-issuer: discovery at {}, and a token for {}", oidc.issuer, oidc.client_id);
    if let Ok(url) = oidc.issuer.parse::<Url>()
        && !check::connection(steps, outbound, "--oidc-issuer", &url).await
    {
        steps.add(CheckStep::skipped(OIDC, tried, "the provider was not reached"));
        return;
    }
    let start = Instant::now();
    let step = match timeout(DEADLINE, source.token()).await {
        Err(_) => CheckStep::failed(OIDC, tried, TIMED_OUT),
        Ok(Err(error)) => CheckStep::failed(OIDC, tried, error.to_string()).advise(
            "see --oidc-issuer (as the provider names itself), --client-id, --client-secret and --oidc-audience",
        ),
        Ok(Ok(token)) => check_audience(tried, &token, oidc.audience.as_deref()),
    };
    steps.add(step.took_since(start));
}

/// Checks the audience of a token, where the token names one: the store and the authority read it.
fn check_audience(tried: String, token: &Secret, expected: Option<&str>) -> CheckStep {
    let payload = token.expose().split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    let audiences: Vec<String> = match claims.as_ref().map(|claims| &claims["aud"]) {
        Some(serde_json::Value::String(one)) => vec![one.clone()],
        Some(serde_json::Value::Array(all)) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let shown =
        audiences.iter().map(|audience| audience.chars().filter(|c| !c.is_control()).take(100).collect::<String>());
    let found = match audiences.is_empty() {
        true => "a token, which does not say for whom".to_owned(),
        false => format!("a token for {}", shown.collect::<Vec<_>>().join(", ")),
    };
    match expected {
        Some(expected) if !audiences.is_empty() && !audiences.iter().any(|audience| audience == expected) => {
            CheckStep::warned(OIDC, tried, format!("{found}, and not for {expected}"))
                .advise("does the provider know the audience of --oidc-audience?")
        }
        _ => CheckStep::passed(OIDC, tried, found),
    }
}

/// Checks the authority: asks it about a made-up token. Returns whether it was reached.
pub(super) async fn authority(
    url: &Url,
    outbound: &Outbound,
    authority: &Authority,
    steps: &mut CheckSteps<'_>,
) -> bool {
    let tried = "--authorize: whether a made-up token may report";
    if !check::connection(steps, outbound, "--authorize", url).await {
        steps.add(CheckStep::skipped(AUTHORITY, tried, "the authority was not reached"));
        return false;
    }
    let start = Instant::now();
    let origin = QuestionOrigin { peer: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let step = match timeout(DEADLINE, authority.register(origin, &Secret::from(MADE_UP), MADE_UP)).await {
        Err(_) => CheckStep::failed(AUTHORITY, tried, TIMED_OUT),
        Ok(Ok(_)) => CheckStep::warned(AUTHORITY, tried, "it approves: does it approve everything?")
            .advise("look whether the authority tells tokens apart"),
        Ok(Err(AuthError::Refused { status: 404, .. })) => CheckStep::warned(
            AUTHORITY,
            tried,
            "it answers 404: the cluster is not known, or nothing answers at this path",
        )
        .advise("is the path of --authorize right?"),
        Ok(Err(AuthError::Refused { status, .. })) => {
            CheckStep::passed(AUTHORITY, tried, format!("it answers, and refuses it with {status}"))
        }
        Ok(Err(AuthError::RateLimited { .. })) => {
            CheckStep::warned(AUTHORITY, tried, "it answers 429").advise("does it hold this server to too low a rate?")
        }
        Ok(Err(error)) => {
            CheckStep::failed(AUTHORITY, tried, error.to_string()).advise("is --authorize right? see its log")
        }
    };
    steps.add(step.took_since(start));
    true
}

/// Checks one memcached server: writes a value and reads it back.
pub(super) async fn memcached(server: &str) -> CheckStep {
    let (start, tried) = (Instant::now(), format!("--memcached {server}: a value, written and read"));
    let client = Memcached::new(&[server.to_owned()], Duration::MAX);
    let write = async {
        loop {
            match client.set(MADE_UP, b"1", CACHE_EXPIRE).await {
                // Its name may not be resolved yet; after a failure the client waits for a second before it connects again.
                Err(CacheError::Unavailable | CacheError::Timeout) if start.elapsed() < CACHE_WAIT => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                written => return written,
            }
        }
    };
    let step = match write.await {
        Err(error) => CheckStep::failed(MEMCACHED, tried, error.to_string())
            .advise("does it run at this address? without it, each replica caches its own approvals"),
        Ok(()) => match client.get(MADE_UP).await {
            Ok(Some(_)) => CheckStep::passed(MEMCACHED, tried, "it keeps it"),
            Ok(None) => CheckStep::warned(MEMCACHED, tried, "it does not keep it").advise("has it any memory (-m)?"),
            Err(error) => CheckStep::failed(MEMCACHED, tried, error.to_string()).advise("see its log"),
        },
    };
    let _ = client.delete(MADE_UP).await;
    step.took_since(start)
}

/// Checks the store: sends a remote write without series. Returns whether the store was reached.
pub(super) async fn store(url: &Url, outbound: &Outbound, forward: &Forward, steps: &mut CheckSteps<'_>) -> bool {
    let tried = "--forward-url: a remote write without series";
    if !check::connection(steps, outbound, "--forward-url", url).await {
        steps.add(CheckStep::skipped(STORE, tried, "the store was not reached"));
        return false;
    }
    let start = Instant::now();
    let sent = timeout(DEADLINE, forward.send(MADE_UP, WriteMessage::empty(forward.protocol()))).await;
    let version = forward.protocol().version();
    let step = match sent {
        Err(_) => CheckStep::failed(STORE, tried, TIMED_OUT),
        Ok(StoreOutcome::Accepted(status)) => {
            CheckStep::passed(STORE, tried, format!("it takes it ({}, remote write {version})", status.as_u16()))
        }
        Ok(StoreOutcome::Refused(refusal)) => {
            let found = format!("it answers {} to nothing at all: {}", refusal.status.as_u16(), refusal.store_message);
            CheckStep::warned(STORE, tried, found)
                .advise(format!("does it take remote write {version} (--forward-protocol)?"))
        }
        Ok(StoreOutcome::Unavailable { cause, .. }) => CheckStep::failed(STORE, tried, cause.to_string())
            .advise("is the path of --forward-url that of its remote write, and is remote write enabled?"),
        Ok(StoreOutcome::Overloaded) => CheckStep::failed(STORE, tried, "too much waits for it"),
    };
    steps.add(step.took_since(start));
    true
}
