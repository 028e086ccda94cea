//! Opens a tunnel through a proxy, with `CONNECT` or SOCKS 5.
//!
//! Source: RFC 9110 9.3.6 and 11.7; RFC 1928 and 1929.

use std::net::IpAddr;

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::client::error::{ConnectError, io_error_text};
use crate::client::words::advice;

/// The cap on the headers of a proxy's response.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Asks an HTTP proxy to connect to `host`, which is as in a URL. Any status but 2xx is an error, and so are headers of
/// over [`MAX_HEAD_BYTES`]. Bytes after the headers stay unread, since they come from the origin.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &str,
    port: u16,
    authorization: Option<&HeaderValue>,
) -> Result<(), ConnectError> {
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broke)?;
    // The response is read byte by byte, so that no byte after its headers, which belongs to the target, is consumed.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(ConnectError::new("the proxy's answer to CONNECT is too long"));
        }
        head.push(stream.read_u8().await.map_err(broke)?);
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let (protocol, rest) = line.trim().split_once(' ').unwrap_or_default();
    let status: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    match status.as_str() {
        _ if !protocol.starts_with("HTTP/1.") || status.len() != 3 => {
            Err(ConnectError::new("the proxy's answer to CONNECT is not HTTP"))
        }
        status if status.starts_with('2') => Ok(()),
        "407" => Err(ConnectError::new("the proxy refused CONNECT with 407: it wants another user and password")
            .advise(advice::PROXY_LOGIN)),
        status => {
            Err(ConnectError::new(format!("the proxy refused CONNECT with {status}")).advise(advice::PROXY_RULES))
        }
    }
}

/// Asks a SOCKS 5 proxy to connect to `host`, which is as in a URL. The proxy looks up the name. Returns an error where
/// the proxy does not accept the login, or refuses to connect.
pub(super) async fn socks5<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &str,
    port: u16,
    login: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<(), ConnectError> {
    const NO_LOGIN: u8 = 0;
    const PASSWORD: u8 = 2;
    let methods: &[u8] = if login.is_some() { &[5, 2, NO_LOGIN, PASSWORD] } else { &[5, 1, NO_LOGIN] };
    stream.write_all(methods).await.map_err(broke)?;
    let [version, method] = read(stream).await?;
    if version != 5 {
        return Err(ConnectError::new("the proxy does not speak SOCKS 5"));
    }
    match (method, login) {
        (NO_LOGIN, _) => {}
        (PASSWORD, Some((user, password))) => {
            let mut request = vec![1];
            for text in [user, password] {
                // Both lengths were checked to be at most 255 when the variable was read.
                request.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                request.extend_from_slice(text);
            }
            stream.write_all(&request).await.map_err(broke)?;
            let [_, status] = read(stream).await?;
            if status != 0 {
                return Err(ConnectError::new("the proxy refused the user and password").advise(advice::PROXY_LOGIN));
            }
        }
        _ => {
            let text = "the proxy asks for a login that we do not have";
            return Err(ConnectError::new(text).advise(advice::PROXY_LOGIN));
        }
    }

    let mut request = vec![5, 1, 0];
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let length = u8::try_from(bare.len()).map_err(|_| ConnectError::new("the name is too long for SOCKS"))?;
            request.extend_from_slice(&[3, length]);
            request.extend_from_slice(bare.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await.map_err(broke)?;
    let [version, reply, _, address_kind] = read(stream).await?;
    if version != 5 {
        return Err(ConnectError::new("the proxy does not speak SOCKS 5"));
    }
    if reply != 0 {
        let why = match reply {
            1 => "it failed",
            2 => "its rules forbid it",
            3 => "the network is unreachable",
            4 => "the host is unreachable",
            5 => "the connection was refused",
            6 => "it took too long",
            7 => "it does not know the command",
            8 => "it does not know the kind of address",
            _ => "for a reason of its own",
        };
        return Err(ConnectError::new(format!("the proxy opened no way: {why} ({reply})")).advise(advice::PROXY_RULES));
    }
    // The address and port that the proxy connects from are not needed.
    let rest = match address_kind {
        1 => 4 + 2,
        4 => 16 + 2,
        3 => usize::from(stream.read_u8().await.map_err(broke)?) + 2,
        _ => return Err(ConnectError::new("the proxy does not speak SOCKS 5")),
    };
    stream.read_exact(&mut vec![0; rest]).await.map_err(broke)?;
    Ok(())
}

async fn read<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], ConnectError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(broke)?;
    Ok(bytes)
}

fn broke(error: std::io::Error) -> ConnectError {
    ConnectError::new(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the proxy closed the connection".to_owned(),
        _ => format!("the connection to the proxy broke: {}", io_error_text(&error)),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Runs `connect` against a proxy that responds with these pieces, a moment apart, and then closes; returns the
    /// result and the request that the proxy received.
    async fn connected(pieces: &[&str], authorization: Option<&'static str>) -> (Result<(), String>, String) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let answer = async {
            let mut asked = vec![0; 1024];
            let length = theirs.read(&mut asked).await.expect("a request");
            asked.truncate(length);
            for piece in pieces {
                theirs.write_all(piece.as_bytes()).await.expect("written");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(theirs);
            String::from_utf8(asked).expect("text")
        };
        let authorization = authorization.map(HeaderValue::from_static);
        let outcome = async { connect(&mut ours, "store.test", 443, authorization.as_ref()).await };
        let (outcome, asked) = tokio::join!(outcome, answer);
        (outcome.map_err(|error| error.text), asked)
    }

    #[tokio::test]
    async fn connect_asks_for_the_target_and_shows_who_we_are() {
        let (outcome, asked) = connected(&["HTTP/1.1 200 OK\r\n\r\n"], Some("Basic abc")).await;
        assert_eq!(outcome, Ok(()));
        let expected =
            "CONNECT store.test:443 HTTP/1.1\r\nHost: store.test:443\r\nProxy-Authorization: Basic abc\r\n\r\n";
        assert_eq!(asked, expected);
        let (_, asked) = connected(&["HTTP/1.1 200 OK\r\n\r\n"], None).await;
        assert!(!asked.contains("Authorization"), "{asked}");
    }

    #[tokio::test]
    async fn the_answers_to_connect() {
        async fn check(pieces: &[&str], expected: Result<(), &str>) {
            let (outcome, _) = connected(pieces, None).await;
            assert_eq!(outcome.as_ref().map_err(String::as_str).copied(), expected, "{pieces:?}");
        }
        check(&["HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n"], Ok(())).await;
        check(&["H", "TTP/1.1 20", "0\r", "\n\r", "\n"], Ok(())).await;
        check(&["HTTP/1.1 201 Created\n\n"], Ok(())).await;
        let login = "the proxy refused CONNECT with 407: it wants another user and password";
        check(&["HTTP/1.1 407 Who are you\r\nContent-Length: 9999\r\n\r\n"], Err(login)).await;
        check(&["HTTP/1.1 503 Busy\r\n\r\n"], Err("the proxy refused CONNECT with 503")).await;
        check(&["SSH-2.0-x\r\n\r\n"], Err("the proxy's answer to CONNECT is not HTTP")).await;
        check(&["HTTP/1.1 2\r\n\r\n"], Err("the proxy's answer to CONNECT is not HTTP")).await;
        check(&["\r\n\r\n"], Err("the proxy's answer to CONNECT is not HTTP")).await;
        check(&["HTTP/1.1 200 OK\r\n"], Err("the proxy closed the connection")).await;
        check(&[], Err("the proxy closed the connection")).await;
        let long = "x".repeat(20_000);
        check(&["HTTP/1.1 200 OK\r\n", &long], Err("the proxy's answer to CONNECT is too long")).await;
    }

    #[tokio::test]
    async fn what_follows_the_head_belongs_to_the_target() {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.expect("written");
        connect(&mut ours, "store.test", 443, None).await.expect("a way");
        let mut hello = [0; 5];
        ours.read_exact(&mut hello).await.expect("five bytes");
        assert_eq!(&hello, b"hello");
    }

    /// Runs `socks5` against a proxy that sends these bytes; returns the result and the bytes that the proxy received.
    async fn through_socks(answers: &[u8], host: &str, login: Option<(&str, &str)>) -> (Result<(), String>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(answers).await.expect("written");
        theirs.shutdown().await.expect("closed");
        let login = login.map(|(user, password)| (user.as_bytes().to_vec(), password.as_bytes().to_vec()));
        let outcome = socks5(&mut ours, host, 443, login.as_ref()).await;
        drop(ours);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.expect("read");
        (outcome.map_err(|error| error.text), sent)
    }

    #[tokio::test]
    async fn socks_of_every_kind_of_address() {
        let good = [5, 0, 5, 0, 0, 1, 10, 0, 0, 1, 0, 80];
        let (outcome, sent) = through_socks(&good, "a.test", None).await;
        assert_eq!((outcome, &sent[..]), (Ok(()), &b"\x05\x01\x00\x05\x01\x00\x03\x06a.test\x01\xbb"[..]));
        let (outcome, sent) = through_socks(&good, "192.0.2.7", None).await;
        assert_eq!((outcome, &sent[3..]), (Ok(()), &[5, 1, 0, 1, 192, 0, 2, 7, 1, 187][..]));
        let (outcome, sent) = through_socks(&good, "[2001:db8::1]", None).await;
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!((outcome, &sent[3..]), (Ok(()), &[&[5, 1, 0, 4][..], &address, &[1, 187]].concat()[..]));
        // The proxy may name an address of any kind.
        let (outcome, _) =
            through_socks(&[&[5, 0, 5, 0, 0, 3, 3][..], b"abc", &[0, 80]].concat(), "a.test", None).await;
        assert_eq!(outcome, Ok(()));
        let (outcome, _) = through_socks(&[5, 0, 5, 0, 0, 3, 0, 0, 80], "a.test", None).await;
        assert_eq!(outcome, Ok(()), "a name of no bytes");
        let (outcome, _) = through_socks(&[&[5, 0, 5, 0, 0, 4][..], &[0; 18]].concat(), "a.test", None).await;
        assert_eq!(outcome, Ok(()));
    }

    #[tokio::test]
    async fn socks_with_a_login() {
        let good = [5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (outcome, sent) = through_socks(&good, "a.test", Some(("user", "pass"))).await;
        assert_eq!(outcome, Ok(()));
        assert!(sent.starts_with(b"\x05\x02\x00\x02\x01\x04user\x04pass\x05\x01\x00\x03"), "{sent:?}");
        // The proxy does not have to ask for the password.
        let (outcome, sent) =
            through_socks(&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0], "a.test", Some(("user", "pass"))).await;
        assert_eq!(outcome, Ok(()));
        assert!(!sent.windows(4).any(|part| part == b"pass"), "{sent:?}");
    }

    #[tokio::test]
    async fn socks_that_fails() {
        async fn check(answers: &[u8], login: Option<(&str, &str)>, expected: &str) {
            assert_eq!(through_socks(answers, "a.test", login).await.0, Err(expected.to_owned()), "{answers:?}");
        }
        check(b"HTTP/1.1", None, "the proxy does not speak SOCKS 5").await;
        check(&[5, 255], None, "the proxy asks for a login that we do not have").await;
        check(&[5, 2], None, "the proxy asks for a login that we do not have").await;
        check(&[5, 2, 1, 1], Some(("a", "b")), "the proxy refused the user and password").await;
        check(&[5, 0, 5, 2, 0, 1], None, "the proxy opened no way: its rules forbid it (2)").await;
        check(&[5, 0, 5, 99, 0, 1], None, "the proxy opened no way: for a reason of its own (99)").await;
        check(&[5, 0, 5, 0, 0, 1, 0], None, "the proxy closed the connection").await;
        check(&[], None, "the proxy closed the connection").await;
        let long = "a".repeat(256);
        let (outcome, _) = through_socks(&[5, 0], &long, None).await;
        assert_eq!(outcome, Err("the name is too long for SOCKS".to_owned()));
    }
}
