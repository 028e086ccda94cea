//! Escaping of UTF-8 names: how a Prometheus writes a name with other characters than letters, digits, `_` and `:` for a
//! client that did not ask for UTF-8 names.

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
    use super::*;

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
