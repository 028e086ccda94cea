//! Detects that the authority refuses a whole fleet, which says nothing about any one cluster.
//!
//! A fleet does not lose its tokens within a minute. Where the authority answers 401 to one caller after the other that it
//! approved before, and approves no caller in between, it refuses us or has lost its data: it counts as unavailable.

use crate::bounded::Digest;

/// The number of clusters with a cached approval that may be refused within the window, without an approval in between,
/// before the authority counts as unavailable: so few may be clusters whose tokens were revoked. A cluster counts once,
/// whatever the number of its refusals and tokens.
const MAX_REFUSED: usize = 2;
/// How long refusals count after the last refusal of another cluster.
const WINDOW_MS: i64 = 60_000;

/// Counts clusters whose callers have a cached approval and are refused (401).
#[derive(Debug, Default)]
pub(super) struct FleetRefusal {
    /// The clusters that were refused; the first `refused` of them count.
    clusters: [Digest; MAX_REFUSED + 1],
    refused: usize,
    /// When the last of these clusters was first refused.
    last_ms: i64,
}

impl FleetRefusal {
    /// Records that the authority approved a caller: from now on its refusals are believed.
    pub(super) fn record_approval(&mut self) {
        self.refused = 0;
    }

    /// Records that the authority refused a caller of this cluster with a cached approval. True where the refusal is not to
    /// be believed; that lasts until the authority approves a caller.
    pub(super) fn record_refusal(&mut self, cluster: &Digest, now_ms: i64) -> bool {
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

    /// Checks a list of events: refusals of different clusters (`-`), refusals of one and the same cluster (`=`) and
    /// approvals (`+`), each with the seconds since the event before. `expected` says how each refusal is treated.
    #[track_caller]
    fn check(events: &str, expected: &str) {
        let (mut fleet, mut now_ms, mut outcome) = (FleetRefusal::default(), 1_000_000, Vec::new());
        for (number, event) in (1_u8..).zip(events.split(' ')) {
            let (kind, seconds) = event.split_at(1);
            now_ms += seconds.parse::<i64>().unwrap_or_default() * 1000;
            match kind {
                "+" => fleet.record_approval(),
                _ => outcome.push(if fleet.record_refusal(&[if kind == "=" { 0 } else { number }; 32], now_ms) {
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
        // The authority approves others in between, so its refusals are believed.
        check("-0 +1 -1 +1 -1 +1 -1 -1", "refused refused refused refused refused");
        // There is one refusal a minute.
        check("-0 -60 -60 -60 -60", "refused refused refused refused refused");
        check("-0 -59 -59 -1", "refused refused unavailable unavailable");
        // Refusals of one cluster only are believed, with any number of tokens and any frequency.
        check("=0 =1 =1 =1 =1", "refused refused refused refused refused");
        check("=0 =1 -1 =1 -1 =1", "refused refused refused refused unavailable unavailable");
        check("-0 =1 =58 =1 -1 =1", "refused refused refused refused refused refused");
        // The authority counts as unavailable until it approves a caller, even if there is no caller for a long time.
        check("-0 -1 -1 -3600 +0 -1", "refused refused unavailable unavailable refused");
    }
}
