//! Replaces the variables of a query as Grafana does, and finds the metrics that the query selects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::{Captures, Regex};

/// The scrape interval that Grafana assumes where neither the query nor the data source sets one.
const DEFAULT_MIN_STEP: Duration = Duration::from_secs(15);
/// The number of points that a panel requests for a range.
const POINTS: u32 = 1000;

/// The time range of a dashboard, and the step of one of its queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryTimes {
    pub(crate) range: Duration,
    pub(crate) step: Duration,
    min_step: Duration,
}

impl QueryTimes {
    /// `min_step` is the "Min step" of the query.
    pub(crate) fn new(range: Duration, min_step: Option<Duration>) -> Self {
        let min_step = min_step.unwrap_or(DEFAULT_MIN_STEP);
        let step = Duration::from_secs((range / POINTS).as_secs()).max(min_step);
        Self { range, step, min_step }
    }

    /// Returns `$__rate_interval`: long enough for two samples in each window, with any step.
    fn rate_interval(self) -> Duration {
        (self.step + self.min_step).max(self.min_step * 4)
    }
}

/// Replaces `$name`, `${name}` and `${name:format}` as Grafana does.
///
/// # Errors
/// Where neither Grafana nor `variables` has a variable of this name.
pub(crate) fn substitute(
    expression: &str,
    times: QueryTimes,
    variables: &BTreeMap<String, String>,
) -> Result<String, String> {
    let seconds = |duration: Duration| format!("{}s", duration.as_secs());
    let mut unknown = BTreeSet::new();
    let variable = regex(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))");
    let text = variable.replace_all(expression, |found: &Captures<'_>| {
        let name = found.get(1).or_else(|| found.get(2)).map_or("", |name| name.as_str());
        match name {
            "__interval" => seconds(times.step),
            "__rate_interval" => seconds(times.rate_interval()),
            "__range" => seconds(times.range),
            name => variables.get(name).cloned().unwrap_or_else(|| {
                unknown.insert(name.to_owned());
                String::new()
            }),
        }
    });
    if unknown.is_empty() { Ok(text.into_owned()) } else { Err(format!("unknown variables {unknown:?}")) }
}

/// Returns the names of metrics that a PromQL expression selects.
pub(crate) fn metric_names(expression: &str) -> BTreeSet<String> {
    let mut text = expression.to_owned();
    for (nothing_to_select, instead) in [
        (r#""(?:[^"\\]|\\.)*""#, ""),
        (r"\{[^}]*\}", ""),
        (r"\[[^\]]*\]", ""),
        (r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " "),
    ] {
        text = regex(nothing_to_select).replace_all(&text, instead).into_owned();
    }
    let keywords = ["and", "or", "unless", "bool", "offset", "group_left", "group_right"];
    let name_or_function = regex(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(?)");
    let found = name_or_function.captures_iter(&text).filter(|found| found[2].is_empty());
    found.map(|found| found[1].to_owned()).filter(|name| !keywords.contains(&name.as_str())).collect()
}

/// Parses a duration of one number and one unit, like `24h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()? * unit))
}

pub(crate) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn variables_are_replaced_as_grafana_does() {
    let variables = BTreeMap::from([("_id".to_owned(), "a".to_owned())]);
    let hour = Duration::from_secs(3_600);
    let check = |expression, min_step, expected: Result<&str, &str>| {
        let found = substitute(expression, QueryTimes::new(hour, min_step), &variables);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{expression}");
    };
    check(r#"up{_id="$_id"}"#, None, Ok(r#"up{_id="a"}"#));
    check(r#"up{_id="${_id}",b="${_id:raw}"}"#, None, Ok(r#"up{_id="a",b="a"}"#));
    check("rate(a[$__rate_interval])", None, Ok("rate(a[60s])"));
    check("rate(a[$__rate_interval])", duration("5m"), Ok("rate(a[1200s])"));
    check("rate(a[$__interval])", duration("5m"), Ok("rate(a[300s])"));
    check("rate(a[$__range])", None, Ok("rate(a[3600s])"));
    check("$other", None, Err(r#"unknown variables {"other"}"#));
}

#[test]
fn metric_names_are_found_in_an_expression() {
    let check = |expression, expected: &[&str]| {
        let found = metric_names(expression);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{expression}");
    };
    check("up", &["up"]);
    check(
        r#"sum by (a, b) (rate(c_total{d="e{f}",g!~"h"}[5m] offset 1h)) / on (i) group_left (j) k:l:m"#,
        &["c_total", "k:l:m"],
    );
    check("(a > bool 900) or vector(0) unless b * 1e3", &["a", "b"]);
    check(r#"histogram_quantile(0.9, sum(rate(a_bucket{b="\"}"}[$__rate_interval])) without (le))"#, &["a_bucket"]);
}
