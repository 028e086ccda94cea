//! Sends series on to the store as remote write, and tells each caller what the store said.
//!
//! Group commit: what concurrent callers bring within a moment is joined into one request, since `WriteRequest` messages
//! may be concatenated, and requests of 2.0 brought under one table of symbols (`join`). What waits is taken in turns by cluster (`queue`). When the store does not take a joined request,
//! whatever the failure, it is split until it is known whose data it was, so that one cluster's data never fails another's
//! (`scheduler`); that cluster is in quarantine for a while (`quarantine`). A store that takes nothing is given a pause
//! (`circuit`).

mod batch;
mod circuit;
mod join;
mod message;
mod negotiation;
mod quarantine;
mod queue;
mod scheduler;
mod store_client;
mod verdict;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use parking_lot::Mutex;
use telemeter_auth::oidc::TokenSource;
use telemeter_http::client::Outbound;
use tokio::sync::{Notify, Semaphore, oneshot};
use url::Url;

pub use self::{batch::BatchConfig, message::WriteMessage, negotiation::Negotiation, scheduler::DEADLINE};
use self::{
    batch::{WaitingCaller, start_batches},
    queue::{Standing, WaitingRequest},
    scheduler::Scheduler,
    store_client::StoreClient,
};
use crate::{error::Error, protocol::Protocol, ratelimit::SlotRecord};

/// The way to the store. Cheap to clone.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    store: StoreClient,
    config: BatchConfig,
    /// Hashes clusters' IDs, so that nobody can choose two that meet.
    keys: RandomState,
    scheduler: Mutex<Scheduler<WaitingCaller>>,
    full: Notify,
    /// By standing.
    permits: [Arc<Semaphore>; 3],
}

/// What a store said that will never take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRefusal {
    /// Its status: 400, 409, 413 or 422.
    pub status: StatusCode,
    /// An excerpt of its words, for the log; may be empty.
    pub said: Arc<str>,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub enum StoreOutcome {
    /// The store has it, and said so with this status.
    Taken(StatusCode),
    /// The store will never take it.
    Refused(StoreRefusal),
    /// The store did not take it this time.
    Unavailable {
        /// Its status; `None` where there was no answer.
        status: Option<StatusCode>,
        /// For the log.
        cause: Arc<str>,
        /// What the store asked for.
        retry_after: Option<Duration>,
    },
    /// Too much waits for the store already.
    Overloaded,
}

impl StoreOutcome {
    /// The store's status as a number, 0 where there was no answer.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match self {
            Self::Taken(status)
            | Self::Refused(StoreRefusal { status, .. })
            | Self::Unavailable { status: Some(status), .. } => status.as_u16(),
            Self::Unavailable { status: None, .. } | Self::Overloaded => 0,
        }
    }

    /// As the caller is told.
    ///
    /// # Errors
    /// [`Error::StoreRefused`], [`Error::StoreUnavailable`], [`Error::Overloaded`].
    pub fn into_result(self) -> Result<StatusCode, Error> {
        match self {
            Self::Taken(status) => Ok(status),
            Self::Refused(StoreRefusal { status, said }) => Err(Error::StoreRefused { status, said }),
            Self::Unavailable { cause, retry_after, .. } => {
                Err(Error::StoreUnavailable { cause: cause.to_string(), retry_after })
            }
            Self::Overloaded => Err(Error::Overloaded),
        }
    }

    fn unavailable(status: Option<StatusCode>, cause: impl Into<Arc<str>>) -> Self {
        Self::Unavailable { status, cause: cause.into(), retry_after: None }
    }
}

impl Forward {
    /// Sends to `url` through `outbound`, with this tenant, and with a token where there is a source of them. The version of
    /// remote write is what `negotiation` says.
    ///
    /// # Errors
    /// Where the tenant cannot stand in a header.
    pub fn new(
        url: Url,
        tenant: Option<&str>,
        outbound: Outbound,
        token: Option<TokenSource>,
        config: BatchConfig,
        negotiation: Negotiation,
    ) -> Result<Self, String> {
        let keys = RandomState::new();
        let permits = |permits| Arc::new(Semaphore::new(permits));
        Ok(Self(Arc::new(Inner {
            store: StoreClient::new(url, tenant, outbound, token, negotiation)?,
            config,
            scheduler: Mutex::new(Scheduler::new(keys.hash_one("seed"), config.room_bytes)),
            keys,
            full: Notify::new(),
            permits: [permits(config.permits), permits(config.suspect_permits), permits(config.quarantine_permits)],
        })))
    }

    /// The remote write that the store is sent now. A message of the other version is sent as this one.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.store.protocol()
    }

    /// Sends a message of a cluster, and waits for what the store says of it.
    pub async fn send(&self, cluster: &str, message: WriteMessage) -> StoreOutcome {
        self.send_in_slot(cluster, message, None).await
    }

    /// The same of an upload: its slot is taken once more where the store takes the message after the caller has left.
    pub async fn send_in_slot(&self, cluster: &str, message: WriteMessage, taken: Option<SlotRecord>) -> StoreOutcome {
        let inner = &self.0;
        let (answer, response) = oneshot::channel();
        let now = Instant::now();
        let request = WaitingRequest {
            cluster: inner.keys.hash_one(cluster),
            block_bytes: message.held_bytes(),
            plain_bytes: message.plain_bytes(),
            arrived: now,
            expires: now + DEADLINE,
            item: WaitingCaller { message, span: tracing::Span::current(), answer, taken },
        };
        {
            let mut scheduler = inner.scheduler.lock();
            let Ok(standing) = scheduler.push(request, now) else { return StoreOutcome::Overloaded };
            let is_full = scheduler.totals(Standing::Good).plain_bytes >= inner.config.max_bytes;
            if scheduler.starts(standing) {
                start_batches(inner, standing);
            }
            if is_full {
                inner.full.notify_one();
            }
        }
        response.await.unwrap_or_else(|_| StoreOutcome::unavailable(None, "the task that sends ended"))
    }
}

#[cfg(test)]
mod tests;
