//! Fuzz targets for proxies: their responses, and the variables that name them.

use tokio::io::join;

use super::{proxy::Proxies, tunnel};
use crate::fuzzing::input::ready;

const PASSWORD: &str = "s3cr^t";
const TARGETS: [(&str, u16); 5] =
    [("store.example.com", 443), ("[2001:db8::7]", 80), ("10.1.2.3", 9090), ("localhost", 1), ("xn--9ca.x", 8)];

/// Parses the input as a proxy's response to `CONNECT` and to SOCKS 5: no byte after the response is read, and only a
/// 2xx opens a tunnel. Then it uses the input as `NO_PROXY`, and as the URL of a proxy: the password is never shown,
/// and a target that is listed is reached directly.
pub fn tunnels(input: &[u8]) {
    let mut stream = join(input, Vec::new());
    if ready(tunnel::connect(&mut stream, "store.test", 443, None)).is_ok() {
        let head = &input[..input.len() - stream.reader().len()];
        let end = |mark: &[u8]| input.windows(mark.len()).position(|part| part == mark).map(|at| at + mark.len());
        let ends = [end(b"\r\n\r\n"), end(b"\n\n")];
        assert_eq!(Some(head.len()), ends.into_iter().flatten().min(), "{}", input.escape_ascii());
        let says = |text: &[u8]| head.windows(text.len()).any(|part| part == text);
        assert!(says(b"HTTP/1.") && says(b"2"), "{}", head.escape_ascii());
    }
    for login in [None, Some((b"user".to_vec(), b"password".to_vec()))] {
        let mut stream = join(input, Vec::new());
        if ready(tunnel::socks5(&mut stream, "store.test", 443, login.as_ref())).is_ok() {
            let read = input.len() - stream.reader().len();
            // RFC 1928: the method, with a login its answer (RFC 1929), then the reply with the address that the proxy
            // bound: a name of 0 to 255 bytes at the least and at the most, and a port.
            let answers = if login.is_some() && input[1] == 2 { 2 + 2 } else { 2 };
            let lengths = answers + 4 + 1 + 2..=answers + 4 + 1 + 255 + 2;
            assert!(lengths.contains(&read), "{read} bytes read");
        }
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let proxies = |no_proxy: &str, proxy: &str| {
        Proxies::from_variables(|name| match name {
            "NO_PROXY" => Some(no_proxy.to_owned()),
            "HTTPS_PROXY" => Some(proxy.to_owned()),
            _ => None,
        })
    };
    let listed = proxies(text, "http://user:s3cr^t@proxy:3128").expect("a proxy");
    for (host, port) in TARGETS {
        let chosen = listed.choose(true, host, port).expect("no CGI");
        let route = listed.route(true, host, port).expect("no CGI");
        assert_eq!(chosen.is_some(), route.starts_with("through"), "{route}");
        assert!(!format!("{chosen:?}{route}").contains(PASSWORD) || text.to_lowercase().contains(PASSWORD), "{route}");
        let bare = host.trim_matches(['[', ']']);
        let named = text.split(',').any(|element| element.trim() == bare || element.trim() == "*");
        assert!(!named || chosen.is_none(), "{host} is named in {text:?}");
    }
    match proxies("", &format!("http://user:s3cr^t@{text}")) {
        Ok(proxies) => {
            let shown = proxies.route(true, "store.test", 443).expect("no CGI");
            assert!(!shown.contains(PASSWORD) || text.to_lowercase().contains(PASSWORD), "{shown}");
        }
        Err(error) => assert!(!error.contains(PASSWORD), "{error}"),
    }
    let _ = proxies("", text);
}

pub(crate) fn tunnel_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n\x16\x03",
        "HTTP/1.0 407 No\r\n\r\n",
        "HTTP/1.1 201 \n\nrest",
        "\u{5}\0\u{5}\0\0\u{1}\u{1}\u{2}\u{3}\u{4}\0\u{50}rest",
        "\u{5}\u{2}\u{1}\0\u{5}\0\0\u{3}\u{4}name\0\u{50}",
        "\u{5}\u{2}\u{1}\0\u{5}\0\0\u{3}\0\0\u{50}",
        "\u{5}\0\u{5}\0\0\u{4}0123456789abcdef\0\u{50}",
        "localhost,10.0.0.0/8, *.example.com,[2001:db8::]/32,.x:80,example.com:443,\u{e9}.x,1.2.3.4:9090",
        "*",
        "socks5://user:pass%20@proxy:1080",
        "https://proxy.example",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
