//! Parses `NO_PROXY`: the list of targets that are reached directly.

use std::net::IpAddr;

/// The elements of a `NO_PROXY` value.
#[derive(Debug, Default)]
pub(super) struct NoProxy {
    /// The elements as text, in lower case.
    elements: Vec<String>,
    is_all: bool,
    networks: Vec<(IpAddr, u32)>,
    addresses: Vec<(IpAddr, Option<u16>)>,
    domains: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    /// The domain with a dot before it: `.example.com`.
    suffix: String,
    /// Whether the name itself counts too, and not only its subdomains.
    is_itself: bool,
    port: Option<u16>,
}

impl NoProxy {
    /// Parses a value; an element that is not valid is ignored, as in Go.
    pub(super) fn parse(value: &str) -> Self {
        let mut rules = Self::default();
        for element in value.split(',') {
            let element = element.trim().to_lowercase();
            rules.elements.push(element.clone());
            if element == "*" {
                return Self { is_all: true, elements: rules.elements, ..Self::default() };
            }
            rules.add_element(&element);
        }
        rules
    }

    /// Adds one element: a network (`10.0.0.0/8`), an address, a host name that matches its subdomains too, or `.name`
    /// for subdomains only; the last three may have a port. An element whose port is not a number is ignored, as it
    /// matches nothing.
    fn add_element(&mut self, element: &str) {
        if let Some(network) = network(element) {
            self.networks.push(network);
            return;
        }
        let (host, port) = split_port(element).unwrap_or((element, ""));
        let port = match port {
            "" => None,
            // A port that is not a number matches no target.
            port => match port.parse() {
                Ok(port) => Some(port),
                Err(_) => return,
            },
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            self.addresses.push((address.to_canonical(), port));
            return;
        }
        // `*.example.com` means the same as `.example.com`.
        let host = if host.starts_with("*.") { &host[1..] } else { host };
        let name = host.strip_prefix('.').unwrap_or(host);
        if !host.is_empty() {
            let suffix = format!(".{}", to_ascii(name));
            self.domains.push(Domain { suffix, is_itself: !host.starts_with('.'), port });
        }
    }

    /// The reason why a target that [`NoProxy::names`] matches is reached directly, as text.
    pub(super) fn reason(&self, host: &str, port: u16) -> String {
        if Self::default().names(host, port) {
            return "a loopback address is never asked for through a proxy".to_owned();
        }
        let element = self.elements.iter().find(|element| Self::parse(element).names(host, port));
        format!("NO_PROXY names it ({})", element.map_or("", String::as_str))
    }

    /// Whether this target is reached directly, as loopback addresses always are. `host` is as in a URL.
    pub(super) fn names(&self, host: &str, port: u16) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let address = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if self.is_all || bare == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let host = bare.to_lowercase();
        let is_port = |wanted: Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        let is_listed = |address: IpAddr| {
            self.networks.iter().any(|network| contains(*network, address))
                || self.addresses.iter().any(|(listed, port)| *listed == address && is_port(*port))
        };
        let is_domain =
            |domain: &Domain| host.ends_with(&domain.suffix) || domain.is_itself && host == domain.suffix[1..];
        address.is_some_and(is_listed) || self.domains.iter().any(|domain| is_domain(domain) && is_port(domain.port))
    }
}

/// Parses a network, such as `10.0.0.0/8` or `2001:db8::/32`, into its address and the length of its prefix; `None` for
/// any other text.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u32 = bits.parse().ok().filter(|_| is_number)?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    if bits > width {
        return None;
    }
    match address.to_canonical() {
        // This is an IPv4-mapped IPv6 address, whose first 96 bits are the prefix for the mapping.
        canonical @ IpAddr::V4(_) if address.is_ipv6() && bits >= 96 => Some((canonical, bits - 96)),
        _ => Some((address, bits)),
    }
}

/// Whether the first `bits` bits of both addresses are equal. Addresses of different families never are.
fn contains((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// Splits `host:port` or `[host]:port`; `None` where there is no port, or there are too many colons.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':'))?,
    };
    let is_clean = |text: &str| !text.contains(['[', ']', ':']);
    // Only a host in brackets may contain colons.
    let is_host = if text.starts_with('[') { !host.contains(['[', ']']) } else { is_clean(host) };
    (is_host && is_clean(port)).then_some((host, port))
}

/// A name in the ASCII form (punycode) that DNS uses.
fn to_ascii(name: &str) -> String {
    if name.is_ascii() {
        return name.to_owned();
    }
    match url::Host::parse(name) {
        Ok(url::Host::Domain(ascii)) => ascii,
        _ => name.to_owned(),
    }
}
