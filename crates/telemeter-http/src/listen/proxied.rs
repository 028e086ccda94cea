//! The PROXY protocol, versions 1 and 2: a load balancer that forwards connections names the client at the start of
//! each.
//!
//! Source: <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>. The header is read only from trusted proxies.
//! A trusted proxy that does not send it is served as well: no request and no TLS handshake begins like such a header.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const VERSION_1: &[u8] = b"PROXY ";
/// The longest line of version 1, with its line end.
const MAX_LINE_BYTES: usize = 107;
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the fixed part: signature, command, family, length.
const FIXED_BYTES: usize = 16;
/// The cap on the bytes after the fixed part. Addresses take at most 216 bytes; the fields that some proxies add fit
/// well.
const MAX_ADDED_BYTES: usize = 4096;

/// The result of parsing the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ForwardedHeader {
    /// More bytes are needed to decide.
    Partial,
    /// There is no header.
    Absent,
    /// The length of the header, and the client that it names; `None` for a connection of the proxy itself.
    Complete(usize, Option<SocketAddr>),
    /// The bytes begin like a header, and are not a valid one.
    Malformed,
}

/// Reads the header of a connection; returns the client, where the header names one, and the bytes that were read after
/// the header.
///
/// # Errors
/// The stream's error; [`io::ErrorKind::InvalidData`] for a malformed header.
pub(super) async fn header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Option<SocketAddr>, Bytes)> {
    let mut bytes = BytesMut::with_capacity(256);
    loop {
        match parse(&bytes) {
            ForwardedHeader::Partial => {}
            ForwardedHeader::Absent => return Ok((None, bytes.freeze())),
            ForwardedHeader::Complete(length, client) => {
                bytes.advance(length);
                return Ok((client, bytes.freeze()));
            }
            ForwardedHeader::Malformed => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a malformed header of the PROXY protocol"));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok((None, bytes.freeze()));
        }
    }
}

/// Parses the start of a connection. The result is `Partial` where more bytes are needed, and `Absent` where the bytes
/// cannot become a header of either version.
fn parse(bytes: &[u8]) -> ForwardedHeader {
    let begins_like = |sign: &[u8]| bytes.iter().zip(sign).all(|(byte, wanted)| byte == wanted);
    if begins_like(VERSION_2) {
        return if bytes.len() < FIXED_BYTES { ForwardedHeader::Partial } else { version_2(bytes) };
    }
    if begins_like(VERSION_1) {
        return version_1(bytes);
    }
    ForwardedHeader::Absent
}

/// Parses a header of version 1, a line of text. A line that has not ended is `Partial` up to [`MAX_LINE_BYTES`], and
/// `Malformed` beyond. `UNKNOWN` names no client.
fn version_1(bytes: &[u8]) -> ForwardedHeader {
    let Some(end) = bytes.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE_BYTES { ForwardedHeader::Partial } else { ForwardedHeader::Malformed };
    };
    let line = bytes[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return ForwardedHeader::Malformed };
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return ForwardedHeader::Complete(end + 1, None);
    }
    let fields: Vec<&str> = words.collect();
    let [source, destination, port, destination_port] = fields[..] else { return ForwardedHeader::Malformed };
    let port_of = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let addresses: Option<(IpAddr, IpAddr)> = source.parse().ok().zip(destination.parse().ok());
    match (family, addresses, port_of(port), port_of(destination_port)) {
        (Some("TCP4"), Some((source @ IpAddr::V4(_), IpAddr::V4(_))), Some(port), Some(_))
        | (Some("TCP6"), Some((source @ IpAddr::V6(_), IpAddr::V6(_))), Some(port), Some(_)) => {
            ForwardedHeader::Complete(end + 1, Some(SocketAddr::new(source.to_canonical(), port)))
        }
        _ => ForwardedHeader::Malformed,
    }
}

/// Parses version 2; `bytes` hold at least the fixed part. A connection of the proxy itself, and one without TCP
/// addresses, names no client.
fn version_2(bytes: &[u8]) -> ForwardedHeader {
    let (command, family) = (bytes[12], bytes[13]);
    let added = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if added > MAX_ADDED_BYTES || command >> 4 != 2 {
        return ForwardedHeader::Malformed;
    }
    let Some(mut rest) = bytes.get(FIXED_BYTES..FIXED_BYTES + added) else { return ForwardedHeader::Partial };
    let client = match (command & 0x0f, family) {
        // A connection of the proxy itself, as a health check.
        (0, _) => None,
        (1, 0x11) if added >= 12 => {
            let source = Ipv4Addr::from_bits(rest.get_u32());
            rest.advance(4);
            Some(SocketAddr::new(source.into(), rest.get_u16()))
        }
        (1, 0x21) if added >= 36 => {
            let source = Ipv6Addr::from_bits(rest.get_u128());
            rest.advance(16);
            Some(SocketAddr::new(IpAddr::V6(source).to_canonical(), rest.get_u16()))
        }
        (1, 0x11 | 0x21) => return ForwardedHeader::Malformed,
        // The client has no TCP address: datagrams, Unix sockets, or an unspecified family.
        (1, _) => None,
        _ => return ForwardedHeader::Malformed,
    };
    ForwardedHeader::Complete(FIXED_BYTES + added, client)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(bytes: &[u8], expected: ForwardedHeader) {
        assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
        if let ForwardedHeader::Complete(length, _) = expected {
            for end in 0..length {
                assert_eq!(parse(&bytes[..end]), ForwardedHeader::Partial, "{}", bytes[..end].escape_ascii());
            }
        }
    }

    fn client(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        let line = b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 443\r\nGET /";
        check(line, ForwardedHeader::Complete(38, client("1.2.3.4:5678")));
        check(b"PROXY TCP6 2001:db8::1 ::1 5678 443\r\n", ForwardedHeader::Complete(37, client("[2001:db8::1]:5678")));
        check(b"PROXY UNKNOWN\r\n", ForwardedHeader::Complete(15, None));
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ForwardedHeader::Complete(35, None));
        for wrong in [
            &b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 443\n"[..],
            b"PROXY TCP4 1.2.3.4 10.0.0.1 5678\r\n",
            b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 443 9\r\n",
            b"PROXY TCP4 1.2.3 10.0.0.1 5678 443\r\n",
            b"PROXY TCP4 ::1 ::1 5678 443\r\n",
            b"PROXY TCP6 1.2.3.4 10.0.0.1 5678 443\r\n",
            b"PROXY TCP4 1.2.3.4 10.0.0.1 65536 443\r\n",
            b"PROXY TCP4 1.2.3.4 10.0.0.1 +1 443\r\n",
            b"PROXY UDP4 1.2.3.4 10.0.0.1 5678 443\r\n",
            b"PROXY \r\n",
        ] {
            check(wrong, ForwardedHeader::Malformed);
        }
        check(&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), ForwardedHeader::Malformed);
    }

    #[test]
    fn version_2_is_binary() {
        let header = |command: u8, family: u8, rest: &[u8]| {
            let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
            [VERSION_2, &[command, family], &length[..], rest].concat()
        };
        let four = [1, 2, 3, 4, 10, 0, 0, 1, 0x16, 0x2e, 1, 187];
        check(&header(0x21, 0x11, &four), ForwardedHeader::Complete(28, client("1.2.3.4:5678")));
        let more = [&four[..], &[4, 0, 1, 9]].concat();
        check(&header(0x21, 0x11, &more), ForwardedHeader::Complete(32, client("1.2.3.4:5678")));
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[15] = 7;
        six[32..34].copy_from_slice(&[0x16, 0x2e]);
        check(&header(0x21, 0x21, &six), ForwardedHeader::Complete(52, client("[2001::7]:5678")));
        check(&header(0x20, 0, &[]), ForwardedHeader::Complete(16, None));
        check(&header(0x20, 0x11, &four), ForwardedHeader::Complete(28, None));
        check(&header(0x21, 0x31, &[0; 216]), ForwardedHeader::Complete(232, None));
        assert_eq!(parse(&header(0x11, 0x11, &four)), ForwardedHeader::Malformed, "another version");
        assert_eq!(parse(&header(0x22, 0x11, &four)), ForwardedHeader::Malformed, "another command");
        assert_eq!(parse(&header(0x21, 0x11, &four[..11])), ForwardedHeader::Malformed, "too short for its addresses");
        assert_eq!(parse(&header(0x21, 0, &[0; 5000])), ForwardedHeader::Malformed, "too long");
    }

    #[tokio::test]
    async fn what_is_no_header_is_not_lost() {
        for (bytes, expected, rest) in [
            (&b"GET / HTTP/1.1\r\n"[..], None, &b"GET / HTTP/1.1\r\n"[..]),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            (b"\x16\x03\x01", None, b"\x16\x03\x01"),
            (b"PR", None, b"PR"),
            (b"", None, b""),
            (b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 443\r\nGET /", client("1.2.3.4:5678"), b"GET /"),
        ] {
            let (found, left) = header(&mut &bytes[..]).await.unwrap();
            assert_eq!((found, &left[..]), (expected, rest), "{}", bytes.escape_ascii());
        }
        let error = header(&mut &b"PROXY nonsense\r\n"[..]).await.expect_err("malformed");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
