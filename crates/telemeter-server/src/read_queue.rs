//! Reads that walk over the whole registry, for pages and the API: a few at a time, on threads that answer no requests.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a number of reads run at a time; the others wait for a permit. Cheap to clone; clones share the permits.
#[derive(Clone)]
pub(crate) struct ReadQueue(Arc<Semaphore>);

impl ReadQueue {
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// Runs `read` on a thread that may block. `read` gets the permit: the next read waits until it is dropped.
    pub(crate) async fn read_with_permit<T: Send + 'static>(
        &self,
        read: impl FnOnce(OwnedSemaphorePermit) -> T + Send + 'static,
    ) -> T {
        // The permit goes with the thread: a caller that leaves does not let another read begin meanwhile.
        let permit = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        match tokio::task::spawn_blocking(move || read(permit)).await {
            Ok(answer) => answer,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// The same, with a permit that ends when `read` does.
    pub(crate) async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        let reading = move |permit| {
            let answer = read();
            drop(permit);
            answer
        };
        self.read_with_permit(reading).await
    }
}
