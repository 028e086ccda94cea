//! Fuzz target: properties that hold for every file of the registry. For tests and for the programs below `fuzz/`; not part
//! of a normal build.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    AcceptedRequest, ClusterView, Reason, RefusedRequest, Registry, RegistryConfig, ReportRoute, ReportSummary,
    snapshot::{self, reseal},
};

const NOW_MS: i64 = 1_795_330_875_000;
const MAX_CLUSTERS: usize = 6;

fn registry() -> Registry {
    let labels = ["version", "provider"].map(str::to_owned).to_vec();
    Registry::new(RegistryConfig { max_clusters: MAX_CLUSTERS, labels, ..RegistryConfig::default() })
}

fn all(registry: &Registry) -> Vec<ClusterView> {
    let mut all = Vec::new();
    registry.for_each(|cluster| all.push(cluster.to_view()));
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// Reads a file, as it is and with corrected checksums: the bound holds, and the records that were read are written and read
/// the same.
pub fn snapshot(file: &[u8]) {
    let mut sealed = file.to_vec();
    reseal(&mut sealed);
    for file in [file, &sealed] {
        let before = registry();
        let count = snapshot::read(&before, &mut &file[..]).unwrap_or(before.len());
        let known = all(&before);
        assert!(count == known.len() && count <= MAX_CLUSTERS, "{count} clusters, {} known", known.len());
        let (mut written, after) = (Vec::new(), registry());
        snapshot::write(&before, &mut written).expect("there is room");
        assert_eq!(snapshot::read(&after, &mut &written[..]).ok(), Some(count));
        assert_eq!(all(&after), known);
    }
}

/// Each target: its name, its function, and its seeds.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    vec![("snapshot", snapshot, (0..4).map(seed).collect())]
}

/// A file of so many clusters.
fn seed(clusters: i64) -> Vec<u8> {
    let registry = registry();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for number in 0..clusters {
        let cluster = format!("{number:08x}-0000-4000-8000-00000000000{}", ["0", "x"][(number % 2) as usize]);
        let (now_ms, user_agent) = (NOW_MS + number * 61_000, "telemeter/1");
        let labels = [Some("4.1"), None];
        let report =
            Some(ReportSummary { series: 3, filtered: 1, bytes: 100, drift_ms: Some(-number), labels: &labels[..] });
        let route = ReportRoute::Upload;
        registry.accept(&AcceptedRequest { cluster: &cluster, route, now_ms, peer, user_agent, report });
        if number > 0 {
            let reason = Reason::TooLarge;
            registry.refuse(&RefusedRequest {
                cluster: &cluster,
                route,
                reason,
                status: 413,
                now_ms,
                peer,
                user_agent,
            });
        }
    }
    let mut file = Vec::new();
    snapshot::write(&registry, &mut file).expect("there is room");
    file
}

#[cfg(test)]
mod tests {
    use telemeter_test_support::fuzz_targets::{check_damaged, check_prefixes};

    use super::*;

    #[test]
    fn the_properties_hold_for_prefixes_of_the_seeds() {
        check_prefixes(&targets());
    }

    #[test]
    fn the_properties_hold_for_damaged_seeds() {
        check_damaged(&targets());
    }

    #[test]
    fn a_seed_is_a_file_of_so_many_clusters() {
        assert_eq!(snapshot::read(&registry(), &mut &seed(3)[..]).ok(), Some(3));
    }
}
