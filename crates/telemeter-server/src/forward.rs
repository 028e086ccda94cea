//! Sends series on to the store as remote write, and returns the store's answer to each caller.
//!
//! Messages of concurrent callers that arrive within a few milliseconds are joined into one request (group commit).
//! Messages of 1.0 are joined by concatenation, which protobuf allows; messages of 2.0 are joined under one symbol
//! table (`join`). Waiting requests are sent in fair order among the clusters (`queue`). When the store does not accept
//! a batch, for any reason, the batch is split until it is known which cluster's data caused the failure, so that one
//! cluster's data never makes another cluster's request fail (`scheduler`). That cluster is in quarantine for ten
//! minutes (`quarantine`). While the store accepts nothing, sending pauses (`circuit`).

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

/// Sends messages to the store. A clone is cheap and shares all state.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    store: StoreClient,
    config: BatchConfig,
    /// Hashes cluster IDs with a random key, so that no sender can choose two IDs with the same hash.
    keys: RandomState,
    scheduler: Mutex<Scheduler<WaitingCaller>>,
    full: Notify,
    /// How many batches may be open at the store, by [`Standing`].
    permits: [Arc<Semaphore>; 3],
}

/// The answer of a store that will never accept a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRefusal {
    /// The status of the answer: 400, 409, 413 or 422.
    pub status: StatusCode,
    /// An excerpt of the body, for the log; may be empty.
    pub store_message: Arc<str>,
}

/// The outcome of one message.
#[derive(Clone, Debug)]
pub enum StoreOutcome {
    /// The store accepted it with this status.
    Accepted(StatusCode),
    /// The store will never accept it: a retry does not help.
    Refused(StoreRefusal),
    /// The store did not accept it this time: a later retry may succeed.
    Unavailable {
        /// The status of the answer; `None` where there was no answer.
        status: Option<StatusCode>,
        /// The cause of the failure, for the log.
        cause: Arc<str>,
        /// The wait that the store asked for in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The message was not queued, because too many bytes wait for the store already.
    Overloaded,
}

impl StoreOutcome {
    /// The store's HTTP status as a number; 0 where there was no answer.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match self {
            Self::Accepted(status)
            | Self::Refused(StoreRefusal { status, .. })
            | Self::Unavailable { status: Some(status), .. } => status.as_u16(),
            Self::Unavailable { status: None, .. } | Self::Overloaded => 0,
        }
    }

    /// The outcome as the handler of the request returns it.
    ///
    /// # Errors
    /// [`Error::StoreRefused`], [`Error::StoreUnavailable`], [`Error::Overloaded`].
    pub fn into_result(self) -> Result<StatusCode, Error> {
        match self {
            Self::Accepted(status) => Ok(status),
            Self::Refused(StoreRefusal { status, store_message }) => Err(Error::StoreRefused { status, store_message }),
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
    /// Sends to `url` through `outbound`, with this tenant, and with an access token where there is a `token` source.
    /// `negotiation` decides the version of remote write.
    ///
    /// # Errors
    /// Where the tenant is not a valid header value.
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
            scheduler: Mutex::new(Scheduler::new(keys.hash_one("seed"), config.max_waiting_bytes)),
            keys,
            full: Notify::new(),
            permits: [permits(config.permits), permits(config.suspect_permits), permits(config.quarantine_permits)],
        })))
    }

    /// The version of remote write that the store gets now. A message in the other version is encoded again in this
    /// one.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.store.protocol()
    }

    /// Sends a message of a cluster, and waits for its outcome.
    pub async fn send(&self, cluster: &str, message: WriteMessage) -> StoreOutcome {
        self.send_in_slot(cluster, message, None).await
    }

    /// As [`Forward::send`], for an upload. If the caller has closed its connection by the time the store accepts the
    /// message, the `slot` of the rate limit is used up again.
    pub async fn send_in_slot(&self, cluster: &str, message: WriteMessage, slot: Option<SlotRecord>) -> StoreOutcome {
        let inner = &self.0;
        let (answer, response) = oneshot::channel();
        let now = Instant::now();
        let request = WaitingRequest {
            cluster: inner.keys.hash_one(cluster),
            held_bytes: message.held_bytes(),
            plain_bytes: message.plain_bytes(),
            arrived: now,
            expires: now + DEADLINE,
            item: WaitingCaller { message, span: tracing::Span::current(), answer, slot },
        };
        {
            let mut scheduler = inner.scheduler.lock();
            let Ok(standing) = scheduler.push(request, now) else { return StoreOutcome::Overloaded };
            let is_full = scheduler.totals(Standing::Good).plain_bytes >= inner.config.max_bytes;
            if scheduler.must_start_task(standing) {
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
