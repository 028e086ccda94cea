//! The open connections of a listener, by number and by client.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{ConnectionRecord, Ending};
use super::{ClientNetwork, Owner};
use crate::budget::MemoryBudget;

/// The number of a client's connections among which the one to close is searched. So the cost of accepting a connection
/// does not grow with the number of connections that its client has.
const CANDIDATES: usize = 32;

#[derive(Default)]
pub(super) struct OpenConnections {
    next_id: u64,
    connections: HashMap<u64, OpenConnection>,
    clients: HashMap<ClientNetwork, ClientConnections>,
    /// For each kind of `WantedRoom`: the time when no connection could be evicted, and the number of connections that
    /// the asking client had. Until the clock moves, the search is not repeated for a client with as many connections
    /// or more.
    pub(super) futile: [Option<(u64, usize)>; 3],
}

struct OpenConnection {
    owner: Owner,
    record: Arc<ConnectionRecord>,
    /// The index of its number in [`ClientConnections::ids`].
    at: usize,
}

/// The connections of one client, in no particular order.
#[derive(Default)]
struct ClientConnections {
    ids: Vec<u64>,
    /// The index where the next search for a quiet connection begins.
    next_candidate: usize,
}

impl OpenConnections {
    /// Takes the number for the next connection.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Owner, &Arc<ConnectionRecord>)> {
        self.connections.values().map(|connection| (connection.owner, &connection.record))
    }

    pub(super) fn get(&self, id: u64) -> Option<&Arc<ConnectionRecord>> {
        self.connections.get(&id).map(|connection| &connection.record)
    }

    pub(super) fn owner(&self, id: u64) -> Option<Owner> {
        self.connections.get(&id).map(|connection| connection.owner)
    }

    /// The number of open connections of a client.
    pub(super) fn count(&self, client: ClientNetwork) -> usize {
        self.clients.get(&client).map_or(0, |of_client| of_client.ids.len())
    }

    /// Among a few connections of a client, spread over all of them, the one that was idle for longest. A connection
    /// that a handler works for is returned only where a handler works for each of them.
    pub(super) fn longest_idle_of(&mut self, client: ClientNetwork) -> Option<u64> {
        let of_client = self.clients.get_mut(&client)?;
        let len = of_client.ids.len();
        let (first, candidates) = (of_client.next_candidate % len, len.min(CANDIDATES));
        of_client.next_candidate = first + 1;
        let ids = (0..candidates).map(|step| of_client.ids[(first + step * len / candidates) % len]);
        let records = ids.filter_map(|id| self.connections.get(&id).map(|connection| &connection.record));
        records
            .min_by_key(|record| (record.has_running_handler(), record.last_progress_ms(), record.id))
            .map(|record| record.id)
    }

    pub(super) fn insert(&mut self, owner: Owner, record: Arc<ConnectionRecord>) {
        let ids = &mut self.clients.entry(owner.client).or_default().ids;
        let (id, at) = (record.id, ids.len());
        ids.push(id);
        self.connections.insert(id, OpenConnection { owner, record, at });
    }

    /// Removes a connection from the list of its client, too, and returns its record; `None` where it was removed
    /// before.
    pub(super) fn remove(&mut self, id: u64) -> Option<Arc<ConnectionRecord>> {
        let OpenConnection { owner, record, at } = self.connections.remove(&id)?;
        if let Some(of_client) = self.clients.get_mut(&owner.client) {
            of_client.ids.swap_remove(at);
            if let Some(moved) = of_client.ids.get(at).and_then(|moved| self.connections.get_mut(moved)) {
                moved.at = at;
            }
            if of_client.ids.is_empty() {
                self.clients.remove(&owner.client);
            }
        }
        Some(record)
    }

    /// Closes a connection. Its bytes count as released at once.
    pub(super) fn close(&mut self, id: u64, budget: &MemoryBudget) {
        if let Some(record) = self.remove(id) {
            record.held.lock().give_back(budget);
            record.ask_to_end(Ending::Now);
        }
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }
}
