//! An answer that is read as it arrives, for those who need not hold it whole.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::{Answer, Outbound, OutboundError, failure, redact};
use crate::propagate;

/// An answer whose head is here and whose body is on its way. The deadline of the whole exchange goes on.
#[derive(Debug)]
pub struct Opened {
    /// Its status; a redirect is one like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    deadline: Instant,
    cap_bytes: usize,
    room: usize,
}

impl Outbound {
    /// As [`send`](Self::send), but leaves the body, of at most `cap_bytes`, to [`Opened::chunk`].
    ///
    /// The metrics and the log of round trips count until the head is here.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn open(&self, mut request: reqwest::Request, cap_bytes: usize) -> Result<Opened, OutboundError> {
        propagate::inject(request.headers_mut());
        let config = &self.shared.config;
        let trip = config.verbose.then(|| redact::RoundTrip::of(&request));
        let method = crate::metrics::method_label(request.method());
        let in_flight = self.shared.metrics.as_ref().map(|metrics| metrics.start(config.name));
        let start = Instant::now();
        let deadline = start + config.timeout;

        let outcome = match tokio::time::timeout_at(deadline, self.http().execute(request)).await {
            Ok(Ok(mut response)) => {
                let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
                Ok(Opened { status, headers, response, deadline, cap_bytes, room: cap_bytes })
            }
            Ok(Err(error)) => Err(failure(error)),
            Err(_elapsed) => Err(OutboundError::Timeout),
        };

        let took = start.elapsed();
        if let Some(in_flight) = in_flight {
            in_flight.end(method, outcome.as_ref().ok().map(|opened| opened.status), took);
        }
        match (trip, outcome) {
            (Some(trip), Ok(opened)) => {
                let head = Answer { status: opened.status, headers: opened.headers.clone(), body: Bytes::new() };
                trip.log(config.name, &Ok(head), took);
                Ok(opened)
            }
            (Some(trip), Err(error)) => {
                let outcome = Err(error);
                trip.log(config.name, &outcome, took);
                outcome.map(|_: Answer| unreachable!("it is an error"))
            }
            (None, outcome) => outcome,
        }
    }
}

impl Opened {
    /// The part of the body that arrived next; `None` at its end.
    ///
    /// # Errors
    /// [`OutboundError::TooLarge`] as soon as the body says that it is, or turns out to be, over the cap.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        let cap_bytes = self.cap_bytes;
        if self.room == cap_bytes && self.response.content_length().is_some_and(|bytes| bytes > cap_bytes as u64) {
            return Err(OutboundError::TooLarge { cap_bytes });
        }
        let chunk = match tokio::time::timeout_at(self.deadline, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(failure)?,
            Err(_elapsed) => return Err(OutboundError::Timeout),
        };
        if let Some(chunk) = &chunk {
            self.room = self.room.checked_sub(chunk.len()).ok_or(OutboundError::TooLarge { cap_bytes })?;
        }
        Ok(chunk)
    }

    /// How long it asks us to wait, as [`Answer::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        super::retry_after(&self.headers, crate::clock::Clock::system().now_ms())
    }
}
