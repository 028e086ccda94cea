//! A handler that panics answers 500; the connection and the process go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

/// Runs `handler`; a panic in it becomes a 500 that says nothing of it, and a line in the log.
pub async fn caught(handler: impl Future<Output = Response>) -> Response {
    let mut handler = pin!(handler);
    // The future is not polled again after a panic, so no broken state is seen.
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
