//! Checks the server: the connection, the exchange of the token, the upload.

use std::time::Instant;

use telemeter_http::{
    check::{self, CheckStep, CheckSteps},
    client::Outbound,
    clock::Clock,
    duration::HumanDuration,
};

use telemeter_wire::snappy;
use tokio::time::timeout;
use url::Url;

use super::{AUTHORIZE, CheckOptions, UPLOAD, bare_url};
use crate::{
    Worker,
    config::Config,
    metrics::Metrics,
    remote_write::{RemoteWriteError, RemoteWriter},
    token::{AccessTokens, TokenError},
    upload::{UploadError, Uploads},
};

/// Connects to the host that exchanges tokens, and to the host of uploads where that is another one. Returns `None` where
/// there is no connection; else how far the server's clock is ahead of this one, in milliseconds, or why that is not known.
pub(super) async fn connect(
    config: &Config,
    outbound: &Outbound,
    steps: &mut CheckSteps<'_>,
) -> Option<Result<i64, String>> {
    if let Some(receive) = &config.to.receive {
        let is_reached = check::connection(steps, outbound, "--to", receive).await;
        return if is_reached { Some(check::clock_offset(outbound, receive).await) } else { None };
    }
    let (authorize, upload) = (&config.to.authorize, &config.to.upload);
    let is_one = authorize.origin() == upload.origin();
    if !check::connection(steps, outbound, if is_one { "--to" } else { "--to-auth" }, authorize).await {
        return None;
    }
    if !is_one && !check::connection(steps, outbound, "--to-upload", upload).await {
        return None;
    }
    Some(check::clock_offset(outbound, upload).await)
}

/// Exchanges the token; then uploads for real, or uploads nothing to learn whether an upload would be accepted.
pub(super) async fn exchange(config: &Config, outbound: &Outbound, options: CheckOptions, steps: &mut CheckSteps<'_>) {
    let clock = Clock::system();
    if let Some(receive) = &config.to.receive {
        steps.add(remote_write(config, receive, clock, outbound, options).await);
        return;
    }
    let authorize = config.to.authorize.clone();
    let mut access_tokens =
        AccessTokens::new(outbound.clone(), authorize, config.to.token.clone(), clock.clone(), Metrics::default());
    let (start, tried) = (Instant::now(), format!("--to: the token at {}", bare_url(&config.to.authorize)));
    // The client itself waits longer, because the server asks its authority.
    let exchanged = match timeout(options.timeout, access_tokens.current()).await {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(error)) => Err((error.to_string(), advice_for_token(&error))),
        Err(_elapsed) => Err((
            format!("the server did not answer within {}", HumanDuration(options.timeout)),
            "is the server, or its authority, slow? see its log",
        )),
    };
    let token = match exchanged {
        Ok(token) => token,
        Err((cause, advice)) => {
            steps.add(CheckStep::failed(AUTHORIZE, tried, cause).advise(advice).took_since(start));
            steps.add(CheckStep::skipped(UPLOAD, "--to: the upload", "there is no token for it"));
            return;
        }
    };
    let labels: Vec<_> = token.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let found = format!("200: a token, and the labels that every series gets: {}", labels.join(", "));
    steps.add(CheckStep::passed(AUTHORIZE, tried, found).took_since(start));

    let (start, url) = (Instant::now(), bare_url(&config.to.upload));
    if options.send {
        steps.add(uploaded(config, clock, format!("--to: an upload to {url}")).await.took_since(start));
        return;
    }
    let tried = format!("--to: an empty upload to {url}");
    let uploads = Uploads::new(outbound.clone(), config.to.upload.clone(), Metrics::default());
    let step = match uploads.send(&token, bytes::Bytes::new()).await {
        Ok(Some(_)) => CheckStep::passed(UPLOAD, tried, "200: an upload would be taken (--send makes a real one)"),
        Ok(None) => CheckStep::passed(UPLOAD, tried, "200: an upload would be taken, by a server of another kind"),
        Err(UploadError::TooOften(refusal)) => {
            let found = format!("{refusal}: the token is good, and this cluster uploaded a moment ago");
            CheckStep::passed(UPLOAD, tried, found)
        }
        Err(error) => {
            let advice = advice_for_upload(&error);
            CheckStep::failed(UPLOAD, tried, error.to_string()).advise(advice)
        }
    };
    steps.add(step.took_since(start));
}

/// Remote-writes nothing, which tells whether the token is taken; or, where it is to send, a whole cycle.
async fn remote_write(
    config: &Config,
    receive: &Url,
    clock: Clock,
    outbound: &Outbound,
    options: CheckOptions,
) -> CheckStep {
    let (start, url) = (Instant::now(), bare_url(receive));
    if options.send {
        return uploaded(config, clock, format!("--to: remote write to {url}")).await.took_since(start);
    }
    let tried = format!("--to: an empty remote write to {url}");
    let (id, token) = (config.id.clone(), config.to.token.clone());
    let (outbound, metrics) = (outbound.clone(), Metrics::default());
    let writer = RemoteWriter::new(outbound, receive.clone(), id, token, options.timeout, metrics);
    let mut nothing = Vec::new();
    snappy::Encoder::new().block(&[], &mut nothing);
    let step = match timeout(
        options.timeout,
        writer.post(nothing.into(), tokio::time::Instant::now() + options.timeout),
    )
    .await
    {
        Ok(Ok(())) => CheckStep::passed(UPLOAD, tried, "the receiver takes the token (--send makes a real one)"),
        Ok(Err(error)) => {
            let advice = advice_for_remote_write(&error);
            CheckStep::failed(UPLOAD, tried, error.to_string()).advise(advice)
        }
        Err(_elapsed) => {
            let cause = format!("the receiver did not answer within {}", HumanDuration(options.timeout));
            CheckStep::failed(UPLOAD, tried, cause).advise("is the receiver, or its authority, slow? see its log")
        }
    };
    step.took_since(start)
}

/// What to do about a remote write that failed.
fn advice_for_remote_write(error: &RemoteWriteError) -> &'static str {
    match error {
        RemoteWriteError::Credential(_) => "see --to-token-file",
        RemoteWriteError::Unreachable(error) if error.is_not_http() => "write https:// in --to",
        RemoteWriteError::Unreachable(_) => "is the receiver slow, or does a proxy stand before it?",
        RemoteWriteError::Unauthorized(_) => "is what --to-token-file holds this cluster's current token? see --id",
        RemoteWriteError::TooOften(_) => "wait as long as it says",
        RemoteWriteError::Refused(_) => "ask the operator of the receiver, with the request's id",
        RemoteWriteError::NotAReceiver(_) => {
            "give the URL of a telemeter server as --to, or of a receiver as --to-receive"
        }
        RemoteWriteError::Failed(_) => "the receiver, or its store, has a problem of its own: tell its operator",
    }
}

/// Runs a whole cycle, as the client does, with a real upload. The step fails where the cycle does, and is a warning
/// where nothing was left to upload or the server kept nothing.
async fn uploaded(config: &Config, clock: Clock, tried: String) -> CheckStep {
    let cycle = match Worker::new(config, clock, Metrics::default()) {
        Ok(mut worker) => worker.cycle().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let report = match cycle {
        Ok(report) => report,
        Err(error) => {
            return CheckStep::failed(UPLOAD, tried, error).advise("see the log of the server for the request's id");
        }
    };
    let (uploaded, bytes) = (report.uploaded, report.bytes);
    match (uploaded, report.counts) {
        (0, _) => CheckStep::warned(UPLOAD, tried, "nothing was left to upload").advise("see the step scrape"),
        (_, None) => CheckStep::passed(UPLOAD, tried, format!("200: {uploaded} series in {bytes} bytes")),
        (_, Some(counts)) => {
            let found = format!(
                "200: {uploaded} series in {bytes} bytes; the server kept {}, filtered {}, and left out {} duplicates",
                counts.kept, counts.filtered, counts.duplicates
            );
            match counts.kept {
                0 => {
                    CheckStep::warned(UPLOAD, tried, found).advise("the server's whitelist allows none of these series")
                }
                _ => CheckStep::passed(UPLOAD, tried, found),
            }
        }
    }
}

/// What to do where the server gave no access token.
fn advice_for_token(error: &TokenError) -> &'static str {
    match error {
        TokenError::Credential(_) => "see --to-token-file",
        TokenError::Unreachable(error) if error.is_not_http() => "write https:// in --to",
        TokenError::Unreachable(_) => "is the server slow, or does a proxy stand before it?",
        TokenError::Refused(refusal) => match refusal.status.as_u16() {
            401 => "is what --to-token-file holds this cluster's current token?",
            403 => "may this account report? ask the operator of the server",
            404 => "does the vendor know this cluster? see --id",
            409 => "another token has this --id: is it copied from another cluster?",
            _ => "ask the operator of the server",
        },
        TokenError::NotAServer(_) | TokenError::Answer(_) => "give the URL of a telemeter server as --to",
        TokenError::WantsHttps(_) => "write https:// in --to",
        TokenError::Failed(refusal) if refusal.status.as_u16() == 429 => "wait as long as it says",
        TokenError::Failed(_) => "the server, or its authority, has a problem of its own: tell its operator",
    }
}

/// What to do about an upload that failed.
fn advice_for_upload(error: &UploadError) -> &'static str {
    match error {
        UploadError::Unreachable(error) if error.is_not_http() => "write https:// in --to-upload",
        UploadError::Unreachable(_) => "is the server slow, or does a proxy stand before it?",
        UploadError::Unauthorized(_) => {
            "do /authorize and /upload lead to the same server, with the same --shared-key?"
        }
        UploadError::TooOften(_) => "wait as long as it says",
        UploadError::TooLarge { .. } => "name less with --match, or raise the server's --limit-bytes",
        UploadError::Refused(_) => "ask the operator of the server, with the request's id",
        UploadError::NotAServer(_) => "give the URL of a telemeter server as --to, or as --to-upload",
        UploadError::Failed(_) => "the server, or its store, has a problem of its own: tell its operator",
    }
}
