//! Runs the fuzz targets of a crate in its unit tests, without libFuzzer: on the seeds, and on inputs that differ little from
//! them.

use proptest::prelude::*;

/// A fuzz target: its name, its check, which panics where a property does not hold, and its seeds.
pub type FuzzTarget = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

/// How many prefixes of one seed are checked, at most.
const MAX_PREFIXES: usize = 300;

/// Checks that the properties hold for each seed and for its prefixes: for all of a short seed, else for 300 prefixes at
/// equal distances.
///
/// # Panics
/// Where a property does not hold, or a target has no seed.
pub fn check_prefixes(targets: &[FuzzTarget]) {
    for (name, check, seeds) in targets {
        assert!(!seeds.is_empty(), "{name} has no seed");
        for seed in seeds {
            (0..seed.len()).step_by(seed.len() / MAX_PREFIXES + 1).for_each(|end| check(&seed[..end]));
            check(seed);
        }
    }
}

/// Checks that the properties hold for seeds in which up to five bytes are replaced by others, chosen at random.
///
/// # Panics
/// Where a property does not hold; the message contains the input.
pub fn check_damaged(targets: &[FuzzTarget]) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(
        target in any::<prop::sample::Index>(),
        seed in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    )| {
        let (_, check, seeds) = target.get(targets);
        let mut bytes = seed.get(seeds).clone();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        check(&bytes);
    });
}

#[cfg(test)]
mod tests {
    use std::{panic, sync::Mutex};

    use super::*;

    /// The inputs that [`record`] was called with; one test alone uses it.
    static RECORDED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

    fn record(input: &[u8]) {
        RECORDED.lock().expect("no other test").push(input.to_vec());
    }

    #[test]
    fn all_prefixes_of_short_seeds_and_some_of_long_ones_are_checked() {
        check_prefixes(&[("record", record, vec![b"ab".to_vec(), Vec::new(), vec![7; 1000]])]);
        let lengths: Vec<_> = RECORDED.lock().expect("no other test").iter().map(Vec::len).collect();
        assert_eq!(lengths[..5], [0, 1, 2, 0, 0]);
        let long = &lengths[4..];
        assert!(long.len() > 200 && long.len() <= MAX_PREFIXES + 1, "{}", long.len());
        assert_eq!(long.last(), Some(&1000));
    }

    fn holds_for_zeros(input: &[u8]) {
        assert!(input.iter().all(|byte| *byte == 0), "{input:?}");
    }

    fn holds_for_four(input: &[u8]) {
        assert!(input.len() == 4, "{input:?}");
    }

    #[test]
    fn a_property_that_does_not_hold_is_found() {
        let fails = |run: fn(&[FuzzTarget]), check: fn(&[u8])| {
            panic::catch_unwind(|| run(&[("target", check, vec![vec![0; 4]])])).is_err()
        };
        assert!(fails(check_prefixes, holds_for_four) && !fails(check_damaged, holds_for_four));
        assert!(fails(check_damaged, holds_for_zeros) && !fails(check_prefixes, holds_for_zeros));
    }

    #[test]
    #[should_panic(expected = "target has no seed")]
    fn a_target_without_seeds_is_found() {
        check_prefixes(&[("target", holds_for_zeros, Vec::new())]);
    }
}
