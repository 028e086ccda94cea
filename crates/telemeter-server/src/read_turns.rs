//! Reads that walk over all that is known, for pages and the API: a few at a time, on threads that serve nobody.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets so many read at a time; the others wait for their turn. Cheap to clone; clones share the turns.
#[derive(Clone)]
pub(crate) struct ReadQueue(Arc<Semaphore>);

impl ReadQueue {
    pub(crate) fn new(at_a_time: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_a_time)))
    }

    /// Reads on a thread that may take its time. What is read gets the turn: it ends when that is dropped.
    pub(crate) async fn read_with_turn<T: Send + 'static>(
        &self,
        read: impl FnOnce(OwnedSemaphorePermit) -> T + Send + 'static,
    ) -> T {
        // It goes with the thread: a caller that hangs up does not make room for another.
        let turn = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        match tokio::task::spawn_blocking(move || read(turn)).await {
            Ok(answer) => answer,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// The same, with a turn that ends when `read` does.
    pub(crate) async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        let reading = move |turn| {
            let answer = read();
            drop(turn);
            answer
        };
        self.read_with_turn(reading).await
    }
}
