//! Selectors that we cannot read: they are sent all the same, because Prometheus may know better, and the log says so.

use telemeter_rules::{Error, Selector};

/// How much of a long selector is shown on each side of its fault, in characters.
const SHOWN: usize = 40;

/// Logs a warning for each selector that is none to us. `source` is the flag that they come from.
pub(crate) fn warn(source: &str, selectors: &[String]) {
    for doubt in selectors.iter().filter_map(|selector| doubt(selector)) {
        tracing::warn!(
            "{source} {doubt}; it is sent all the same: if Prometheus cannot read it either, no scrape succeeds"
        );
    }
}

/// What is wrong with a selector, and a caret in front of the character where it goes wrong.
fn doubt(selector: &str) -> Option<String> {
    match Selector::parse(selector).err()? {
        Error::Selector { column, problem, .. } => {
            let marked = marked(selector, column - 1);
            Some(format!("{marked} cannot be read at column {column}, at the ^: {problem}"))
        }
        error => Some(format!("cannot be read: {error}")),
    }
}

/// `selector` in one line, with a caret behind so many of its characters, and without what is far from there.
fn marked(selector: &str, behind: usize) -> String {
    let characters: Vec<char> = selector.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (before, after) = characters.split_at(behind.min(characters.len()));
    let text = |characters: &[char]| characters.iter().collect::<String>();
    let (cut, rest) = (before.len().saturating_sub(SHOWN), after.len().min(SHOWN));
    let (left, right) = (if cut > 0 { "..." } else { "" }, if rest < after.len() { "..." } else { "" });
    format!("{left}{}^{}{right}", text(&before[cut..]), text(&after[..rest]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_shown_with_a_caret() {
        fn check(selector: &str, expected: &str) {
            let doubt = doubt(selector).expect("a doubt");
            assert!(doubt.starts_with(expected) && !doubt.contains(char::is_control), "{doubt}");
        }
        check("{job=up}", "{job=^up} cannot be read at column 6, at the ^: expected a value in quotes, found \"up}\"");
        check("up,down", "up^,down cannot be read at column 3, at the ^: ");
        check("up\ndown", "up ^down cannot be read at column 4, at the ^: ");
        check("{é=1}", "{^é=1} cannot be read at column 2, at the ^: ");
        check("{job=\"a\"", "{job=\"a\"^ cannot be read at column 9, at the ^: ");
        check("rate(up[5m])", "rate^(up[5m]) cannot be read at column 5");
        check(
            &format!("{{{}job=up{}}}", "a=\"1\",".repeat(100), ",b=\"1\"".repeat(100)),
            "...a=\"1\",a=\"1\",a=\"1\",a=\"1\",a=\"1\",a=\"1\",job=^up,b=\"1\",b=\"1\",b=\"1\",b=\"1\",b=\"1\",b=\"1\",b... cannot",
        );
        check(&"a".repeat(100_000), "cannot be read: a rule of 100000 bytes");
        check("{a=~\"(\"}", "{a=~^\"(\"} cannot be read at column 5");
        for selector in ["up", "{__name__=\"up\"}", "{}", "{\"http.status\"=\"x\"}", "up{a=~\"b|c\"}"] {
            assert_eq!(doubt(selector), None, "{selector}");
        }
    }
}
