//! Records which clusters are suspect, because they were in a batch that failed, and which are in quarantine, because
//! the store refused their data, or failed on it while it accepted that of others.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::{Duration, Instant},
};

use super::queue::Standing;

/// How long a cluster stays in quarantine.
const QUARANTINE: Duration = Duration::from_secs(600);
/// How long a cluster stays suspect where no later batch confirms or refutes it.
const SUSPICION: Duration = Duration::from_secs(30);
/// The largest number of clusters in quarantine; beyond it, the cluster that has been there longest leaves quarantine.
const MAX_QUARANTINED: usize = 4096;
/// The largest number of suspect clusters.
const MAX_SUSPECTS: usize = 65_536;

/// The suspect clusters and those in quarantine, by a keyed hash of their ID.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    clusters: HashMap<u64, ClusterSuspicion, BuildHasherDefault<IsHash>>,
    quarantined: usize,
}

/// What is recorded about a suspect cluster, or one in quarantine.
#[derive(Clone, Copy, Debug)]
enum ClusterSuspicion {
    Suspect {
        /// The largest number of requests in a batch with a request of this cluster.
        limit: usize,
        /// When a batch last failed that held only requests of this cluster.
        failed_alone: Option<Instant>,
        until: Instant,
    },
    Quarantined {
        until: Instant,
    },
}

impl ClusterSuspicion {
    fn until(&self) -> Instant {
        match self {
            Self::Suspect { until, .. } | Self::Quarantined { until } => *until,
        }
    }
}

impl Quarantine {
    /// The standing of a cluster; a suspicion or a quarantine whose time has ended is removed.
    pub(super) fn standing(&mut self, cluster: u64, now: Instant) -> Standing {
        if self.clusters.is_empty() {
            return Standing::Good;
        }
        match self.clusters.get(&cluster) {
            None => Standing::Good,
            Some(held) if held.until() <= now => {
                self.remove(cluster);
                Standing::Good
            }
            Some(ClusterSuspicion::Suspect { .. }) => Standing::Suspect,
            Some(ClusterSuspicion::Quarantined { .. }) => Standing::Quarantined,
        }
    }

    /// The largest number of requests in a batch with a request of this cluster.
    pub(super) fn limit(&self, cluster: u64) -> usize {
        match self.clusters.get(&cluster) {
            None => usize::MAX,
            Some(ClusterSuspicion::Suspect { limit, .. }) => *limit,
            Some(ClusterSuspicion::Quarantined { .. }) => 1,
        }
    }

    /// Records that the cluster was in a batch that failed; from now on at most `limit` requests are joined in a batch
    /// with one of its requests. Returns its standing, or `None` where too many clusters are suspect already.
    pub(super) fn suspect(&mut self, cluster: u64, limit: usize, now: Instant) -> Option<Standing> {
        let standing = self.standing(cluster, now);
        if standing == Standing::Quarantined {
            return Some(standing);
        }
        if standing == Standing::Good && self.clusters.len() - self.quarantined >= MAX_SUSPECTS {
            self.remove_expired(now);
            if self.clusters.len() - self.quarantined >= MAX_SUSPECTS {
                return None;
            }
        }
        let (mut limit, mut failed_alone) = (limit, None);
        if let Some(ClusterSuspicion::Suspect { limit: earlier, failed_alone: at, .. }) = self.clusters.get(&cluster) {
            (limit, failed_alone) = (limit.min(*earlier), *at);
        }
        self.clusters.insert(cluster, ClusterSuspicion::Suspect { limit, failed_alone, until: now + SUSPICION });
        Some(Standing::Suspect)
    }

    /// Records that the store accepted a batch with a request of this cluster. The cluster is cleared only where no
    /// batch with its requests alone has failed. Returns its standing.
    pub(super) fn clear(&mut self, cluster: u64) -> Standing {
        match self.clusters.get(&cluster) {
            None => Standing::Good,
            Some(ClusterSuspicion::Suspect { failed_alone: None, .. }) => {
                self.remove(cluster);
                Standing::Good
            }
            Some(ClusterSuspicion::Suspect { .. }) => Standing::Suspect,
            Some(ClusterSuspicion::Quarantined { .. }) => Standing::Quarantined,
        }
    }

    /// Records that a batch failed that held only requests of this cluster and was sent at `started`; `last_taken` is
    /// when the store last accepted any batch. The data is the cause where the store accepted a batch meanwhile, or
    /// since such a batch failed before; then the cluster is put into quarantine. Returns its standing.
    pub(super) fn failed_alone(
        &mut self,
        cluster: u64,
        started: Instant,
        last_taken: Option<Instant>,
        now: Instant,
    ) -> Standing {
        let before = match self.clusters.get(&cluster) {
            Some(ClusterSuspicion::Suspect { failed_alone, .. }) => *failed_alone,
            _ => None,
        };
        let since = before.map_or(started, |before| before.min(started));
        if last_taken.is_some_and(|last_taken| last_taken >= since) {
            self.insert(cluster, now);
            return Standing::Quarantined;
        }
        let standing = self.suspect(cluster, 1, now);
        if let Some(ClusterSuspicion::Suspect { failed_alone, .. }) = self.clusters.get_mut(&cluster) {
            *failed_alone = Some(now);
        }
        standing.unwrap_or(Standing::Good)
    }

    /// Puts a cluster into quarantine, anew where it is there already. Where [`MAX_QUARANTINED`] clusters are, the one
    /// whose time ends first leaves.
    pub(super) fn insert(&mut self, cluster: u64, now: Instant) {
        self.remove(cluster);
        if self.quarantined >= MAX_QUARANTINED {
            self.remove_expired(now);
        }
        if self.quarantined >= MAX_QUARANTINED {
            let quarantined =
                self.clusters.iter().filter(|(_, held)| matches!(held, ClusterSuspicion::Quarantined { .. }));
            let oldest = quarantined.min_by_key(|(_, held)| held.until()).map(|(cluster, _)| *cluster);
            if let Some(oldest) = oldest {
                self.remove(oldest);
            }
        }
        self.clusters.insert(cluster, ClusterSuspicion::Quarantined { until: now + QUARANTINE });
        self.quarantined += 1;
    }

    /// Clears the suspects without a failed batch of their own: every batch fails, so a failed batch shows nothing
    /// about its clusters.
    pub(super) fn clear_suspects(&mut self) {
        self.clusters.retain(|_, held| !matches!(held, ClusterSuspicion::Suspect { failed_alone: None, .. }));
    }

    /// Clears all suspects: the store was the cause, so no failure shows anything about the data.
    pub(super) fn clear_all_suspects(&mut self) {
        self.clusters.retain(|_, held| matches!(held, ClusterSuspicion::Quarantined { .. }));
    }

    fn remove(&mut self, cluster: u64) {
        if let Some(ClusterSuspicion::Quarantined { .. }) = self.clusters.remove(&cluster) {
            self.quarantined -= 1;
        }
    }

    fn remove_expired(&mut self, now: Instant) {
        self.clusters.retain(|_, held| held.until() > now);
        self.quarantined =
            self.clusters.values().filter(|held| matches!(held, ClusterSuspicion::Quarantined { .. })).count();
    }
}

/// The keys are keyed hashes already, so hashing them again would gain nothing.
#[derive(Debug, Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_is_cleared_by_success_and_forgotten_after_a_while() {
        let (mut quarantine, now) = (Quarantine::default(), Instant::now());
        assert_eq!(quarantine.suspect(1, 8, now), Some(Standing::Suspect));
        assert_eq!(quarantine.suspect(1, 16, now), Some(Standing::Suspect));
        assert_eq!(quarantine.limit(1), 8, "the smaller limit holds");
        assert_eq!(quarantine.clear(1), Standing::Good);
        assert_eq!(quarantine.limit(1), usize::MAX);
        quarantine.suspect(2, 8, now);
        assert_eq!(quarantine.standing(2, now + SUSPICION), Standing::Good);
        assert!(quarantine.clusters.is_empty());
    }

    #[test]
    fn it_is_the_data_where_the_store_took_something_meanwhile_or_since() {
        let (mut quarantine, start) = (Quarantine::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(quarantine.failed_alone(1, at(10), Some(at(15)), at(20)), Standing::Quarantined);
        assert_eq!(quarantine.standing(1, at(20) + QUARANTINE - Duration::from_millis(1)), Standing::Quarantined);
        assert_eq!(quarantine.standing(1, at(20) + QUARANTINE), Standing::Good);

        assert_eq!(quarantine.failed_alone(2, at(10), Some(at(9)), at(20)), Standing::Suspect);
        assert_eq!(
            quarantine.failed_alone(2, at(30), Some(at(9)), at(40)),
            Standing::Suspect,
            "nothing was taken since"
        );
        assert_eq!(quarantine.clear(2), Standing::Suspect, "one success does not clear it");
        assert_eq!(quarantine.failed_alone(2, at(60), Some(at(50)), at(70)), Standing::Quarantined);
        assert_eq!(quarantine.failed_alone(3, at(10), None, at(20)), Standing::Suspect);
        quarantine.suspect(4, 8, at(20));
        quarantine.clear_suspects();
        assert_eq!(quarantine.standing(4, at(20)), Standing::Good);
        assert_eq!(quarantine.standing(3, at(20)), Standing::Suspect);
        quarantine.clear_all_suspects();
        assert_eq!(quarantine.standing(3, at(20)), Standing::Good);
        assert_eq!(quarantine.standing(2, at(80)), Standing::Quarantined);
    }

    #[test]
    fn both_are_bounded() {
        let (mut quarantine, now) = (Quarantine::default(), Instant::now());
        for cluster in 0..MAX_QUARANTINED as u64 + 3 {
            quarantine.insert(cluster, now + Duration::from_millis(cluster));
        }
        assert_eq!(quarantine.clusters.len(), MAX_QUARANTINED);
        assert_eq!(quarantine.standing(0, now), Standing::Good, "the oldest is joined again");
        for cluster in 10_000..10_000 + MAX_SUSPECTS as u64 {
            assert_eq!(quarantine.suspect(cluster, 8, now), Some(Standing::Suspect));
        }
        assert_eq!(quarantine.suspect(1 << 40, 8, now), None);
        assert_eq!(quarantine.suspect(10_000, 8, now), Some(Standing::Suspect), "one more time is no one more");
        assert_eq!(quarantine.suspect(1 << 40, 8, now + SUSPICION), Some(Standing::Suspect));
    }
}
