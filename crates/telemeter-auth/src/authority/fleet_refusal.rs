//! Whether a whole fleet is refused, which is no word about any of its clusters.
//!
//! A fleet does not lose its tokens within a minute. Where the authority answers 401 to one caller after the other that it
//! approved before, and approves nobody in between, it no longer knows us, or has lost what it knew: it is unavailable.

use crate::bounded::Digest;

/// Callers of so many clusters with a cached approval may be refused within the window, with no approval in between. Nobody
/// can tell those from clusters whose tokens were revoked. One cluster counts once, however often and with however many
/// tokens it is refused.
const MAX_REFUSED: usize = 2;
/// How long a refusal counts, from the last of another cluster on.
const WINDOW_MS: i64 = 60_000;

/// Counts clusters whose callers have a cached approval and are refused (401).
#[derive(Debug, Default)]
pub(super) struct FleetRefusal {
    /// The clusters that were refused; the first `refused` of them count.
    clusters: [Digest; MAX_REFUSED + 1],
    refused: usize,
    /// When the last of them was refused first.
    last_ms: i64,
}

impl FleetRefusal {
    /// The authority approved a caller: it knows us, and what it refuses is refused.
    pub(super) fn approved(&mut self) {
        self.refused = 0;
    }

    /// The authority refused a caller of this cluster that has a cached approval. True where that is not to be believed: from then on
    /// until it approves somebody.
    pub(super) fn refused(&mut self, cluster: &Digest, now_ms: i64) -> bool {
        if self.refused <= MAX_REFUSED && now_ms.saturating_sub(self.last_ms) >= WINDOW_MS {
            self.refused = 0;
        }
        if self.refused > MAX_REFUSED || self.clusters[..self.refused].contains(cluster) {
            return self.refused > MAX_REFUSED;
        }
        self.last_ms = now_ms;
        self.clusters[self.refused] = *cluster;
        self.refused += 1;
        if self.refused > MAX_REFUSED {
            tracing::error!(
                "the authority refuses one caller after the other that it approved before (401): it counts as unavailable"
            );
        }
        self.refused > MAX_REFUSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refusals of a cluster of its own (`-`), refusals of one and the same cluster (`=`) and approvals (`+`), each with
    /// seconds since the one before; what is believed of the refusals.
    #[track_caller]
    fn check(events: &str, expected: &str) {
        let (mut fleet, mut now_ms, mut outcome) = (FleetRefusal::default(), 1_000_000, Vec::new());
        for (number, event) in (1_u8..).zip(events.split(' ')) {
            let (kind, seconds) = event.split_at(1);
            now_ms += seconds.parse::<i64>().unwrap_or_default() * 1000;
            match kind {
                "+" => fleet.approved(),
                _ => outcome.push(if fleet.refused(&[if kind == "=" { 0 } else { number }; 32], now_ms) {
                    "unavailable"
                } else {
                    "refused"
                }),
            }
        }
        assert_eq!(outcome.join(" "), expected, "{events}");
    }

    #[test]
    fn single_callers_are_refused_and_a_fleet_is_not() {
        check("-0", "refused");
        check("-0 -1 -1 -1 -1", "refused refused unavailable unavailable unavailable");
        // It approves others in between: then it means what it says.
        check("-0 +1 -1 +1 -1 +1 -1 -1", "refused refused refused refused refused");
        // One now and then.
        check("-0 -60 -60 -60 -60", "refused refused refused refused refused");
        check("-0 -59 -59 -1", "refused refused unavailable unavailable");
        // One cluster is no fleet, with however many tokens and however often.
        check("=0 =1 =1 =1 =1", "refused refused refused refused refused");
        check("=0 =1 -1 =1 -1 =1", "refused refused refused refused unavailable unavailable");
        check("-0 =1 =58 =1 -1 =1", "refused refused refused refused refused refused");
        // It stays so until somebody is approved, however long nobody asks.
        check("-0 -1 -1 -3600 +0 -1", "refused refused unavailable unavailable refused");
    }
}
