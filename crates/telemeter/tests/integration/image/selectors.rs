//! Makes as many selectors as the operator passes, of the same kinds: names, lists of values, regular expressions,
//! several matchers, and spaces after a comma.

/// A selector with a series that it matches and one that it does not match.
pub(super) struct Selected {
    pub(super) selector: String,
    /// The series without its closing brace.
    pub(super) series: String,
    pub(super) other: String,
}

pub(super) fn selected() -> Vec<Selected> {
    (0..211).map(one).collect()
}

/// Returns the selector with this number; the kinds of selectors alternate.
fn one(i: usize) -> Selected {
    let (selector, series, other) = match i % 8 {
        0 => (format!(r#"{{__name__="job:m{i}:sum"}}"#), format!("job:m{i}:sum{{"), format!("job:m{i}:max{{")),
        1 => (
            format!(r#"{{__name__="m{i}",quantile=~"0.5|0.9|0.99"}}"#),
            format!(r#"m{i}{{quantile="0.99""#),
            format!(r#"m{i}{{quantile="0.999""#),
        ),
        2 => (
            format!(r#"{{__name__="m{i}:info", mode=~"High.*|Single"}}"#),
            format!(r#"m{i}:info{{mode="HighlyAvailable""#),
            format!(r#"m{i}:info{{mode="SingleReplica""#),
        ),
        3 => (
            format!(r#"{{__name__="m{i}",alertstate="firing", severity=~"critical|warning|info|none"}}"#),
            format!(r#"m{i}{{alertstate="firing",severity="none""#),
            format!(r#"m{i}{{alertstate="pending",severity="none""#),
        ),
        4 => (format!(r#"{{__name__=~"m{i}_(a|b)"}}"#), format!("m{i}_b{{"), format!("m{i}_c{{")),
        5 => (
            format!(r#"{{__name__="m{i}",resource=~"pods\\.v1|nodes\\.v[12]"}}"#),
            format!(r#"m{i}{{resource="nodes.v2""#),
            format!(r#"m{i}{{resource="nodes-v2""#),
        ),
        6 => (
            format!(r#"{{__name__="m{i}",reason!="",from!~"x.+"}}"#),
            format!(r#"m{i}{{from="y",reason="none""#),
            format!(r#"m{i}{{from="xy",reason="none""#),
        ),
        _ => (
            format!(r#"{{ __name__ = "m{i}_total", job = "a" , cloud != "none" }}"#),
            format!(r#"m{i}_total{{cloud="here",job="a""#),
            format!(r#"m{i}_total{{cloud="none",job="a""#),
        ),
    };
    Selected { selector, series, other }
}
