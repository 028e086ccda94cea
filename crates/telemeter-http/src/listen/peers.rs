//! The client of a connection: the networks of trusted proxies, which may name it, and the addresses that count as one
//! client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The addresses that count as one client: an IPv4 address, or an IPv6 network of 64 bits, the size that one customer
/// usually gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork(IpAddr);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
            four => four,
        })
    }
}

/// A network: an address and the length of its prefix, as in `10.0.0.0/8` or `fd00::/8`; or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether the network contains an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(four)) => {
                (net.to_bits() ^ four.to_bits()).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(six)) => {
                (net.to_bits() ^ six.to_bits()).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is no network: write 10.0.0.0/8, fd00::/8, or one address";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = |bits: &str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|_| digits(bits)));
        let bits = bits.filter(|bits| *bits <= most).ok_or(WRONG)?;
        Ok(Self { address, bits })
    }
}

/// The networks of the proxies that may name the client of a request. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Cidr]>);

impl From<Vec<Cidr>> for TrustedProxies {
    fn from(networks: Vec<Cidr>) -> Self {
        Self(networks.into())
    }
}

impl TrustedProxies {
    /// Whether this is the address of a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request from `peer`: the last address in `X-Forwarded-For` that is not a trusted proxy's. Each
    /// proxy appends the address that it was called from, so that the client itself may have invented the addresses
    /// before that one. Where an address cannot be parsed, the proxy that wrote it counts as the client.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = peer;
        if self.0.is_empty() || !self.contains(peer.ip()) {
            return client;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("?"));
        let lines: Vec<&str> = lines.collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = hop_address(hop.trim()) else { break };
            client = address;
            if !self.contains(address.ip()) {
                break;
            }
        }
        client
    }
}

/// Parses an address with or without a port, since some proxies write one.
fn hop_address(hop: &str) -> Option<SocketAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).or_else(|_| hop.parse()).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Cidr = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.2", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        check("::1", "::1", true);
        check("::/0", "::1", true);
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "x", "10.0.0/8", "::/129", "/8"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_client_is_a_network_of_64_bits() {
        let network = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:1.2.3.4"), network("1.2.3.4"));
        assert_ne!(network("1.2.3.4"), network("1.2.3.5"));
    }

    #[test]
    fn the_last_address_that_is_no_proxy_s() {
        let trusted = TrustedProxies::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let check = |peer: &str, lines: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            let client = trusted.client(SocketAddr::new(peer.parse().unwrap(), 7), &headers);
            assert_eq!(client.ip().to_string(), expected, "{peer} {lines:?}");
        };
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["1.2.3.4"], "1.2.3.4");
        check("10.0.0.1", &["9.9.9.9, 1.2.3.4"], "1.2.3.4");
        check("10.0.0.1", &["9.9.9.9, 1.2.3.4, 10.0.0.2"], "1.2.3.4");
        check("10.0.0.1", &["9.9.9.9", "1.2.3.4,10.0.0.2"], "1.2.3.4");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4");
        check("10.0.0.1", &["[2001:db8::1]:5678"], "2001:db8::1");
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.0.0.1", &["2001:db8::1"], "2001:db8::1");
        check("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["unknown"], "10.0.0.1");
        check("11.0.0.1", &["1.2.3.4"], "11.0.0.1");
        let nobody = TrustedProxies::default();
        let headers =
            HeaderMap::from_iter([(http::HeaderName::from_static(FORWARDED_FOR), "1.2.3.4".parse().unwrap())]);
        assert_eq!(nobody.client("10.0.0.1:7".parse().unwrap(), &headers).to_string(), "10.0.0.1:7");
    }
}
