//! Whom the questions to the authority are counted by.

use std::net::IpAddr;

use crate::bounded::Digest;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The address of the caller, as far as it is known: the peer's, or what a trusted proxy says.
    pub peer: IpAddr,
}

/// One client: it has its share of the questions that are open and that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A cluster whose token the authority approved before.
    Cluster(Digest),
    /// Anybody else, by address. Whatever else such a caller says of itself costs it nothing.
    Peer(Peer),
}

/// An IPv4 address, or the first 64 bits of an IPv6 address: one customer has all addresses below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    V4(u32),
    V6(u64),
}

impl From<Asker> for Peer {
    fn from(asker: Asker) -> Self {
        match asker.peer.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_network() {
        let peer = |text: &str| Peer::from(Asker { peer: text.parse().unwrap() });
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(peer("10.0.0.1"), peer("::ffff:10.0.0.1"));
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::1"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
    }
}
