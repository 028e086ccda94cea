use super::*;

fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, String> {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Proxies::from_variables(find)
}

fn choice(variables: &[(&str, &str)], target: &str) -> Result<String, String> {
    let url: Url = target.parse().expect("a URL");
    let port = url.port_or_known_default().expect("a port");
    let chosen = proxies(variables)?.choose(url.scheme() == "https", url.host_str().expect("a host"), port)?;
    Ok(chosen.map_or_else(|| "direct".to_owned(), |proxy| proxy.to_string()))
}

#[track_caller]
fn check(variables: &[(&str, &str)], target: &str, expected: &str) {
    assert_eq!(choice(variables, target).as_deref(), Ok(expected), "{variables:?} {target}");
}

#[test]
fn which_variable_counts() {
    let (http, https) = ("http://example.com/", "https://example.com/");
    check(&[], http, "direct");
    check(&[("HTTP_PROXY", "")], http, "direct");
    check(&[("HTTP_PROXY", "one:1"), ("http_proxy", "two:2")], http, "http://one:1 of HTTP_PROXY");
    check(&[("http_proxy", "two:2")], http, "http://two:2 of http_proxy");
    check(&[("HTTP_PROXY", " "), ("http_proxy", "two:2")], http, "http://two:2 of http_proxy");
    check(&[("HTTPS_PROXY", "one:1"), ("https_proxy", "two:2")], https, "http://one:1 of HTTPS_PROXY");
    check(&[("https_proxy", "two:2")], https, "http://two:2 of https_proxy");
    // Each variable is for its own scheme only, and ALL_PROXY is not supported.
    check(&[("HTTP_PROXY", "one:1")], https, "direct");
    check(&[("HTTPS_PROXY", "one:1")], http, "direct");
    check(&[("ALL_PROXY", "one:1"), ("all_proxy", "one:1")], http, "direct");
    let both = [("HTTP_PROXY", "http.proxy.tld"), ("HTTPS_PROXY", "https://secure.proxy.tld")];
    check(&both, "http://insecure.tld/", "http://http.proxy.tld:80 of HTTP_PROXY");
    check(&both, "https://secure.tld/", "https://secure.proxy.tld:443 of HTTPS_PROXY");
    let no_proxy = |name| [("HTTP_PROXY", "proxy"), (name, "example.com")];
    check(&no_proxy("NO_PROXY"), http, "direct");
    check(&no_proxy("no_proxy"), http, "direct");
    check(
        &[("HTTP_PROXY", "proxy"), ("NO_PROXY", "a.b"), ("no_proxy", "example.com")],
        http,
        "http://proxy:80 of HTTP_PROXY",
    );
}

#[test]
fn the_forms_of_a_proxy() {
    let check = |value: &str, expected: &str| {
        check(&[("HTTP_PROXY", value)], "http://example.com/", &format!("{expected} of HTTP_PROXY"));
    };
    check("127.0.0.1:8080", "http://127.0.0.1:8080");
    check("cache.corp.example.com:1234", "http://cache.corp.example.com:1234");
    check("cache.corp.example.com", "http://cache.corp.example.com:80");
    check("localhost", "http://localhost:80");
    check("[::1]:3128", "http://[::1]:3128");
    check("http://proxy:3128/", "http://proxy:3128");
    check("HTTP://proxy:3128", "http://proxy:3128");
    check("https://cache.corp.example.com", "https://cache.corp.example.com:443");
    check("socks5://127.0.0.1", "socks5://127.0.0.1:1080");
    check("socks5h://proxy:9", "socks5://proxy:9");
    check("user:secret@proxy:3128", "http://proxy:3128");
    check("http://user:secret@proxy:3128", "http://proxy:3128");
}

#[test]
fn a_login_is_decoded_and_not_shown() {
    let found = proxies(&[("HTTP_PROXY", "http://us%3Aer:p%40ss@proxy")]).expect("a proxy");
    let proxy = found.for_http.clone().expect("one");
    // us:er:p@ss
    assert_eq!(proxy.authorization.as_ref().map(HeaderValue::as_bytes), Some(&b"Basic dXM6ZXI6cEBzcw=="[..]));
    assert_eq!(proxy.login, Some((b"us:er".to_vec(), b"p@ss".to_vec())));
    assert_eq!(format!("{found:?}").matches("p@ss").count() + format!("{found:?}").matches("p%40ss").count(), 0);
}

#[test]
fn what_is_no_proxy_ends_the_start_and_is_not_repeated() {
    let check = |value: &str, expected: &str| {
        let error = proxies(&[("https_proxy", value)]).expect_err("no proxy");
        assert_eq!(error, expected);
        assert!(!error.contains("hunter"), "{error}");
    };
    let not_a_url = "https_proxy is not the URL of a proxy, such as http://proxy.example:3128";
    check("http://user:hunter2@:bad:", not_a_url);
    check("http://", not_a_url);
    check("socks5://", not_a_url);
    check("http://hunter2:port", not_a_url);
    check("ftp://hunter2@host", "https_proxy has a scheme that is none of http, https, socks5 and socks5h");
    check("socks4://host", "https_proxy has a scheme that is none of http, https, socks5 and socks5h");
    let long = format!("socks5://hunter2:{}@host", "x".repeat(256));
    check(&long, "https_proxy has a user or a password that is longer than SOCKS allows, or empty");
}

#[test]
fn a_proxy_that_the_sender_of_a_cgi_request_can_set_is_not_used() {
    let cgi = |variable| [(variable, "proxy"), ("REQUEST_METHOD", "PUT")];
    let error = choice(&cgi("HTTP_PROXY"), "http://example.com/").expect_err("CGI");
    assert_eq!(error, "HTTP_PROXY is not trusted where REQUEST_METHOD is set (CGI)");
    check(&cgi("HTTPS_PROXY"), "https://example.com/", "http://proxy:80 of HTTPS_PROXY");
    check(&[("REQUEST_METHOD", "PUT")], "http://example.com/", "direct");
    check(&[("HTTP_PROXY", "proxy"), ("REQUEST_METHOD", "")], "http://example.com/", "http://proxy:80 of HTTP_PROXY");
}

#[test]
fn no_proxy() {
    #[track_caller]
    fn is_direct(no_proxy: &str, target: &str, expected: bool) {
        let variables = [("HTTP_PROXY", "proxy"), ("HTTPS_PROXY", "proxy"), ("NO_PROXY", no_proxy)];
        let direct = choice(&variables, target).expect("a choice") == "direct";
        assert_eq!(direct, expected, "NO_PROXY={no_proxy} {target}");
    }
    // A star matches everything.
    is_direct("*", "http://192.0.2.7/", true);
    is_direct("a.b, *", "http://example.com/", true);
    is_direct("*", "http://[2001:db8::1]/", true);
    is_direct("", "http://example.com/", false);
    is_direct(" , ,", "http://example.com/", false);
    // A name matches itself and its subdomains.
    is_direct("example.test", "http://api.example.test/", true);
    is_direct("example.test", "http://example.test/", true);
    is_direct("example.test", "http://example.test.other/", false);
    is_direct("ample.test", "http://example.test/", false);
    is_direct("EXAMPLE.test", "http://Api.Example.Test/", true);
    is_direct(" other.test ,\texample.test ", "http://example.test/", true);
    // A name with a dot or a star before it matches only its subdomains.
    is_direct(".example.test", "http://api.example.test/", true);
    is_direct(".example.test", "http://example.test/", false);
    is_direct("*.example.test", "http://api.example.test/", true);
    is_direct("*.example.test", "http://a.b.example.test/", true);
    is_direct("*.example.test", "http://example.test/", false);
    is_direct("*.example.test", "http://anexample.test/", false);
    // A star counts only before a dot.
    is_direct("*example.test", "http://example.test/", false);
    is_direct("api.*.test", "http://api.example.test/", false);
    // An element may have a port.
    is_direct("example.test:80", "http://example.test/", true);
    is_direct("example.test:80", "http://api.example.test:80/", true);
    is_direct("example.test:80", "https://example.test/", false);
    is_direct("example.test:443", "https://example.test/", true);
    is_direct("example.test:8080", "http://example.test:8080/", true);
    is_direct(".example.test:8080", "http://api.example.test:8080/", true);
    is_direct("example.test:", "http://example.test:8080/", true);
    is_direct("example.test:http", "http://example.test/", false);
    is_direct(":80", "http://example.test/", false);
    is_direct(":1", "http://example.test/", false);
    // These elements are IPv4 addresses and networks.
    is_direct("192.0.2.7", "http://192.0.2.7/", true);
    is_direct("192.0.2.7", "http://192.0.2.8/", false);
    is_direct("192.0.2.7:81", "http://192.0.2.7/", false);
    is_direct("192.0.2.7:80", "http://192.0.2.7/", true);
    is_direct("192.0.2", "http://192.0.2.7/", false);
    is_direct("192.0.2.0/24", "http://192.0.2.7/", true);
    is_direct("192.0.2.7/24", "http://192.0.2.200/", true);
    is_direct("192.0.2.0/24", "http://192.0.3.7/", false);
    is_direct("0.0.0.0/0", "http://192.0.2.7/", true);
    is_direct("192.0.2.7/32", "http://192.0.2.7/", true);
    is_direct("192.0.2.0/33", "http://192.0.2.7/", false);
    is_direct("192.0.2.0/", "http://192.0.2.7/", false);
    is_direct("192.0.2.0/24:80", "http://192.0.2.7/", false);
    is_direct("10.0.0.0/30", "http://10.0.0.2/", true);
    is_direct("10.0.0.0/30", "http://10.0.0.4/", false);
    // A network matches addresses only: a name is not looked up for it.
    is_direct("0.0.0.0/0", "http://example.test/", false);
    // These elements are IPv6 addresses and networks.
    is_direct("2001:db8::52:0:1", "http://[2001:db8::52:0:1]/", true);
    is_direct("2001:db8::52:0:1", "http://[2001:db8::52:0:2]/", false);
    is_direct("2001:DB8:0:0::52:0:1", "http://[2001:db8::52:0:1]/", true);
    is_direct("[2001:db8::52:0:2]:443", "http://[2001:db8::52:0:2]/", false);
    is_direct("[2001:db8::52:0:3]:80", "http://[2001:db8::52:0:3]/", true);
    is_direct("[2001:db8::52:0:3]", "http://[2001:db8::52:0:3]/", false);
    is_direct("2002:db8:a::45/64", "http://[2002:db8:a::123]/", true);
    is_direct("2002:db8:a::45/64", "http://[fe80::424b:c8be:1643:a1b6]/", false);
    is_direct("::/0", "http://[2001:db8::1]/", true);
    is_direct("::/0", "http://192.0.2.7/", false);
    // An IPv4-mapped IPv6 address counts as IPv4.
    is_direct("192.0.2.7", "http://[::ffff:192.0.2.7]/", true);
    is_direct("::ffff:192.0.2.7", "http://192.0.2.7/", true);
    is_direct("192.0.2.0/24", "http://[::ffff:192.0.2.7]/", true);
    is_direct("::ffff:192.0.2.0/120", "http://192.0.2.7/", true);
    // Names may contain non-ASCII characters.
    is_direct(".示例.com", "http://www.示例.com/", true);
    is_direct("xn--fsq092h.com", "http://www.示例.com/", true);
    is_direct("示例.com", "http://www.xn--fsq092h.com/", true);
    // Loopback addresses are never reached through a proxy, but names that only look like them are.
    is_direct("", "http://localhost/", true);
    is_direct("", "http://LOCALHOST:8080/", true);
    is_direct("", "http://127.0.0.1/", true);
    is_direct("", "http://127.0.0.2/", true);
    is_direct("", "http://[::1]/", true);
    is_direct("", "http://[::ffff:127.0.0.1]/", true);
    is_direct("", "http://[::2]/", false);
    is_direct("", "http://localhost.net/", false);
    is_direct("", "http://local.localhost/", false);

    // This is the list of Go's own test.
    let list = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, \
                2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
    for (host, direct) in [
        ("192.168.1.1", true),
        ("192.168.1.2", false),
        ("192.168.1.3", true),
        ("192.168.1.4", false),
        ("10.0.0.2", true),
        ("[2001:db8::52:0:1]", true),
        ("[2001:db8::52:0:2]", false),
        ("[2001:db8::52:0:3]", true),
        ("[2002:db8:a::123]", true),
        ("[fe80::424b:c8be:1643:a1b6]", false),
        ("barbaz.net", false),
        ("www.barbaz.net", true),
        ("foobar.com", true),
        ("www.foobar.com", true),
        ("foofoobar.com", false),
        ("baz.com", false),
        ("barbarbaz.net", false),
        ("wildcard.io", false),
        ("nested.wildcard.io", true),
        ("awildcard.io", false),
    ] {
        is_direct(list, &format!("http://{host}/"), direct);
    }
}
