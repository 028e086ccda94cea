//! Writes registries, reads them back, and damages the file in between.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::{
    RegistryConfig,
    registry::tests::{refuse, registry, upload},
    view::ClusterView,
};

const NOW_MS: i64 = 1_795_330_875_000;

fn all(registry: &Registry) -> Vec<ClusterView> {
    let mut all = Vec::new();
    registry.for_each(|cluster| all.push(cluster.to_view()));
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

fn filled(clusters: u32) -> Registry {
    let registry = registry(10_000);
    for number in 0..clusters {
        let id = match number % 3 {
            0 => format!("{number:08x}-0000-4000-8000-000000000000"),
            _ => format!("cluster {number}"),
        };
        for report in 0..i64::from(number % 25) + 1 {
            let version = format!("4.{}", number % 7);
            upload(&registry, &id, NOW_MS + report * 61_000 + i64::from(number), Some(&version));
        }
        if number % 4 == 0 {
            refuse(&registry, &id, Reason::TooLarge, NOW_MS + 1_700_000);
            refuse(&registry, &id, Reason::Identity, NOW_MS + 1_800_000);
        }
    }
    registry
}

fn written(registry: &Registry) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(registry, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_registry_is_read_as_it_was_written() {
    for clusters in [0, 1, 100, 5000] {
        let before = filled(clusters);
        let after = registry(10_000);
        assert_eq!(read(&after, &mut &written(&before)[..]).unwrap(), clusters as usize);
        assert_eq!(all(&before), all(&after));
    }
}

#[test]
fn the_order_of_last_requests_survives_a_restart() {
    let before = filled(300);
    let after = registry(100);
    read(&after, &mut &written(&before)[..]).unwrap();
    let mut heard: Vec<_> = all(&before).iter().map(|cluster| cluster.last_heard_ms).collect();
    heard.sort_unstable();
    assert_eq!((after.len(), after.evicted()), (100, 200));
    assert!(all(&after).iter().all(|cluster| cluster.last_heard_ms >= heard[200]));
}

#[test]
fn labels_are_mapped_by_their_names() {
    let before = filled(3);
    let labels = ["provider", "more", "version"].map(str::to_owned).to_vec();
    let after = Registry::new(RegistryConfig { labels, ..RegistryConfig::default() });
    read(&after, &mut &written(&before)[..]).unwrap();
    let known = after.get("cluster 2", |cluster| cluster.to_view()).unwrap();
    assert_eq!(known.labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["", "", "4.2"]);
}

#[test]
fn the_records_before_the_damage_are_read() {
    let bytes = written(&filled(5000));
    assert!(matches!(read(&registry(10), &mut &b"nonsense that is long enough"[..]), Err(SnapshotError::Foreign)));
    assert!(matches!(read(&registry(10), &mut &b""[..]), Err(SnapshotError::Foreign)));
    let cut = registry(10_000);
    assert!(matches!(read(&cut, &mut &bytes[..bytes.len() - 8]), Err(SnapshotError::CutOff)));
    assert_eq!(cut.len(), 5000);
    let cut = registry(10_000);
    assert!(matches!(read(&cut, &mut &bytes[..bytes.len() / 2]), Err(SnapshotError::CutOff)));
    assert!((1000..5000).contains(&cut.len()), "{}", cut.len());
    let mut damaged = bytes.clone();
    let at = bytes.len() * 3 / 4;
    damaged[at] ^= 1;
    let cut = registry(10_000);
    assert!(matches!(read(&cut, &mut &damaged[..]), Err(SnapshotError::Damaged)));
    assert!((1000..5000).contains(&cut.len()), "{}", cut.len());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0_usize..3000, flip in 1_u8.., seal in any::<bool>()) {
        let mut bytes = written(&filled(10));
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if seal {
            reseal(&mut bytes);
        }
        let _ = read(&registry(10), &mut &bytes[..]);
    }
}
