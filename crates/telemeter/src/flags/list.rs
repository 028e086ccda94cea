//! Parses lists: splits them into elements, and checks label names, metric names and pairs.
//!
//! All list flags use it, so that white space, quotes and empty elements mean the same in each of them.

use telemeter_wire::series::is_label_name;

use super::value::{self, FlagError, shown};

/// How the elements of a list are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separation {
    /// By commas, as in a line of CSV, or by repeating the flag.
    Commas,
    /// Only by repeating the flag: a comma is part of the value.
    Repeated,
}

/// One element, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    /// Its text, without white space around it and without quotes.
    text: String,
    /// Whether it was in quotes; the text between them is not changed.
    quoted: bool,
}

const STRAY_QUOTE: &str = r#"which has a stray quote: a quoted element is "a,b", and a quote in it is """#;
const LINE_BREAK: &str = "which has a line break in the middle of an element: commas separate elements";
const LABEL_NAME: &str = "a label name has letters, digits and _, and does not begin with a digit";

/// The elements of a list flag, in order, without empty ones.
fn elements(flag: &'static str, separation: Separation, occurrences: &[String]) -> Result<Vec<Element>, FlagError> {
    let mut elements = Vec::new();
    for occurrence in occurrences {
        let mut rest = Some(occurrence.as_str());
        while let Some(text) = rest {
            let (found, after) = element(text, separation)
                .map_err(|problem| FlagError::value(flag, format_args!("has {}, {problem}", shown(occurrence))))?;
            if !found.text.is_empty() {
                elements.push(found);
            }
            rest = after;
        }
    }
    Ok(elements)
}

/// The first element, and the text after its comma, if it has one.
///
/// As in Go's `encoding/csv`, an element that begins with `"` ends at the next lone `"`, may hold commas and line
/// breaks, and `""` in it is one `"`. Unlike Go, white space around an element, with quotes or without, is no part of it.
fn element(text: &str, separation: Separation) -> Result<(Element, Option<&str>), &'static str> {
    let text = text.trim_start();
    let commas = separation == Separation::Commas;
    let Some(mut rest) = text.strip_prefix('"') else {
        let (text, after) = match text.split_once(',') {
            Some((text, after)) if commas => (text, Some(after)),
            _ => (text, None),
        };
        let text = text.trim_end();
        return match () {
            () if commas && text.contains('"') => Err(STRAY_QUOTE),
            () if commas && text.contains(['\n', '\r']) => Err(LINE_BREAK),
            () => Ok((Element { text: text.to_owned(), quoted: false }, after)),
        };
    };
    let mut quoted = String::new();
    loop {
        let (before, after) = rest.split_once('"').ok_or(STRAY_QUOTE)?;
        quoted.push_str(before);
        if let Some(after) = after.strip_prefix('"') {
            quoted.push('"');
            rest = after;
            continue;
        }
        let after = after.trim_start();
        let after = match after.strip_prefix(',') {
            Some(after) if commas => Some(after),
            None if after.is_empty() => None,
            _ => return Err(STRAY_QUOTE),
        };
        return Ok((Element { text: quoted.replace("\r\n", "\n"), quoted: true }, after));
    }
}

/// Distinct label names, of labels that series may have already. In quotes, a name may be any that Prometheus 3 accepts.
pub(crate) fn label_names(
    flag: &'static str,
    separation: Separation,
    occurrences: &[String],
) -> Result<Vec<String>, FlagError> {
    let mut names: Vec<String> = Vec::new();
    for Element { text, quoted } in elements(flag, separation, occurrences)? {
        if !(is_label_name(&text) || quoted && is_quotable(&text)) {
            let given = match separation {
                Separation::Commas => format!("commas separate names ({flag}=instance,pod)"),
                Separation::Repeated => format!("this flag is given once per name ({flag}=instance {flag}=pod)"),
            };
            return Err(FlagError::value(
                flag,
                format_args!(
                    "has {}, which is no label name: {LABEL_NAME}; {given}; a name with other characters needs quotes \
                     ({flag}='\"http.status\"')",
                    shown(&text)
                ),
            ));
        }
        if !names.contains(&text) {
            names.push(text);
        }
    }
    Ok(names)
}

/// A single label name.
pub(crate) fn label_name(flag: &'static str, text: String) -> Result<String, FlagError> {
    if is_label_name(&text) {
        return Ok(text);
    }
    Err(FlagError::value(flag, format_args!("cannot be {}: {LABEL_NAME}", shown(&text))))
}

/// Pairs `NAME=VALUE`: names are valid and distinct, and none is in `reserved`.
pub(crate) fn label_pairs(
    flag: &'static str,
    occurrences: &[String],
    reserved: &[&str],
) -> Result<Vec<(String, String)>, FlagError> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for element in elements(flag, Separation::Commas, occurrences)? {
        let Some((name, value)) = pair(&element) else {
            return Err(FlagError::value(
                flag,
                format_args!(
                    "has {}, which is not NAME=VALUE ({flag}=region=eu); commas separate pairs, and a value with a \
                     comma needs quotes ({flag}='\"regions=eu,us\"')",
                    shown(&element.text)
                ),
            ));
        };
        if !is_label_name(name) {
            return Err(FlagError::value(
                flag,
                format_args!("has {}, and {} is no label name: {LABEL_NAME}", shown(&element.text), shown(name)),
            ));
        }
        if reserved.contains(&name) {
            return Err(FlagError::value(flag, format_args!("must not set {name}: it says who or what a series is")));
        }
        if labels.iter().any(|(other, _)| other == name) {
            return Err(FlagError::value(flag, format_args!("names {name} twice: which value is meant?")));
        }
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

/// `OLD=NEW` metric names, each old one once. `default` stands in where nothing but white space was typed.
pub(crate) fn renames(
    flag: &'static str,
    occurrences: &[String],
    default: &str,
) -> Result<Vec<(String, String)>, FlagError> {
    // As in Go: an empty value is the default, not nothing.
    let blank = occurrences.iter().all(|text| text.trim().is_empty());
    let default = [default.to_owned()];
    let mut renames: Vec<(String, String)> = Vec::new();
    for element in elements(flag, Separation::Commas, if blank { &default } else { occurrences })? {
        let is_name = |name: &str| is_metric_name(name) || element.quoted && is_quotable(name);
        match pair(&element).filter(|(old, new)| is_name(old) && is_name(new)) {
            Some((old, _)) if renames.iter().any(|(other, _)| other == old) => {
                return Err(FlagError::value(flag, format_args!("renames {old} twice: which name is meant?")));
            }
            Some((old, new)) => renames.push((old.to_owned(), new.to_owned())),
            None => {
                return Err(FlagError::value(
                    flag,
                    format_args!(
                        "has {}, which is not OLD=NEW, two metric names ({flag}={}); commas separate pairs, and names \
                         with other characters than letters, digits, _ and : need quotes ({flag}='\"a.b=a_b\"')",
                        shown(&element.text),
                        default[0],
                    ),
                ));
            }
        }
    }
    Ok(renames)
}

/// Elements whose form the caller checks; each is shown with the problem that `check` finds.
pub(crate) fn parse_with_check<T>(
    flag: &'static str,
    occurrences: &[String],
    check: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, FlagError> {
    let elements = elements(flag, Separation::Commas, occurrences)?;
    let check = |element: &Element| {
        let problem = |problem| FlagError::value(flag, format_args!("has {}, {problem}", shown(&element.text)));
        check(&element.text).map_err(problem)
    };
    elements.iter().map(check).collect()
}

/// Servers as `HOST:PORT`, in the order given. One that is named twice counts twice.
pub(crate) fn servers(flag: &'static str, occurrences: &[String]) -> Result<Vec<String>, FlagError> {
    let elements = elements(flag, Separation::Commas, occurrences)?;
    elements.iter().map(|element| value::server(flag, &element.text)).collect()
}

/// Selectors as they are given one by one: empty ones are passed over. Whether they can be read is said at start.
pub(crate) fn selectors(occurrences: &[String]) -> Vec<String> {
    occurrences.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// The two sides of the first `=`, without the white space around each unless it was in quotes.
fn pair(element: &Element) -> Option<(&str, &str)> {
    let (left, right) = element.text.split_once('=')?;
    Some(if element.quoted { (left, right) } else { (left.trim(), right.trim()) })
}

/// Whether `name` is a metric name of the alphabet that every store takes.
fn is_metric_name(name: &str) -> bool {
    let character = |byte: u8| byte == b'_' || byte == b':' || byte.is_ascii_alphanumeric();
    !name.starts_with(|first: char| first.is_ascii_digit()) && !name.is_empty() && name.bytes().all(character)
}

/// Whether a name in quotes can be meant: Prometheus 3 takes any text, and a blank at its end is a slip all the same.
fn is_quotable(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests;
