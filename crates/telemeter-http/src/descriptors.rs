//! The limit on file descriptors, which caps the files and sockets that the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of descriptors that callers' connections may not use: they are for outbound calls, files and the internal
/// listener.
const KEPT: usize = 512;
/// The divisor for a low limit: then a quarter of the descriptors is kept instead.
const KEPT_PART: usize = 4;

/// Raises the soft limit on file descriptors to the hard one; returns the limit then. Many systems set the soft limit
/// low for programs that use `select`, which this one does not.
#[must_use]
pub fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` means unlimited.
    let is_lower = current.is_some_and(|current| maximum.is_none_or(|maximum| current < maximum));
    if is_lower && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit on file descriptors cannot be raised");
    }
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The number of descriptors, out of `limit`, that callers' connections may use.
#[must_use]
pub fn for_connections(limit: usize) -> usize {
    (limit - KEPT.min(limit / KEPT_PART)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let now = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
        assert_eq!(hard.map_or(usize::MAX, |hard| hard as usize), now);
    }

    #[test]
    fn some_are_kept() {
        assert_eq!(for_connections(1024), 768);
        assert_eq!(for_connections(20_000), 19_488);
        assert_eq!(for_connections(2), 2);
        assert_eq!(for_connections(0), 1);
    }
}
