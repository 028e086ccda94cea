//! Connects to a host by TCP: it tries the addresses of both families alternately, the next one after a delay or a
//! failure.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{ConnectProgress, ConnectStage, Resolver};
use crate::client::error::{ConnectError, io_error_text};
use crate::client::metrics::{ConnectEvent, ConnectTimer};
use crate::client::words::{self, advice};

/// The delay before the next address is tried. Source: Go's `net.Dialer`, `FallbackDelay`; RFC 8305 says 250 ms.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(300);
/// The cap on the addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;
/// As in Go, the idle time before the first keep-alive probe, and the interval between probes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Connects to a host by TCP; `host` is as in a URL. A name is looked up first, and its addresses of both families are
/// tried in turn. The connection gets TCP keepalive, and sends without delay.
pub(super) async fn dial(
    resolver: &Resolver,
    host: &str,
    port: u16,
    progress: &ConnectProgress,
    making: &ConnectTimer<'_>,
) -> Result<TcpStream, ConnectError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let addresses = match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            progress.set(ConnectStage::Lookup, format!("looking up {bare}"));
            let failed = |cause: &str| ConnectError::new(format!("looking up {bare}: {cause}")).advise(advice::LOOKUP);
            making.reached(ConnectEvent::DnsStart);
            let found = resolver.look_up(bare, port).await;
            making.reached(ConnectEvent::DnsDone);
            let found = found.map_err(|error| failed(&words::of_lookup(&error)))?;
            if found.is_empty() {
                return Err(failed("it has no address"));
            }
            progress.found(|| found.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", "));
            alternate_families(found)
        }
    };
    let step = match &addresses[..] {
        [address] => format!("connecting to {address}"),
        [first, others @ ..] => format!("connecting to {first} and {} more", others.len()),
        [] => String::new(),
    };
    progress.set(ConnectStage::Connect, step);
    let stream = connect_to_first(addresses).await?;
    progress.found(|| stream.peer_addr().map_or_else(|_| String::new(), |peer| format!("connected to {peer}")));
    // A connection works without these options, too, so errors are ignored.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    Ok(stream)
}

/// Orders the addresses alternately by family, starting with the family of the first: where one family has no route,
/// this then costs only a short delay.
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == is_v4);
    let (mut first, mut second, mut turns) = (first.into_iter(), second.into_iter(), Vec::new());
    loop {
        match (first.next(), second.next()) {
            (None, None) => break,
            (one, other) => turns.extend(one.into_iter().chain(other)),
        }
    }
    turns.truncate(MAX_ADDRESSES);
    turns
}

/// Tries the addresses in their order, and returns the first connection that succeeds. The next attempt starts when the
/// last one failed, or after [`NEXT_ADDRESS_AFTER`], while the earlier ones go on. Where all fail, the error has the
/// failures of all.
async fn connect_to_first(addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let attempt = |address| async move { (address, TcpStream::connect(address).await) };
    let failed =
        |address: SocketAddr, error: &std::io::Error| format!("connecting to {address}: {}", io_error_text(error));
    if let [address] = addresses[..] {
        return attempt(address)
            .await
            .1
            .map_err(|error| ConnectError::new(failed(address, &error)).advise(advice::connect(error.kind())));
    }
    let (mut attempts, mut failures) = (JoinSet::new(), Vec::new());
    let mut waiting = addresses.into_iter();
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(attempt(address));
        }
        let moment = async {
            match waiting.len() {
                0 => std::future::pending().await,
                _ => sleep(NEXT_ADDRESS_AFTER).await,
            }
        };
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => failures.push(failed(address, &error)),
                Some(Err(_)) => {}
                None => return Err(ConnectError::new(failures.join("; ")).advise(advice::connect(ErrorKind::Other))),
            },
            () = moment => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_families_take_turns() {
        let check =
            |found: &[&str], expected: &[&str]| assert_eq!(alternate_families(addresses(found)), addresses(expected));
        check(&["[::1]:1", "[::2]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        check(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        check(&["1.1.1.1:1"], &["1.1.1.1:1"]);
        check(&[], &[]);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_and_every_failure_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = listener.local_addr().expect("its address");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let bad = closed.local_addr().expect("its address");
        drop(closed);
        let resolver = |found: Vec<SocketAddr>| Resolver::new(move |_, _| std::future::ready(Ok(found.clone())));
        let progress = ConnectProgress::default();

        let stream = dial(&resolver(vec![bad, good]), "store.test", 1, &progress, &ConnectTimer::begin(None, "test"))
            .await
            .expect("the second");
        assert_eq!(stream.peer_addr().expect("a peer"), good);
        assert!(stream.nodelay().expect("an option"));
        assert!(SockRef::from(&stream).keepalive().expect("an option"));
        assert_eq!(progress.step(), format!("connecting to {bad} and 1 more"));

        let error = dial(&resolver(vec![bad, bad]), "store.test", 1, &progress, &ConnectTimer::begin(None, "test"))
            .await
            .expect_err("nobody")
            .text;
        assert_eq!(error, format!("connecting to {bad}: Connection refused; connecting to {bad}: Connection refused"));
        let error = dial(&resolver(vec![]), "store.test", 1, &progress, &ConnectTimer::begin(None, "test"))
            .await
            .expect_err("nobody")
            .text;
        assert_eq!(error, "looking up store.test: it has no address");
        let unknown = Resolver::new(|_, _| std::future::ready(Err(std::io::Error::other("no such name"))));
        let error = dial(&unknown, "store.test", 1, &progress, &ConnectTimer::begin(None, "test"))
            .await
            .expect_err("nobody")
            .text;
        assert_eq!(error, "looking up store.test: no such name");
    }

    #[tokio::test]
    async fn an_address_that_is_silent_holds_up_nothing() {
        // A port whose accept queue is full does not respond to another connection.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let full = socket.listen(1).expect("a queue");
        let silent = full.local_addr().expect("its address");
        let mut held = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
            held.push(stream);
            assert!(held.len() < 100, "the queue is never full");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = listener.local_addr().expect("its address");
        let found = vec![silent, good];
        let resolver = Resolver::new(move |_, _| std::future::ready(Ok(found.clone())));
        let progress = ConnectProgress::default();
        let making = ConnectTimer::begin(None, "test");
        let dialled = dial(&resolver, "store.test", 1, &progress, &making);
        let stream =
            tokio::time::timeout(Duration::from_secs(20), dialled).await.expect("in time").expect("the second");
        assert_eq!(stream.peer_addr().expect("a peer"), good);
    }
}
