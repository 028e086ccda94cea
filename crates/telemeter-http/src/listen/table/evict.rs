//! Eviction: which connections and requests are closed where a cap or a memory share is used up.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::metrics::CloseReason;
use super::forwarded::Forwarded;
use super::open::OpenConnections;
use super::record::{ConnectionRecord, HeldBytes};
use super::{ClientNetwork, ConnectionTable, Owner};

/// The kind and the amount of what an eviction has to free.
#[derive(Clone, Copy, Debug)]
pub(super) enum EvictionGoal {
    Connections(usize),
    ConnectionBytes(usize),
    RequestBytes(usize),
}

/// The client that an eviction is made for.
#[derive(Clone, Copy, Debug)]
pub(super) enum EvictionBeneficiary {
    Client(ClientNetwork),
    /// A client behind a trusted proxy that the proxy has not named yet.
    Proxy,
}

impl From<Owner> for EvictionBeneficiary {
    fn from(owner: Owner) -> Self {
        if owner.proxy { Self::Proxy } else { Self::Client(owner.client) }
    }
}

/// The client that a connection's memory counts for.
enum Holder {
    Client(ClientNetwork),
    /// The proxy: there is no open request on the connection.
    Proxy,
    /// Several clients behind a proxy.
    Several,
}

impl Holder {
    /// The holder of a connection's memory: its owner, or, for a trusted proxy, the only client that it forwards for,
    /// or several.
    fn of(owner: Owner, held: &HeldBytes) -> Self {
        match held.only_client() {
            _ if !owner.proxy => Self::Client(owner.client),
            Some(client) => Self::Client(client),
            None if held.forwarded.is_empty() => Self::Proxy,
            None => Self::Several,
        }
    }
}

/// A connection, or one request on it, that may be evicted.
struct EvictionCandidate {
    /// `None` for a connection of a proxy, which carries the requests of many clients.
    client: Option<ClientNetwork>,
    id: u64,
    request: Option<Arc<Forwarded>>,
    is_worked_for: bool,
    last_ms: u64,
    held: usize,
}

impl EvictionCandidate {
    fn connection(client: Option<ClientNetwork>, record: &ConnectionRecord, held: usize) -> Self {
        let (is_worked_for, last_ms) = (record.has_running_handler(), record.last_progress_ms());
        Self { client, id: record.id, request: None, is_worked_for, last_ms, held }
    }

    /// A request that came through a trusted proxy, on the connection `id`: it can be evicted by itself, and counts for
    /// the client that the proxy names.
    fn request(id: u64, request: &Arc<Forwarded>) -> Self {
        Self {
            client: Some(request.client),
            id,
            is_worked_for: !request.waits.load(Ordering::Relaxed),
            last_ms: request.last_ms.load(Ordering::Relaxed),
            held: request.bytes,
            request: Some(request.clone()),
        }
    }
}

impl EvictionGoal {
    const fn amount(self) -> usize {
        match self {
            Self::Connections(amount) | Self::ConnectionBytes(amount) | Self::RequestBytes(amount) => amount,
        }
    }

    /// The position of this kind of goal in lists that have an entry for each kind.
    const fn index(self) -> usize {
        match self {
            Self::Connections(_) => 0,
            Self::ConnectionBytes(_) => 1,
            Self::RequestBytes(_) => 2,
        }
    }

    /// Adds the connection, or the requests on it, that an eviction may close. A connection that holds nothing of what
    /// is needed, or that several clients share, is not added.
    fn candidates(self, owner: Owner, record: &ConnectionRecord, into: &mut Vec<EvictionCandidate>) {
        let held = record.held.lock();
        if let Self::RequestBytes(_) = self {
            into.extend(held.forwarded.iter().map(|request| EvictionCandidate::request(record.id, request)));
            if !held.forwarded.is_empty() {
                return;
            }
        }
        let amount = match self {
            Self::Connections(_) => 1,
            Self::ConnectionBytes(_) => held.connection_bytes,
            Self::RequestBytes(_) => held.request_bytes,
        };
        match Holder::of(owner, &held) {
            _ if amount == 0 => {}
            Holder::Client(client) => into.push(EvictionCandidate::connection(Some(client), record, amount)),
            Holder::Proxy => into.push(EvictionCandidate::connection(None, record, amount)),
            Holder::Several => {}
        }
    }
}

impl ConnectionTable {
    /// Evicts connections until the wanted amount is released. Their tasks end a moment later; their bytes count as
    /// released at once.
    ///
    /// Connections of the client that holds most are closed first (compared by powers of two: a small difference does
    /// not count); among these, connections that no handler works for; among these, those that were idle for longest. A
    /// connection that a handler works for is closed only where its client holds more than `asker` would hold with the
    /// `asked` amount.
    ///
    /// The connection of a trusted proxy counts for the client whose request is open on it. A connection with open
    /// requests of several clients is not closed: where memory for requests is wanted, those requests are ended one by
    /// one. A connection without an open request counts for the proxy, which is treated as a client that holds little.
    pub(super) fn evict(
        &self,
        open: &mut OpenConnections,
        asker: EvictionBeneficiary,
        asked: usize,
        wanted: EvictionGoal,
    ) {
        let now_ms = self.now_ms();
        let count = match asker {
            EvictionBeneficiary::Client(client) => open.count(client),
            EvictionBeneficiary::Proxy => 0,
        };
        if open.futile[wanted.index()].is_some_and(|(at_ms, least)| at_ms == now_ms && count >= least) {
            return;
        }
        let mut candidates = Vec::with_capacity(open.len());
        open.all().for_each(|(owner, record)| wanted.candidates(owner, record, &mut candidates));
        let (mut by_client, mut sum) = (HashMap::<ClientNetwork, usize>::new(), 0);
        for EvictionCandidate { client, held, .. } in &candidates {
            if let Some(client) = client {
                *by_client.entry(*client).or_default() += held;
                sum += held;
            }
        }
        let held = |client: &ClientNetwork| by_client.get(client).copied().unwrap_or_default();
        let rank = |client: Option<ClientNetwork>| client.map_or(0, |client| held(&client).max(1).ilog2());
        let own = match asker {
            EvictionBeneficiary::Client(client) => held(&client),
            // A client that the proxy has not named yet counts as one that holds the average.
            EvictionBeneficiary::Proxy => sum / by_client.len().max(1),
        };
        let own = (own + asked).max(1).ilog2();
        candidates.retain(|candidate| !candidate.is_worked_for || rank(candidate.client) > own);
        // Where the clock shows the same time for several connections, the older ones come first.
        candidates.sort_by_cached_key(|candidate| {
            (Reverse(rank(candidate.client)), candidate.is_worked_for, candidate.last_ms, candidate.id)
        });
        let (mut freed, mut ended) = (0, 0);
        for EvictionCandidate { id, request, held, .. } in candidates {
            if freed >= wanted.amount() {
                break;
            }
            match request {
                None => open.close(id, &self.budget),
                Some(request) => {
                    if let Some(record) = open.get(id) {
                        record.held.lock().end(&request, &self.budget);
                    }
                }
            }
            self.metrics.closed(CloseReason::Evicted);
            freed += held;
            ended += 1;
        }
        open.futile[wanted.index()] = (ended == 0).then_some((now_ms, count));
        tracing::debug!(ended, ?wanted, "closed to make room for others");
    }
}
