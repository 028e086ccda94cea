//! Fuzz targets for the first bytes of a connection: the PROXY protocol, forwarded addresses, and the HTTP/2 header
//! table.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::{TrustedProxies, header_table::HeaderTable, proxied::header};
use crate::fuzzing::input::{headers, ready};

/// A stream whose bytes arrive in pieces of `at_once` bytes.
struct Arriving<'b> {
    bytes: &'b [u8],
    at_once: usize,
}

impl AsyncRead for Arriving<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (part, rest) = self.bytes.split_at(self.bytes.len().min(self.at_once).min(into.remaining()));
        into.put_slice(part);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

/// Reads a connection with or without a PROXY protocol header: the result does not depend on the pieces in which its
/// bytes arrive, and no byte after the header is lost. Then it parses the rest as headers: a peer that is not a trusted
/// proxy is never believed.
pub fn proxied(bytes: &[u8]) {
    let read = |at_once: usize| {
        let mut stream = Arriving { bytes, at_once };
        let (client, first) = ready(header(&mut stream)).ok()?;
        Some((client, [&first[..], stream.bytes].concat()))
    };
    let whole = read(usize::MAX);
    for at_once in [1, 7] {
        assert_eq!(read(at_once), whole);
    }
    let Some((client, rest)) = whole else { return };
    assert!(bytes.ends_with(&rest), "bytes were lost");
    assert!(client.is_none() || bytes.len() - rest.len() >= 15, "a client without a header");

    let headers = headers(&rest);
    let trusted = TrustedProxies::from(vec!["10.0.0.0/8".parse().expect("a network")]);
    let stranger = SocketAddr::new(Ipv4Addr::new(11, 0, 0, 1).into(), 7);
    assert_eq!(trusted.client(stranger, &headers), stranger);
    let proxy = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), 7);
    let believed = trusted.client(proxy, &headers);
    // The last address in the headers is a proxy's, or it is believed; no address is invented.
    let said = headers.get_all("x-forwarded-for").iter().next_back();
    assert!(said.is_some() || believed == proxy);
}

/// Counts the memory of the HTTP/2 header table: the count does not depend on the pieces in which the bytes arrive, and
/// is never more than a fixed multiple of the received bytes.
pub fn header_table(bytes: &[u8]) {
    let counted = |at_once: usize| {
        let mut table = HeaderTable::new();
        let mut most = 0;
        for (index, part) in bytes.chunks(at_once).enumerate() {
            table.receive(part);
            let held = table.held_bytes();
            assert!(held <= ((index + 1) * at_once).min(bytes.len()) * 3, "{held} bytes");
            assert!(!table.is_gone() || held == 0);
            most = most.max(held);
        }
        (table.held_bytes(), table.is_gone(), most)
    };
    let whole = counted(bytes.len().max(1));
    for at_once in [1, 10] {
        let parts = counted(at_once);
        assert_eq!((parts.0, parts.1), (whole.0, whole.1), "{at_once} at once");
    }
}

pub(crate) fn proxied_seeds() -> Vec<Vec<u8>> {
    let binary = |rest: &[u8]| [b"\r\n\r\n\0\r\nQUIT\n", rest].concat();
    vec![
        b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 443\r\nx-forwarded-for: 1.2.3.4, 10.0.0.2\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 5678 443\r\nx-forwarded-for: [2001:db8::1]:5\nx-forwarded-for: unknown".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET / HTTP/1.1\r\n".to_vec(),
        binary(b"\x21\x11\x00\x0c\x01\x02\x03\x04\x0a\x00\x00\x01\x16\x2e\x01\xbbGET"),
        binary(b"\x21\x21\x00\x24aaaabbbbccccddddaaaabbbbccccdddd\x01\x02\x01\xbb"),
        binary(b"\x20\x00\x00\x00\x16\x03\x01"),
        b"x-forwarded-for: 1.2.3.4".to_vec(),
    ]
}

pub(crate) fn header_table_seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1][..], payload].concat()
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let path = b"\x44\x08/a/b/c/d\x41\x01h\x86\x40\x01a\x01b\x10\x01c\x82dd";
    let [settings, acknowledged] = [frame(4, 0, &[0, 1, 0, 0, 16, 0]), frame(4, 1, &[])];
    let [whole, cut] = [frame(1, 5, path), frame(1, 1, &path[..5])];
    let padded = frame(1, 0x2d, &[&[3, 0, 0, 0, 1, 9][..], path, &[0; 3]].concat());
    let gone = frame(1, 5, &[&[0x20], &path[..]].concat());
    let behind = frame(9, 4, &path[5..]);
    vec![
        [&preface[..], &settings, &whole, &whole, &frame(0, 1, b"data")].concat(),
        [&preface[..], &settings, &cut, &behind, &padded].concat(),
        [&preface[..], &acknowledged, &gone, &whole].concat(),
        Bytes::from(preface).to_vec(),
    ]
}
