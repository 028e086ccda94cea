//! Detects sensitive values by their form: addresses, IDs, tokens, host names, paths.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueKind {
    /// A JSON web token.
    Jwt,
    /// A URL with its scheme.
    Url,
    /// An e-mail address.
    Email,
    /// A path of a file or of a URL.
    Path,
    /// A UUID.
    Uuid,
    /// The address of a network card.
    Mac,
    /// An IPv6 address.
    Ipv6,
    /// An IPv4 address.
    Ipv4,
    /// 16 hexadecimal digits or more: a hash, an ID, a key.
    Hex,
    /// 24 characters of base64 or more: a hash, an ID, a key.
    Base64,
    /// The name of a host.
    HostName,
}

impl ValueKind {
    /// The kind in words, with its article: `an IPv4 address`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "a JSON web token",
            Self::Url => "a URL",
            Self::Email => "an e-mail address",
            Self::Path => "a path",
            Self::Uuid => "a UUID",
            Self::Mac => "a MAC address",
            Self::Ipv6 => "an IPv6 address",
            Self::Ipv4 => "an IPv4 address",
            Self::Hex => "a long hexadecimal number",
            Self::Base64 => "long base64",
            Self::HostName => "a host name",
        }
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// So many hexadecimal digits are an ID. The hash of a pod has 10, a short commit 7 to 12.
const LONG_HEX: usize = 16;
/// The same for a run of only decimal digits or only letters: times in nanoseconds have 19 digits.
const LONG_PLAIN_HEX: usize = 32;
/// So many characters of base64 are an ID. Our own hashes of values have 12.
const LONG_BASE64: usize = 24;
/// Paths that are not sensitive, because every target has them.
const USUAL_PATHS: [&str; 6] = ["/metrics", "/federate", "/healthz", "/readyz", "/livez", "/probe"];
/// Top-level domains of host names, without the country codes.
const TOP_DOMAINS: [&str; 34] = [
    "app",
    "arpa",
    "biz",
    "cloud",
    "cluster",
    "com",
    "corp",
    "dev",
    "edu",
    "example",
    "gov",
    "home",
    "info",
    "int",
    "internal",
    "intra",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mil",
    "name",
    "net",
    "online",
    "onion",
    "org",
    "private",
    "pro",
    "site",
    "svc",
    "test",
    "xyz",
];
/// The top-level domains of countries, as in ISO 3166.
const COUNTRIES: &str = "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs \
    bt bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj \
    fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is \
    it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo \
    mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py \
    qa re ro rs ru rw sa sb sc sd se sg sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to \
    tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw";
/// API groups of Kubernetes and its extensions: they look like host names, and are the same in every cluster.
const API_GROUPS: [&str; 9] = [
    "coreos.com",
    "istio.io",
    "k8s.io",
    "knative.dev",
    "kubernetes.io",
    "kubevirt.io",
    "metal3.io",
    "openshift.io",
    "tekton.dev",
];

/// The kind of the first word of `value` that has one; the UUID `own` has none.
pub(super) fn kind(value: &str, own: &str) -> Option<ValueKind> {
    let separator = |char: char| char.is_whitespace() || ",;|=()<>{}\"'`".contains(char);
    let words = || value.split(separator).filter(|word| !word.is_empty());
    words().find_map(|word| of_word(word, own))
}

/// The kind of a word without white space, or of one of its pieces.
fn of_word(word: &str, own: &str) -> Option<ValueKind> {
    if is_jwt(word) {
        return Some(ValueKind::Jwt);
    }
    if is_url(word) {
        return Some(ValueKind::Url);
    }
    if is_email(word) {
        return Some(ValueKind::Email);
    }
    if is_path(word) {
        return Some(ValueKind::Path);
    }
    let pieces = || word.split(['/', '@', '%', '\\']).filter(|piece| !piece.is_empty());
    let of_pieces = pieces().find_map(|piece| of_piece(piece, own));
    of_pieces
        .or_else(|| is_base64(word).then_some(ValueKind::Base64))
        .or_else(|| pieces().any(is_host_name).then_some(ValueKind::HostName))
}

/// The kind of sensitive value that a piece of text is; `None` where it is none. The cluster's own UUID, and one that
/// is all zeros, is none.
fn of_piece(piece: &str, own: &str) -> Option<ValueKind> {
    match uuid(piece) {
        // The digits of the cluster's own UUID are not taken for another ID either.
        Some(found) if found.eq_ignore_ascii_case(own) => None,
        Some(found) if found.bytes().all(|byte| matches!(byte, b'0' | b'-')) => None,
        Some(_) => Some(ValueKind::Uuid),
        None if is_mac(piece) => Some(ValueKind::Mac),
        None if is_ipv6(piece) => Some(ValueKind::Ipv6),
        None if has_ipv4(piece) => Some(ValueKind::Ipv4),
        None => has_long_hex(piece).then_some(ValueKind::Hex),
    }
}

/// Whether the word is three parts of base64url, of which the first is the JSON of a header.
fn is_jwt(word: &str) -> bool {
    let mut parts = word.split('.');
    let base64url = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    parts.next().is_some_and(|header| header.starts_with("eyJ") && header.len() >= 10 && base64url(header))
        && parts.next().is_some_and(|claims| claims.len() >= 4 && base64url(claims))
        && parts.next().is_some_and(base64url)
        && parts.all(base64url)
}

fn is_url(word: &str) -> bool {
    let Some((scheme, rest)) = word.split_once("://") else { return false };
    // Other text may precede the URL.
    let scheme = scheme.rsplit(|char: char| !char.is_ascii_alphanumeric() && !"+.-".contains(char)).next();
    scheme.is_some_and(|scheme| scheme.starts_with(|first: char| first.is_ascii_alphabetic())) && !rest.is_empty()
}

/// Whether the word is an email address, by its form: a local part, `@`, and a domain with at least one dot.
fn is_email(word: &str) -> bool {
    let word = word.trim_matches(['[', ']', '.', ':']);
    let Some((local, domain)) = word.rsplit_once('@') else { return false };
    let local = local.rsplit(':').next().unwrap_or_default();
    let local_part = |char: char| char.is_alphanumeric() || "!#$%&*+/?^_~.-".contains(char);
    !local.is_empty()
        && local.chars().all(local_part)
        && !local.contains('/')
        && domain.split('.').count() > 1
        && labels_are_valid(domain)
        && domain.ends_with(|last: char| last.is_ascii_alphabetic())
}

/// Whether the word is a path from the root, a home directory, or a drive or share of Windows. A plain relative one
/// (`namespace/name`) is not.
fn is_path(word: &str) -> bool {
    if USUAL_PATHS.contains(&word) {
        return false;
    }
    let named = |rest: &str| rest.contains(|char: char| char.is_alphanumeric());
    let drive = |word: &str| {
        matches!(word.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic()) && named(&word[3..])
    };
    ["/", "~/", "./", "../", "\\\\"].iter().any(|root| word.strip_prefix(root).is_some_and(named)) || drive(word)
}

/// The first UUID in a text without a hexadecimal digit directly before or after it.
fn uuid(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_hexdigit);
    let found = bytes.windows(36).enumerate().position(|(start, window)| {
        window.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        }) && !(start > 0 && digit(start - 1))
            && !digit(start + 36)
    })?;
    text.get(found..found + 36)
}

/// Whether the piece is six or eight pairs of digits (`02:00:5e:10:00:01`), or three groups of four (`0200.5e10.0001`).
fn is_mac(piece: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: &[usize]| {
        counts.contains(&piece.split(separator).count())
            && piece
                .split(separator)
                .all(|group| group.len() == digits && group.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let form = groups(':', 2, &[6, 8]) || groups('-', 2, &[6, 8]) || groups('.', 4, &[3]);
    // No device has the address of all zeros or all ones.
    let has_other_than =
        |digit: char| piece.chars().any(|char| char.is_ascii_hexdigit() && !char.eq_ignore_ascii_case(&digit));
    form && has_other_than('0') && has_other_than('f')
}

/// Whether the piece is an IPv6 address, alone or in brackets and with a port.
fn is_ipv6(piece: &str) -> bool {
    let address = match piece.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => piece,
    };
    address.parse::<Ipv6Addr>().is_ok_and(|address| match address.to_ipv4_mapped() {
        Some(mapped) => is_sensitive_ipv4(mapped),
        None => !address.is_loopback() && !address.is_unspecified(),
    })
}

/// Whether the piece has an IPv4 address without a letter or digit next to it, or in a machine's name (`ip-10-0-0-1`).
fn has_ipv4(piece: &str) -> bool {
    let alphanumeric = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
    let mut from = 0;
    while let Some(start) = piece[from..].find(|char: char| char.is_ascii_digit()).map(|at| from + at) {
        let rest = &piece[start..];
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        let around = alphanumeric(piece[..start].chars().next_back()) || alphanumeric(rest[end..].chars().next());
        if !around && rest[..end].trim_end_matches('.').parse().is_ok_and(is_sensitive_ipv4) {
            return true;
        }
        from = start + end;
    }
    let named = |host: &str| {
        let numbers: Vec<u8> = host.splitn(4, '-').map_while(|number| number.parse().ok()).collect();
        matches!(numbers[..], [a, b, c, d] if is_sensitive_ipv4(Ipv4Addr::new(a, b, c, d)))
    };
    piece.strip_prefix("ip-").is_some_and(|rest| named(rest.split(['.', ':']).next().unwrap_or_default()))
}

/// Whether an address is sensitive: all but the loopback and the unspecified address, which every machine has.
const fn is_sensitive_ipv4(address: Ipv4Addr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

/// Whether a run of letters and digits has only hexadecimal digits and is long: [`LONG_HEX`] where it has letters and
/// digits, else [`LONG_PLAIN_HEX`].
fn has_long_hex(piece: &str) -> bool {
    piece.split(|char: char| !char.is_alphanumeric()).any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        let mixed = digits > 0 && digits < run.len();
        run.len() >= if mixed { LONG_HEX } else { LONG_PLAIN_HEX } && run.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether the word has a run of base64 that is not text. In text and CamelCase, most letters are of the same class (upper
/// case, lower case, other) as the one before. In base64, about half of the characters are of another class, not counting
/// a lower-case letter after an upper-case one. Half of that, a quarter of the characters, is required here.
fn is_base64(word: &str) -> bool {
    let class = |byte: u8| match byte {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        _ => 2,
    };
    word.trim_end_matches('=')
        .split(|char: char| !char.is_ascii_alphanumeric() && !"+/-_".contains(char))
        .filter(|run| run.len() >= LONG_BASE64)
        .any(|run| {
            let classes = || run.bytes().map(class);
            let pairs = classes().zip(classes().skip(1));
            let changes = pairs.filter(|(one, next)| one != next && (*one, *next) != (0, 1)).count();
            (0..3).all(|class| classes().any(|other| other == class)) && changes * 4 > run.len()
        })
}

/// Whether the piece is a name in an existing top-level domain (`db.example.com`), or any name with a port (`node-1:9100`).
fn is_host_name(piece: &str) -> bool {
    let (host, port) = match piece.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (piece, None),
    };
    let host = host.trim_end_matches('.');
    if !labels_are_valid(host) || host.eq_ignore_ascii_case("localhost") || is_api_group(host) {
        return false;
    }
    let lettered = host.contains(|char: char| char.is_ascii_alphabetic());
    // `redis:7` is an image with its tag; services have ports from 22 on.
    if port.is_some_and(|port| port.parse().is_ok_and(|port: u16| port >= 22)) {
        return lettered;
    }
    let Some((_, top)) = host.rsplit_once('.') else { return false };
    let is = |known: &str| known.eq_ignore_ascii_case(top);
    TOP_DOMAINS.into_iter().any(is) || COUNTRIES.split(' ').any(is)
}

/// Whether the parts of a host name between its dots have a valid form and length (RFC 1035, 2.3.4, and `_`).
fn labels_are_valid(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_api_group(host: &str) -> bool {
    let below = |group: &str| host.strip_suffix(group).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    API_GROUPS.into_iter().any(below) || host.split('.').any(|label| label == "csi")
}
