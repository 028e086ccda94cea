//! What a flag's text means: slices, pairs, URLs, names. Every refusal names the flag and never shows a secret.

use std::{ffi::OsString, fmt, path::PathBuf};

use url::Url;

/// Why argv, though well formed, cannot be meant. Its text names the flag and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// A value that the flag cannot have.
    #[error("{flag} {problem}")]
    Value {
        /// As typed, with its dashes.
        flag: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Something has to be given, and nothing was.
    #[error("{0}")]
    Missing(&'static str),
    /// Two flags that stand or fall together, or exclude each other.
    #[error("{0}")]
    Together(&'static str),
}

impl FlagError {
    pub(crate) fn value(flag: &'static str, problem: impl fmt::Display) -> Self {
        Self::Value { flag, problem: problem.to_string() }
    }
}

/// The text, unless it is empty: `--flag=` is the same as no flag.
pub(crate) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The path, unless it is empty.
pub(crate) fn path(text: Option<OsString>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("not a boolean: true or false"),
    }
}

/// The elements of a slice flag: each occurrence is one line of CSV, and an empty one has none.
///
/// A field that begins with `"` ends at the next lone `"`, may hold commas, and `""` in it is one `"`.
pub(crate) fn slice(flag: &'static str, occurrences: Vec<String>) -> Result<Vec<String>, FlagError> {
    let mut fields = Vec::new();
    for line in occurrences {
        let mut rest = line.as_str();
        while !line.is_empty() {
            let (field, after) = csv_field(rest).ok_or_else(|| {
                FlagError::value(flag, r#"has a stray quote: a quoted element is "a,b", and a quote in it is """#)
            })?;
            fields.push(field);
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
    }
    Ok(fields)
}

/// One field and what stands behind its comma, if there is one; `None` where a quote stands astray.
fn csv_field(text: &str) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (field, after) = text.split_once(',').map_or((text, None), |(field, after)| (field, Some(after)));
        return (!field.contains(['"', '\n', '\r'])).then(|| (field.to_owned(), after));
    };
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.as_bytes().first() {
            Some(b'"') => {
                field.push('"');
                rest = &after[1..];
            }
            Some(b',') => return Some((field, Some(&after[1..]))),
            None => return Some((field, None)),
            Some(_) => return None,
        }
    }
}

/// `NAME=VALUE` labels: valid names, each once, none that the data path needs for itself.
pub(crate) fn labels(
    flag: &'static str,
    occurrences: Vec<String>,
    reserved: &[&str],
) -> Result<Vec<(String, String)>, FlagError> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for element in slice(flag, occurrences)? {
        let Some((name, value)) = element.split_once('=') else {
            return Err(FlagError::value(flag, format_args!("must be NAME=VALUE, not {element:?}")));
        };
        if !is_label_name(name) {
            return Err(FlagError::value(flag, format_args!("has {name:?}, which is no label name")));
        }
        if reserved.contains(&name) {
            return Err(FlagError::value(flag, format_args!("must not set {name}: it says who or what a series is")));
        }
        if labels.iter().any(|(other, _)| other == name) {
            return Err(FlagError::value(flag, format_args!("names {name} twice")));
        }
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

/// Whether `name` is a label name: a letter or underscore, then letters, digits and underscores.
pub(crate) fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Selectors as they are given one by one: trimmed, empty ones dropped.
pub(crate) fn selectors(list: &[String]) -> Vec<String> {
    list.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// An address to listen on: `HOST:PORT`, `:PORT`, `[V6]:PORT`.
pub(crate) fn address(flag: &'static str, text: &str) -> Result<String, FlagError> {
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.starts_with('[')) => {
            Ok(text.to_owned())
        }
        _ => Err(FlagError::value(flag, format_args!("must be HOST:PORT, not {text:?}"))),
    }
}

/// An `http` or `https` URL. The text is not shown in an error: it may hold a password.
pub(crate) fn http_url(flag: &'static str, text: &str) -> Result<Url, FlagError> {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err(FlagError::value(flag, "must be a URL that starts with http:// or https://"));
    }
    let mut url = Url::parse(text).map_err(|error| FlagError::value(flag, format_args!("is not a URL: {error}")))?;
    url.set_fragment(None);
    Ok(url)
}

/// Both files of a pair, or neither.
pub(crate) fn both(
    cert: Option<OsString>,
    key: Option<OsString>,
    rule: &'static str,
) -> Result<Option<(PathBuf, PathBuf)>, FlagError> {
    match (path(cert), path(key)) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        _ => Err(FlagError::Together(rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_csv() {
        fn check(occurrences: &[&str], expected: Option<&[&str]>) {
            let fields = slice("--label", occurrences.iter().map(|&text| text.to_owned()).collect());
            assert_eq!(
                fields.ok().as_deref(),
                expected.map(|e| e.iter().map(|&s| s.into()).collect::<Vec<String>>()).as_deref(),
                "{occurrences:?}"
            );
        }
        check(&[], Some(&[]));
        check(&[""], Some(&[]));
        check(&["a=b"], Some(&["a=b"]));
        check(&["a=b,c=d", "e=f"], Some(&["a=b", "c=d", "e=f"]));
        check(&[","], Some(&["", ""]));
        check(&["a,"], Some(&["a", ""]));
        check(&[r#""a=b,c",d=e"#], Some(&["a=b,c", "d=e"]));
        check(&[r#""say ""hi""""#], Some(&[r#"say "hi""#]));
        check(&[r#""""#], Some(&[""]));
        check(&[r#"a="b""#], None);
        check(&[r#""a"b"#], None);
        check(&[r#""a"#], None);
        check(&["a\nb"], None);
    }

    #[test]
    fn booleans_are_go_s() {
        for (text, expected) in [("1", true), ("t", true), ("TRUE", true), ("0", false), ("F", false), ("False", false)]
        {
            assert_eq!(boolean(text), Ok(expected), "{text}");
        }
        assert!(boolean("yes").is_err() && boolean("").is_err());
    }

    #[test]
    fn addresses() {
        for good in ["localhost:9004", ":9003", "0.0.0.0:0", "[::1]:80"] {
            assert_eq!(address("--listen", good).as_deref(), Ok(good));
        }
        for bad in ["", "9003", "localhost", "localhost:", "localhost:http", "::1:80", "a:65536"] {
            assert!(address("--listen", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_url_in_an_error_is_not_shown() {
        for bad in ["ftp://u:hunter2@h", "hunter2", "", "http://u:hunter2@", "http://u:hunter2@h:99999/"] {
            let error = http_url("--to", bad).expect_err(bad).to_string();
            assert!(error.starts_with("--to ") && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(http_url("--to", "HTTPS://h/#part").map(String::from), Ok("https://h/".to_owned()));
    }
}
