//! Fuzz targets for outbound calls: gzip bodies, and excerpts of error responses.

use std::io::Read as _;

use bytes::Bytes;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};

use super::{
    excerpt,
    excerpt::EXCERPT_BYTES,
    gunzip::{Gunzip, GunzipError},
};

pub(crate) use super::connect::fuzzing::tunnel_seeds;
pub use super::connect::fuzzing::tunnels;

/// The cap on decoded bytes.
const ROOM: usize = 1 << 16;

fn gunzipped(bytes: &[u8], at_once: usize, cap_bytes: usize) -> Result<Vec<u8>, GunzipError> {
    let mut headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let mut gunzip = Gunzip::of(&mut headers).expect("it is gzip");
    let mut out = Vec::new();
    for part in bytes.chunks(at_once.max(1)) {
        gunzip.feed(Bytes::copy_from_slice(part));
        while gunzip.has_input() {
            out.extend(gunzip.next(cap_bytes - out.len())?);
            assert!(out.len() <= cap_bytes);
        }
    }
    let left = cap_bytes - out.len();
    out.extend(gunzip.finish(left)?);
    assert!(out.len() <= cap_bytes);
    Ok(out)
}

/// Decodes a gzip body: the result is never longer than the cap, does not depend on the pieces in which its bytes
/// arrive, and is the same as the library's. Then it encodes the input as gzip: decoding returns the input.
pub fn gunzip(body: &[u8]) {
    let whole = gunzipped(body, body.len(), ROOM);
    assert_eq!(gunzipped(body, 1, ROOM).ok(), whole.as_ref().ok().cloned(), "byte by byte");
    if let Ok(whole) = &whole {
        let mut theirs = Vec::new();
        if !body.is_empty() {
            MultiGzDecoder::new(body).take(ROOM as u64 + 1).read_to_end(&mut theirs).expect("the library takes it");
        }
        assert_eq!(*whole, theirs);
        if let Some(room) = whole.len().checked_sub(1) {
            assert_eq!(gunzipped(body, body.len(), room), Err(GunzipError::TooLarge));
        }
    }
    let packed = gzip(body);
    assert_eq!(gunzipped(&packed, 5, ROOM), Ok(body.to_vec()));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("there is room");
    encoder.finish().expect("there is room")
}

pub(crate) fn gunzip_seeds() -> Vec<Vec<u8>> {
    let one = gzip(b"up 1\nup{a=\"b\"} 2\n");
    let two = [&one[..], &gzip(&[0; 5000])].concat();
    vec![Vec::new(), one.clone(), two, gzip(b""), one[..one.len() - 3].to_vec(), [&one[..], b"rest"].concat()]
}

/// Makes an excerpt of a body: it is short, on one line, and contains no secret, neither one that is known nor one that
/// follows a scheme. The input is the body; its last word is the known secret.
pub fn excerpts(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let secret = text.split(|c: char| c.is_whitespace() || c.is_control()).next_back().unwrap_or_default();
    let shown = excerpt(&HeaderMap::new(), &Bytes::copy_from_slice(body), &[secret]);
    assert!(shown.len() <= EXCERPT_BYTES && !shown.contains(['\n', '\r', '\u{1b}', '\0']), "{shown:?}");
    // The text that replaces one secret, and the text around it, may contain letters of another one.
    let is_told_apart = secret.len() >= 12 && !secret.contains(['[', ']', '\u{f8ff}', '\u{fffd}']);
    if is_told_apart && !"[redacted]".contains(secret) {
        assert!(!shown.contains(secret), "{shown:?} shows {secret:?}");
    }
    let known = "hunter2-hunter2.x";
    let with_known = format!("{text} Authorization: Bearer {known}\n");
    let shown = excerpt(&HeaderMap::new(), &Bytes::from(with_known), &[]);
    let already = text.contains(known);
    assert!(already || !shown.contains(known), "{shown:?}");
}

pub(crate) const EXCERPT_SEEDS: [&str; 6] = [
    "remote write receiver needs to be enabled\n",
    "{\"error\":\"invalid token: hunter2hunter2\",\"password\" : \"hunter2hunter2\"} hunter2hunter2",
    "Authorization: Basic dXNlcjpwYXNz password=a&token=b;c=d hunter3hunter3hunter3",
    "two\r\n  lines\u{1b}[31m",
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhY2NvdW50MTIzNDU2Nzg5MCJ9.AAAA1111BBBB",
    "token: => [redacted] \u{f8ff} x",
];
