//! What holds whatever is typed for a flag. For tests, and for the programs below `fuzz/`: no part of a normal build.

use std::time::Duration;

use crate::flags::{
    duration,
    list::{self, Separation},
    size, value,
};

const FLAG: &str = "--flag";

/// The value of a flag, read as each of the things that flags hold. A list that is read, written in quotes and read again holds the
/// same; a duration is what its parts come to; no error shows what may be a password, and each names its flag.
pub fn flags(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    duration_holds(text);
    let given = [text.to_owned()];
    lists(text, &given);
    if let Ok(bytes) = size::parse(text) {
        assert!(bytes >= 32 << 20, "{text:?}");
        assert_eq!(size::parse(&bytes.to_string()), Ok(bytes), "{text:?}");
    }
    let _ = value::boolean(text);
    if let Ok(address) = value::address(FLAG, text) {
        assert_eq!(value::address(FLAG, &address), Ok(address.clone()));
    }
    if let Ok(server) = value::server(FLAG, text) {
        assert_eq!(value::server(FLAG, &server), Ok(server.clone()));
        let port: u16 = server.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        assert!(port > 0, "{server}");
    }
    for url in [text.to_owned(), format!("https://user:hunter2@{text}")] {
        match value::http_url(FLAG, &url) {
            Ok(url) => {
                assert!(
                    ["http", "https"].contains(&url.scheme()) && url.has_host() && url.fragment().is_none(),
                    "{url}"
                );
                assert_eq!(value::http_url(FLAG, url.as_str()), Ok(url.clone()));
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(FLAG) && (!error.contains("hunter2") || text.contains("hunter2")), "{error}");
            }
        }
    }
}

fn duration_holds(text: &str) {
    let Ok(read) = duration::parse(text) else { return };
    assert_eq!(duration::parse(&format!("{}ns", read.as_nanos())), Ok(read), "{text:?}");
    // As a sum of floats: what is cut off of each part is less than a nanosecond.
    let (mut sum, mut parts, mut rest) = (0.0, 0.0, text.trim_start_matches(['+', '-']));
    while !rest.is_empty() && rest != "0" {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let number: f64 = number.parse().expect("a number");
        sum += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "ns" => 1e-9,
                _ => 1e-6,
            };
        parts += 1.0;
        rest = after;
    }
    let difference = (read.as_secs_f64() - sum).abs();
    assert!(
        difference <= sum * 1e-12 + parts * 1e-9 + Duration::from_nanos(1).as_secs_f64(),
        "{text:?}: {read:?}, {sum}"
    );
}

/// An element in quotes.
fn quoted(element: &str) -> String {
    format!("\"{}\"", element.replace('"', "\"\""))
}

fn lists(text: &str, given: &[String]) {
    for separation in [Separation::Commas, Separation::Repeated] {
        match list::label_names(FLAG, separation, given) {
            Ok(names) => {
                let written: Vec<_> = names.iter().map(|name| quoted(name)).collect();
                assert_eq!(list::label_names(FLAG, separation, &written), Ok(names.clone()), "{text:?}");
                if separation == Separation::Commas {
                    assert_eq!(list::label_names(FLAG, separation, &[written.join(" , ")]), Ok(names), "{text:?}");
                }
            }
            Err(error) => assert!(error.to_string().starts_with(FLAG), "{error}"),
        }
    }
    if let Ok(pairs) = list::label_pairs(FLAG, given, &["_id"]) {
        assert!(pairs.iter().all(|(name, _)| name != "_id"), "{text:?}");
        // A carriage return before a line feed goes, in quotes.
        if !text.contains('\r') {
            let written: Vec<_> = pairs.iter().map(|(name, value)| quoted(&format!("{name}={value}"))).collect();
            assert_eq!(list::label_pairs(FLAG, &[written.join(",")], &["_id"]), Ok(pairs), "{text:?}");
        }
    }
    if let Ok(renames) = list::renames(FLAG, given, "a=b") {
        assert!(!renames.is_empty() || text.contains([',', '"']), "{text:?}");
        let written: Vec<_> = renames.iter().map(|(old, new)| quoted(&format!("{old}={new}"))).collect();
        assert!(renames.is_empty() || list::renames(FLAG, &written, "a=b") == Ok(renames), "{text:?}");
    }
    if let Ok(servers) = list::servers(FLAG, given) {
        assert_eq!(list::servers(FLAG, &servers), Ok(servers), "{text:?}");
    }
}

/// The target: its name, its check, and inputs to begin with.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    vec![("flags", flags, SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect())]
}

const SEEDS: [&str; 16] = [
    "4m30s",
    "1h1.5m.5s500ms7us1\u{b5}s1\u{3bc}s9ns",
    "-0",
    "2562047h47m16.854775807s",
    "instance, pod,\"http.status\" ,,\"a,b\"",
    "region=eu,\"regions=eu,us\",a=\"",
    "\"a=b \"\"c\"\"\"",
    "old=new, \"a.b=a_b\"",
    "cache:11211,[::1]:1, :11211,10.0.0.1:65535",
    "localhost:9004",
    "[fe80::1%eth0]:80",
    "256MiB",
    "64Mi",
    "true",
    "https://u:p@h.test:8443/a?b=c#d",
    "h.test/path",
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
