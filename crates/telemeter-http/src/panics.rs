//! Turns a panic in a handler into a 500; the connection and the process continue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

/// Runs `handler`; a panic in it becomes a 500 without details, and a log line.
pub async fn catch_panic(handler: impl Future<Output = Response>) -> Response {
    let mut handler = pin!(handler);
    // The future is not polled again after a panic, so no inconsistent state is used.
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = text.unwrap_or("of an unknown kind"), "a handler panicked");
            Poll::Ready((StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response())
        }
    })
    .await
}
