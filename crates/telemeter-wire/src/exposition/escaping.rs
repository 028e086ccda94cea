//! Escaping of names for readers that only accept the first alphabet: letters, digits, `_` and, in metric names, `:`.
//!
//! Source: <https://prometheus.io/docs/instrumenting/escaping_schemes/>; Go: `github.com/prometheus/common/model`,
//! `EscapeName`, and `expfmt`, `Negotiate`.

use std::{borrow::Cow, fmt::Write as _};

/// How a name outside of the first alphabet is written: the parameter `escaping` of a Content-Type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// `allow-utf-8`: unchanged, in quotes.
    AllowUtf8,
    /// `underscores`: with `_` for each character outside of the alphabet.
    #[default]
    Underscores,
    /// `dots`: with `_dot_` for a dot, `__` for an underscore and for each character outside of the alphabet.
    Dots,
    /// `values`: with the prefix `U__`, `_2e_` for a dot (its code, in hexadecimal), and `__` for an underscore.
    Values,
}

/// The kind of a name: the first alphabet of metric names has a colon, that of label names has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A metric.
    Metric,
    /// A label.
    Label,
}

impl Escaping {
    /// The escaping that the `Accept` headers of a request ask for. The ranges are considered by descending `q`, up to the first
    /// one for the text format; of these, the last one with `escaping=` counts.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut ranges: Vec<_> = accept.split(',').map(Range::of).collect();
        ranges.sort_by(|one, other| other.quality.total_cmp(&one.quality));
        let end = ranges.iter().position(|range| range.is_text).map_or(ranges.len(), |at| at + 1);
        ranges[..end].iter().rev().find_map(|range| range.escaping).unwrap_or_default()
    }

    /// The value of the parameter `escaping`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The escaped name. A name of the first alphabet is not changed.
    ///
    /// Unlike Go: a label name with a colon is escaped, since the text format does not allow it without quotes; and an empty
    /// name becomes one underscore.
    #[must_use]
    pub fn escape(self, name: &str, named: NameKind) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || is_known_name(name, named) {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        } else if name.is_empty() {
            escaped.push('_');
        }
        for (at, c) in name.char_indices() {
            match (self, c) {
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                _ if is_known(at, c, named) => escaped.push(c),
                (Self::Dots, _) => escaped.push_str("__"),
                (Self::Values, _) => drop(write!(escaped, "_{:x}_", u32::from(c))),
                (Self::Underscores | Self::AllowUtf8, _) => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

/// Whether the name is of the first alphabet.
#[must_use]
pub fn is_known_name(name: &str, named: NameKind) -> bool {
    !name.is_empty() && name.char_indices().all(|(at, c)| is_known(at, c, named))
}

fn is_known(at: usize, c: char, named: NameKind) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' && named == NameKind::Metric || c.is_ascii_digit() && at > 0
}

/// One range of an `Accept`.
struct Range {
    quality: f32,
    is_text: bool,
    escaping: Option<Escaping>,
}

impl Range {
    /// Parses one media range of an `Accept` header. `q` is 1 where it is missing or malformed; only `text/plain`
    /// without a version, or with 0.0.4, counts as text; an unknown escaping counts as none.
    fn of(range: &str) -> Self {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let mut range = Self { quality: 1.0, is_text: media.eq_ignore_ascii_case("text/plain"), escaping: None };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => range.quality = value.parse().unwrap_or(1.0),
                "version" => range.is_text &= matches!(value, "" | "0.0.4"),
                "escaping" => {
                    let all = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];
                    range.escaping = all.into_iter().find(|escaping| escaping.as_str() == value);
                }
                _ => {}
            }
        }
        range
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_escaped_as_prometheus_does() {
        use NameKind::{Label, Metric};
        for (named, name, underscores, dots, values) in [
            (Metric, "up", "up", "up", "up"),
            (Metric, "node_cpu:rate5m", "node_cpu:rate5m", "node_cpu:rate5m", "node_cpu:rate5m"),
            (Metric, "__name", "__name", "__name", "__name"),
            (Metric, "http.status", "http_status", "http_dot_status", "U__http_2e_status"),
            (Metric, "my_http.status", "my_http_status", "my__http_dot_status", "U__my__http_2e_status"),
            (Metric, "a b-c", "a_b_c", "a__b__c", "U__a_20_b_2d_c"),
            (Metric, "9lives", "_lives", "__lives", "U___39_lives"),
            (Metric, "a9.", "a9_", "a9_dot_", "U__a9_2e_"),
            (Metric, "gr\u{f6}\u{df}e", "gr__e", "gr____e", "U__gr_f6__df_e"),
            (Metric, "\u{4f60}", "_", "__", "U___4f60_"),
            (Metric, "x\u{1f600}", "x_", "x__", "U__x_1f600_"),
            (Metric, "a:b.c", "a:b_c", "a:b_dot_c", "U__a:b_2e_c"),
            (Metric, "", "_", "_", "U__"),
            (Label, "a:b", "a_b", "a__b", "U__a_3a_b"),
            (Label, "_id", "_id", "_id", "_id"),
            (Label, ".id", "_id", "_dot_id", "U___2e_id"),
        ] {
            assert_eq!(Escaping::AllowUtf8.escape(name, named), name);
            assert_eq!(Escaping::Underscores.escape(name, named), underscores, "{name}");
            assert_eq!(Escaping::Dots.escape(name, named), dots, "{name}");
            assert_eq!(Escaping::Values.escape(name, named), values, "{name}");
        }
    }

    #[test]
    fn the_escaping_is_negotiated_as_prometheus_does() {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        for (accept, expected) in [
            ("", Underscores),
            ("*/*", Underscores),
            ("text/plain", Underscores),
            ("text/plain;version=0.0.4;q=0.2,*/*;q=0.1", Underscores),
            ("text/plain; version=0.0.4; escaping=allow-utf-8", AllowUtf8),
            ("TEXT/plain;escaping=\"dots\"", Dots),
            ("text/plain;escaping=values", Values),
            ("text/plain;escaping=underscores", Underscores),
            ("text/plain;escaping=none", Underscores),
            ("text/plain;escaping=", Underscores),
            ("text/plain;escaping=DOTS", Underscores),
            ("*/*;escaping=dots", Dots),
            ("application/json;escaping=values", Values),
            // The best range for the text format ends the search, and those before it count.
            ("text/plain;q=0.5;escaping=dots,text/plain;q=0.9;escaping=values", Values),
            ("text/plain;q=0.9,text/plain;q=0.5;escaping=dots", Underscores),
            ("application/openmetrics-text;escaping=dots;q=0.9,text/plain;q=0.5", Dots),
            ("application/openmetrics-text;escaping=dots;q=0.9,text/plain;q=0.5;escaping=values", Values),
            ("text/plain;version=1.0.0;escaping=dots;q=0.9,text/plain;q=0.5", Dots),
            ("text/plain;escaping=dots,text/plain;escaping=values", Dots),
            // The headers of Prometheus 3 and of Prometheus 2.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                AllowUtf8,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Underscores,
            ),
        ] {
            assert_eq!(Escaping::accepted(accept), expected, "{accept}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_of_the_old_alphabet(name in ".{0,12}", accept in ".{0,40}") {
            let _ = Escaping::accepted(&accept);
            for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
                for named in [NameKind::Metric, NameKind::Label] {
                    let escaped = escaping.escape(&name, named);
                    prop_assert!(is_known_name(&escaped, named), "{}", escaped);
                }
            }
        }

        /// Different names that have to be escaped stay different.
        #[test]
        fn values_keep_names_apart(names in proptest::collection::vec("[a_.2e]{0,5}|.{0,3}", 2)) {
            let [one, other] = &names[..] else { unreachable!("two") };
            prop_assume!(one != other && !is_known_name(one, NameKind::Label) && !is_known_name(other, NameKind::Label));
            let escape = |name| Escaping::Values.escape(name, NameKind::Label);
            prop_assert_ne!(escape(one), escape(other));
        }
    }
}
