//! Escaping of UTF-8 names: how a Prometheus writes a name with other characters than letters, digits, `_` and `:` for a
//! client that did not ask for UTF-8 names.

use telemeter_wire::exposition::{Escaping, NameKind};

/// The name that is escaped as `name` under the escaping scheme `values`: `http.status` for `U__http_2e_status`; `None` for a name
/// that is not written by that scheme.
///
/// Source: Prometheus' escaping schemes.
pub(crate) fn of_values(name: &str, named: NameKind) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut original = String::with_capacity(rest.len());
    while let Some(at) = rest.find('_') {
        original.push_str(&rest[..at]);
        let (code, after) = rest[at + 1..].split_once('_')?;
        original.push(if code.is_empty() { '_' } else { char::from_u32(u32::from_str_radix(code, 16).ok()?)? });
        rest = after;
    }
    original.push_str(rest);
    // Names of the old alphabet are not escaped, and each other name has one escaped form.
    (!original.is_empty() && Escaping::Values.escape(&original, named) == name).then_some(original)
}

/// These names, and behind them the UTF-8 names that some of them are the escaped forms of.
pub(crate) fn with_originals(names: impl IntoIterator<Item = String>, named: NameKind) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    let originals: Vec<String> = names.iter().filter_map(|name| of_values(name, named)).collect();
    names.extend(originals);
    names
}

/// `name` under the escaping scheme `underscores`: `http_status` for `http.status`.
///
/// Source: Prometheus' escaping schemes.
pub(crate) fn underscored(name: &str) -> String {
    let is_legal =
        |at: usize, c: char| matches!(c, '_' | ':') || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    name.char_indices().map(|(at, c)| if is_legal(at, c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_read_back_from_its_values() {
        for (name, original) in [
            ("U__http_2e_status", Some("http.status")),
            ("U__my__http_2e_status", Some("my_http.status")),
            ("U__gr_f6__df_e", Some("gr\u{f6}\u{df}e")),
            ("U___1f600_", Some("\u{1f600}")),
            ("U___39_lives", Some("9lives")),
            // Not written by that scheme: of the old alphabet, cut off, in upper case, with a needless escape, no character.
            ("http_status", None),
            ("U__http", None),
            ("U__http_2e", None),
            ("U__http_2E_status", None),
            ("U__http_002e_status", None),
            ("U__http_74_.status", None),
            ("U__a_2e_b_d800_", None),
            ("U__a_2e_b_zz_", None),
            ("U__", None),
        ] {
            assert_eq!(of_values(name, NameKind::Label).as_deref(), original, "{name}");
        }
        // A colon is of the alphabet of metric names alone.
        assert_eq!(of_values("U__a_3a_b", NameKind::Label).as_deref(), Some("a:b"));
        assert_eq!(of_values("U__a_3a_b", NameKind::Metric), None);
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(name in "\\PC{1,8}|[a_.]{1,6}|U__[a-f_]{0,6}", text in "U__[0-9a-f_]{0,12}") {
            for named in [NameKind::Metric, NameKind::Label] {
                let escaped = Escaping::Values.escape(&name, named);
                if escaped != name {
                    let original = of_values(&escaped, named);
                    prop_assert_eq!(original.as_deref(), Some(&*name));
                }
                if let Some(original) = of_values(&text, named) {
                    prop_assert_eq!(Escaping::Values.escape(&original, named), text.as_str());
                }
            }
        }
    }

    #[test]
    fn other_characters_become_underscores() {
        for (name, escaped) in [
            ("instance", "instance"),
            ("http.status", "http_status"),
            ("9a.b", "_a_b"),
            ("grö:ße", "gr_:_e"),
            ("a/b-c d", "a_b_c_d"),
        ] {
            assert_eq!(underscored(name), escaped);
        }
    }
}
