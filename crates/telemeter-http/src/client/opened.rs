//! A response whose body is read as it arrives, for callers that need not hold the whole body.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::connect::OutboundConnection;
use super::error::seconds;
use super::gunzip::{Gunzip, GunzipError};
use super::pool::PoolLease;
use super::redact::bare_url;
use super::{Answer, Outbound, OutboundError, OutboundRequest, Redirects, redact, words};
use crate::propagate;

/// A response whose headers were received and whose body is still being received. The deadline of the response
/// continues.
#[derive(Debug)]
pub struct OpenAnswer {
    /// Its status; a redirect that is not followed is returned like any other status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) gunzip: Option<Gunzip>,
    pub(super) connection: Option<(PoolLease, OutboundConnection)>,
    pub(super) through: Option<String>,
    pub(super) url: Url,
    pub(super) deadline: Instant,
    pub(super) limit: Duration,
    pub(super) cap_bytes: usize,
    /// The number of decoded bytes that may still arrive within the cap.
    pub(super) remaining_bytes: usize,
    /// The number of bytes that were received, before decoding.
    pub(super) received: u64,
}

impl Outbound {
    /// Sends a request as [`send`](Self::send) does, but leaves the body, of at most `cap_bytes`, to
    /// [`OpenAnswer::chunk`], and follows redirects where the configuration says so.
    ///
    /// The metrics and the log of round trips cover the time until the headers were received.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn open(&self, mut request: OutboundRequest, cap_bytes: usize) -> Result<OpenAnswer, OutboundError> {
        propagate::inject(request.headers_mut());
        let config = &self.shared.config;
        let trip = config.verbose.then(|| redact::RequestLogFields::of(&request));
        let method = crate::metrics::method_label(request.method());
        let in_flight = self.shared.metrics.as_ref().map(|metrics| metrics.start(config.name));
        let start = Instant::now();

        let outcome = match config.redirects {
            Redirects::Answer => self.begin(request, cap_bytes).await,
            Redirects::Follow => self.follow(request, cap_bytes).await,
        };

        let took = start.elapsed();
        if let Some(in_flight) = in_flight {
            in_flight.end(method, outcome.as_ref().ok().map(|opened| opened.status), took);
        }
        if let Some(trip) = trip {
            let head = outcome.as_ref().map(|opened| {
                let headers = opened.headers.clone();
                Answer { status: opened.status, headers, body: Bytes::new(), redirect: None, through: None }
            });
            trip.log(config.name, &head.map_err(Clone::clone), took);
        }
        outcome
    }
}

impl OpenAnswer {
    /// The next part of the body, never an empty one; `None` at its end.
    ///
    /// # Errors
    /// [`OutboundError::TooLarge`] as soon as the body turns out to be over the cap.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        loop {
            let plain = match &mut self.gunzip {
                Some(gunzip) if gunzip.has_input() => gunzip.next(self.remaining_bytes),
                _ => match self.frame().await? {
                    Some(data) => match &mut self.gunzip {
                        Some(gunzip) => {
                            gunzip.feed(data);
                            continue;
                        }
                        None => Ok(data),
                    },
                    None => match self.gunzip.take() {
                        Some(gunzip) => gunzip.finish(self.remaining_bytes),
                        None => return Ok(None),
                    },
                },
            };
            let plain = plain.map_err(|error| self.gunzip_failed(error))?;
            self.remaining_bytes = self.remaining_bytes.checked_sub(plain.len()).ok_or_else(|| self.too_large())?;
            if !plain.is_empty() {
                return Ok(Some(plain));
            }
        }
    }

    /// Receives the next bytes of the connection; `None` at the end of the body, when the connection goes back to the
    /// pool. Returns an error after the deadline, and where the response breaks off.
    async fn frame(&mut self) -> Result<Option<Bytes>, OutboundError> {
        loop {
            match timeout_at(self.deadline, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
                Ok(Some(Err(error))) => {
                    let (target, bytes, cause) = (bare_url(&self.url), self.received, words::error_text(&error));
                    let text = format!("the answer of {target} broke off after {bytes} bytes: {cause}");
                    return Err(OutboundError::Broken(self.error_context(&text)));
                }
                Ok(None) => {
                    if let Some((lease, connection)) = self.connection.take() {
                        lease.give_back(connection);
                    }
                    return Ok(None);
                }
                Err(_elapsed) => {
                    let (target, limit, bytes) = (bare_url(&self.url), seconds(self.limit), self.received);
                    let text = format!("the answer of {target} was not complete within {limit}: {bytes} bytes came");
                    return Err(OutboundError::Timeout(self.error_context(&text)));
                }
            }
        }
    }

    fn error_context(&self, what: &str) -> String {
        match &self.connection {
            Some((lease, _)) => format!("{what} ({})", lease.origin.path()),
            None => what.to_owned(),
        }
    }

    fn too_large(&self) -> OutboundError {
        OutboundError::TooLarge { cap_bytes: self.cap_bytes, target: bare_url(&self.url) }
    }

    /// The error of the call for an error of its decompression.
    fn gunzip_failed(&self, error: GunzipError) -> OutboundError {
        match error {
            GunzipError::TooLarge => self.too_large(),
            GunzipError::Corrupt(cause) => {
                let (target, bytes) = (bare_url(&self.url), self.received);
                OutboundError::Broken(format!("the gzip of {target} is broken within {bytes} bytes: {cause}"))
            }
        }
    }

    /// The URL of the response: that of the request, or of the last redirect.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The wait that the response asks for, as [`Answer::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        super::retry_after(&self.headers, crate::clock::Clock::system().now_ms())
    }

    /// The proxy that it came through, as [`Answer::through`].
    pub fn through(&self) -> Option<String> {
        self.through.clone()
    }

    /// The target of a redirect, without user, password and query.
    pub fn redirect_target(&self) -> Option<String> {
        if !self.status.is_redirection() {
            return None;
        }
        let location = self.headers.get(header::LOCATION)?.to_str().ok()?;
        Some(self.url.join(location).map_or_else(|_| "something that is no URL".to_owned(), |url| bare_url(&url)))
    }
}
