//! Binds the sockets for the address of a listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// The cap on connections that wait to be accepted; the system has a cap of its own, often 4,096. Above it, new
/// connections are silently dropped, and their clients try again after a second.
const BACKLOG: u32 = 16_384;

/// The number of attempts to find a port that is free on both loopback addresses.
const TRIES: usize = 16;

/// Binds the sockets for `host:port`. `localhost` is loopback in both families; an empty host, `0.0.0.0` and `[::]` are
/// all addresses of the machine; any other name is looked up. Where the machine has no IPv6, those of IPv4 are enough.
/// Returns an error for a malformed address, and for a port that is in use.
pub(super) async fn sockets(address: &str) -> io::Result<Vec<TcpListener>> {
    let (host, port) = split(address)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an address looks like localhost:9004 or :9003"))?;
    if host.eq_ignore_ascii_case("localhost") {
        return loopback(port);
    }
    let literal = if host.is_empty() { Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) } else { host.parse().ok() };
    match literal {
        // As in Go, this means every address of both families, where the machine has both.
        Some(ip) if ip.is_unspecified() => match listen_on((Ipv6Addr::UNSPECIFIED, port)) {
            Ok(socket) => Ok(vec![socket]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_no_ipv6) => Ok(vec![listen_on((Ipv4Addr::UNSPECIFIED, port))?]),
        },
        Some(ip) => Ok(vec![listen_on((ip, port))?]),
        None => named(host, port).await,
    }
}

/// Binds `127.0.0.1` and `::1`, with the same port. For port 0 the system chooses one; where `::1` has it in use,
/// others are tried, [`TRIES`] in all. Where the machine has no IPv6, only `127.0.0.1` is bound.
fn loopback(port: u16) -> io::Result<Vec<TcpListener>> {
    for attempt in 1..=TRIES {
        let four = listen_on((Ipv4Addr::LOCALHOST, port))?;
        let found = four.local_addr()?.port();
        match listen_on((Ipv6Addr::LOCALHOST, found)) {
            Ok(six) => return Ok(vec![four, six]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if port != 0 || attempt == TRIES {
                    return Err(error);
                }
            }
            Err(_no_ipv6) => return Ok(vec![four]),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Looks up a name, and binds the first of its addresses on which it is possible to listen. Returns the last error
/// where there is none.
async fn named(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match listen_on(address) {
            Ok(socket) => return Ok(vec![socket]),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Binds one socket and listens. Returns an error of kind `AddrInUse` where another socket listens on the port.
fn listen_on(address: impl Into<SocketAddr>) -> io::Result<TcpListener> {
    let address = address.into();
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart the port can be bound, even while connections of the last process still end.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit the option from their listener, which saves a system call for each.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Splits an address into host, without brackets, and port.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    match host.strip_prefix('[') {
        Some(rest) => Some((rest.strip_suffix(']').filter(|inside| !inside.is_empty())?, port)),
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        assert_eq!(split("localhost:9004"), Some(("localhost", 9004)));
        assert_eq!(split(":9003"), Some(("", 9003)));
        assert_eq!(split("0.0.0.0:0"), Some(("0.0.0.0", 0)));
        assert_eq!(split("[::]:9003"), Some(("::", 9003)));
        for wrong in ["", "localhost", "9003", "localhost:", "localhost:x", "localhost:+1", "a:65536", "::1:80", "[]:1"]
        {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    async fn answers_on(address: &str, ip: impl Into<IpAddr>) {
        let sockets = sockets(address).await.expect(address);
        let port = sockets[0].local_addr().unwrap().port();
        tokio::net::TcpStream::connect((ip.into(), port)).await.expect(address);
    }

    #[tokio::test]
    async fn localhost_and_every_address_answer_on_ipv4() {
        for address in ["localhost:0", "LOCALHOST:0", ":0", "0.0.0.0:0", "[::]:0", "127.0.0.1:0"] {
            answers_on(address, Ipv4Addr::LOCALHOST).await;
        }
    }

    #[tokio::test]
    async fn both_families_where_there_are_two() {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_err() {
            return;
        }
        for address in ["localhost:0", ":0", "0.0.0.0:0", "[::1]:0"] {
            answers_on(address, Ipv6Addr::LOCALHOST).await;
        }
    }

    #[tokio::test]
    async fn what_is_accepted_waits_for_no_acknowledgement() {
        for address in ["127.0.0.1:0", "localhost:0", ":0"] {
            let sockets = sockets(address).await.expect(address);
            let port = sockets[0].local_addr().unwrap().port();
            let _open = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect(address);
            let (accepted, _) = sockets[0].accept().await.unwrap();
            assert!(accepted.nodelay().unwrap(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_the_address() {
        let first = super::super::bind("localhost:0").await.unwrap();
        let address = format!("localhost:{}", first.local_addr().unwrap().port());
        let error = super::super::bind(&address).await.expect_err("in use").to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}
