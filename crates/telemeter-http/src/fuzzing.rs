//! Fuzz targets, for tests and for the programs below `fuzz/`; they are not part of a normal build. Each function takes
//! one input of a peer, a proxy, an environment or a file, and panics where the property in its doc does not hold.

pub(crate) mod input;

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, Request, header};

use self::input::headers;
use crate::{
    client::fuzzing as client, instrument::RequestId, internal::Access, listen::fuzzing as listen,
    metrics::MetricsFormat, pem,
};
pub use crate::{
    client::fuzzing::{excerpts, gunzip, tunnels},
    listen::fuzzing::{header_table, proxied},
};

/// Parses a PEM file: the line of each block is in the file, and a block that is parsed and written again parses to the
/// same.
pub fn pem_blocks(file: &[u8]) {
    use base64::Engine as _;
    let lines = file.split(|byte| *byte == b'\n').count();
    let mut before = 0;
    for block in pem::blocks(file) {
        assert!(block.line > before && block.line <= lines, "line {} of {lines}", block.line);
        before = block.line;
        let Ok(der) = &block.der else { continue };
        let base64 = base64::prelude::BASE64_STANDARD.encode(der);
        let written = format!("-----BEGIN {0}-----\n{base64}\n-----END {0}-----\n", block.kind);
        let again = pem::blocks(written.as_bytes());
        let [again] = &again[..] else { panic!("{} blocks of {written}", again.len()) };
        assert_eq!((&again.kind, again.der.as_ref().ok()), (&block.kind, Some(der)));
        assert_eq!(again.is_private_key(), block.is_private_key());
    }
}

/// Parses headers of a request, one per line: a request ID is short and harmless, the format is a known one, and the
/// internal listener responds only to the names of loopback, and to no page of another origin.
pub fn request_headers(lines: &[u8]) {
    let headers = headers(lines);
    let id = RequestId::of(&headers);
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    assert!((1..=64).contains(&id.as_str().len()) && id.as_str().bytes().all(harmless), "{id}");
    assert!(!MetricsFormat::accepted(&headers).content_type().is_empty());

    let access = Access::of_loopback();
    let mut request = Request::builder().method(Method::POST).uri("/-/reload").body(axum::body::Body::empty());
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers.clone();
    }
    let Ok(request) = request else { return };
    if access.refuses(&request) {
        return;
    }
    let one = |name: HeaderName| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let hosts = one(header::HOST);
    assert!(hosts.len() < 2, "two hosts");
    for host in &hosts {
        let host = String::from_utf8_lossy(host).to_ascii_lowercase();
        // The authority may have a user before the host name, and a port after it.
        let name = host.rsplit('@').next().unwrap_or_default();
        let name = match name.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => name.split(':').next().unwrap_or_default(),
        };
        let is_answered = match name.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback() || headers.contains_key("x-forwarded-for"),
            Err(_) => name == "localhost",
        };
        assert!(is_answered, "answered to {host}");
    }
    for origin in one(header::ORIGIN).iter().take(1) {
        let authority = origin.windows(3).position(|part| part == b"://").map(|at| &origin[at + 3..]);
        let same = authority.is_some_and(|authority| hosts.iter().any(|host| host.eq_ignore_ascii_case(authority)));
        assert!(same, "posted by a page of {}", origin.escape_ascii());
    }
}

/// The fuzz targets, each with its name, its check, and its seed inputs.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    let owned = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    vec![
        ("proxied", proxied as fn(&[u8]), listen::proxied_seeds()),
        ("header_table", header_table, listen::header_table_seeds()),
        ("tunnels", tunnels, client::tunnel_seeds()),
        ("gunzip", gunzip, client::gunzip_seeds()),
        ("excerpts", excerpts, owned(&client::EXCERPT_SEEDS)),
        ("pem_blocks", pem_blocks, owned(&PEM_SEEDS)),
        ("request_headers", request_headers, owned(&HEADER_SEEDS)),
    ]
}

const PEM_SEEDS: [&str; 3] = [
    "-----BEGIN A-----\r\nAA\r\nEC\r\n-----END A-----\r\n",
    "text\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAEC\n-----END RSA PRIVATE KEY-----\n",
    "-----BEGIN A-----\nAA==\n-----BEGIN B-----\nA\n-----END B-----\n-----END A-----",
];

const HEADER_SEEDS: [&str; 5] = [
    "host: localhost:9004\norigin: http://localhost:9004\nx-request-id: a.b-C_1\n",
    "host: [::1]:80\nsec-fetch-site: same-origin\naccept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=1\n",
    "host: 10.0.0.1\nx-forwarded-for: 1.2.3.4\naccept: */*;q=0.1\n",
    "host: a@127.0.0.1\norigin: null\nauthorization: Bearer x\n",
    "accept: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited\n",
];

#[cfg(test)]
mod tests {
    use telemeter_test_support::fuzz_targets::{check_damaged, check_prefixes};

    use super::*;

    #[test]
    fn the_properties_hold_for_prefixes_of_the_seeds() {
        check_prefixes(&targets());
    }

    #[test]
    fn the_properties_hold_for_damaged_seeds() {
        check_damaged(&targets());
    }
}
