//! The step that drops scraped series that match no selector of the client, for sources that ignore `match[]`.
//!
//! A source selects among the series that it stores, and its response differs from what it stores: a Prometheus adds its
//! external labels to each series, adds `instance=""` where there is no instance, and escapes names with other characters
//! than letters, digits, `_` and `:`. A series that the source selected must pass here all the same, so:
//!
//! - a selector with such a name also matches its escaped form;
//! - an empty label is the same as an absent one, as in PromQL;
//! - a label that every series of the response's first part has with the same value is taken for an external label, if all
//!   of the first part matches without it. An example: the external label is `team="x"`, and `{team!="x"}` selects a stored
//!   series without `team`; it arrives with `team="x"`. A source that ignores selectors also sends series that do not match
//!   without such a label.

use std::cell::RefCell;

use telemeter_wire::{Arena, Label, SeriesMut, SeriesSet, series::NAME_LABEL};

use crate::{
    Error,
    escaped_name::underscored,
    family::LastName,
    matcher::{Matcher, Op, value_of},
    refusal::Refusal,
    selector::Selector,
    transform::{StepCounts, Transform, Verdict},
    whitelist::{NameVerdict, Whitelist},
};

/// The selectors that are sent to the source as `match[]`, compiled.
#[derive(Clone, Debug, Default)]
pub struct Requested {
    whitelist: Whitelist,
    /// The names of labels on which a matcher accepts the empty value: external labels may hide a match of these.
    may_be_external: Vec<Box<str>>,
}

impl Requested {
    /// Compiles `selectors`; without any, everything passes.
    #[must_use]
    pub fn new(selectors: &[Selector]) -> Self {
        let mut may_be_external: Vec<Box<str>> = Vec::new();
        let matchers = selectors.iter().flat_map(Selector::matchers);
        for matcher in matchers.filter(|matcher| matcher.name() != NAME_LABEL && matcher.matches_value("")) {
            if !may_be_external.iter().any(|name| **name == *matcher.name()) {
                may_be_external.push(matcher.name().into());
            }
        }
        let all = selectors.iter().cloned().chain(selectors.iter().filter_map(escaped)).collect();
        Self { whitelist: Whitelist::new(all), may_be_external }
    }

    /// Whether the series of a response can be checked against `selector`. They cannot where an expression on the metric
    /// name may match names that the source escapes: `{__name__=~"a\\.b"}`.
    #[must_use]
    pub fn is_checkable(selector: &Selector) -> bool {
        !selector.matchers().iter().any(|matcher| {
            matcher.name() == NAME_LABEL && matcher.op() == Op::Matches && may_match_escaped_names(matcher.value())
        })
    }

    /// As [`Self::matches`], but labels that may be external ones may also be absent.
    #[must_use]
    pub fn may_match(&self, labels: &[Label<'_>]) -> bool {
        let external: Vec<&str> = self.may_be_external.iter().map(|name| &**name).collect();
        self.matches(labels) || !external.is_empty() && self.matches(without(labels, &external, &Arena::new()))
    }

    /// The step for one response. With `drop`, series that match no selector are dropped, else they are only counted.
    #[must_use]
    pub fn filter(&self, drop: bool) -> FilterRequested<'_> {
        let family = RefCell::new(LastRequested { name: LastName::new(), verdict: NameVerdict::Depends });
        FilterRequested { requested: self, drop, external: None, family }
    }

    /// Whether a selector matches a series with these labels, as it was scraped.
    #[must_use]
    pub fn matches(&self, labels: &[Label<'_>]) -> bool {
        self.whitelist.allows(labels)
    }
}

/// The selector with escaped names; `None` where escaping changes no name.
fn escaped(selector: &Selector) -> Option<Selector> {
    let escaped = |matcher: &Matcher| -> Result<Matcher, Error> {
        let (name, op, value) = (matcher.name(), matcher.op(), matcher.value());
        match (name, op) {
            (NAME_LABEL, Op::Equal) => Matcher::new(name, op, &underscored(value)),
            _ => Matcher::new(&underscored(name), op, value),
        }
    };
    let matchers = selector.matchers().iter().map(escaped).collect::<Result<Vec<_>, _>>().ok()?;
    (matchers != selector.matchers()).then(|| Selector::new(matchers))
}

/// Whether an expression has a character that is not allowed in unquoted names, and so may match an escaped name.
fn may_match_escaped_names(expression: &str) -> bool {
    const SYNTAX: &str = ".*+?()[]{}|^$-,\\";
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next().is_some_and(|next| next.is_ascii_punctuation() && next != '_') => return true,
            _ if character.is_ascii_alphanumeric() || character == '_' || character == ':' => {}
            _ if SYNTAX.contains(character) => {}
            _ => return true,
        }
    }
    false
}

/// Drops series that match no selector, for one response. The series have to be as they were scraped, so this is the first
/// step. [`begin_part`](Self::begin_part) has to be called before each part of the response.
pub struct FilterRequested<'r> {
    requested: &'r Requested,
    drop: bool,
    /// The names of the external labels; `None` until the first part has come.
    external: Option<Vec<&'r str>>,
    family: RefCell<LastRequested>,
}

/// The last metric name, and the verdict of the selectors about it.
struct LastRequested {
    name: LastName,
    verdict: NameVerdict,
}

impl FilterRequested<'_> {
    /// Prepares for a part of the response, before its series go through the steps: finds the external labels in the first.
    pub fn begin_part(&mut self, part: &SeriesSet<'_>) {
        // The memory of the previous part is used again, so that an equal address is no proof of an equal name.
        self.family.get_mut().name = LastName::new();
        if self.external.is_none() && !part.is_empty() {
            self.external = Some(external(self.requested, part));
        }
    }

    /// The verdict of the requested selectors on a metric name. It is kept for the next series of the same family.
    fn by_name(&self, name: &str) -> NameVerdict {
        let family = &mut *self.family.borrow_mut();
        if family.name.begins_family(name) {
            family.verdict = self.requested.whitelist.by_name(name);
        }
        family.verdict
    }

    #[cold]
    fn allows_without_external(&self, labels: &[Label<'_>], arena: &Arena) -> bool {
        match self.external.as_deref() {
            None | Some([]) => false,
            Some(external) => self.requested.matches(without(labels, external, arena)),
        }
    }
}

/// A copy of `labels` in which those named in `removed` have the empty value.
fn without<'l>(labels: &[Label<'l>], removed: &[&str], arena: &'l Arena) -> &'l [Label<'l>] {
    let blank = |label: &Label<'l>| if removed.contains(&label.name) { Label::new(label.name, "") } else { *label };
    arena.text().alloc_slice_fill_iter(labels.iter().map(blank))
}

/// The names of the external labels, found in the first part of a response.
fn external<'r>(requested: &'r Requested, part: &SeriesSet<'_>) -> Vec<&'r str> {
    let is_constant = |name: &str| {
        let value = value_of(part.at(0).labels, name);
        !value.is_empty() && part.iter().all(|series| value_of(series.labels, name) == value)
    };
    let constant: Vec<&str> = requested.may_be_external.iter().map(|name| &**name).filter(|n| is_constant(n)).collect();
    let is_requested =
        |labels: &[Label<'_>]| requested.matches(labels) || requested.matches(without(labels, &constant, part.arena()));
    if !constant.is_empty() && part.iter().all(|series| is_requested(series.labels)) { constant } else { Vec::new() }
}

impl Transform for FilterRequested<'_> {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        counts: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let labels = series.labels();
        let allowed = match self.by_name(series.view().name()) {
            NameVerdict::Always => true,
            NameVerdict::Never => false,
            NameVerdict::Depends => self.requested.matches(labels) || self.allows_without_external(labels, arena),
        };
        if allowed {
            return Ok(Verdict::Keep);
        }
        counts.unrequested += 1;
        counts.filtered += u64::from(self.drop);
        Ok(if self.drop { Verdict::Drop } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use telemeter_wire::{DecodeLimits, exposition::text};

    use super::*;
    use crate::{testing::text_of, transform::run};

    /// Applies the step to the parts of a response: the series that pass, and the number of those that do not.
    fn filtered(selectors: &[&str], parts: &[&str]) -> (String, u64) {
        let selectors: Vec<_> = selectors.iter().map(|text| Selector::parse(text).expect("a selector")).collect();
        let requested = Requested::new(&selectors);
        let mut step = requested.filter(true);
        let (mut passed, mut counts) = (String::new(), StepCounts::default());
        for part in parts {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            text::decode(part.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text");
            step.begin_part(&set);
            run(&mut set, &[&step], &mut counts).expect("no refusal");
            passed += &text_of(&set);
        }
        (passed, counts.filtered)
    }

    fn check(selectors: &[&str], body: &str, expected: &str) {
        let (passed, left_out) = filtered(selectors, &[body]);
        assert_eq!(passed, expected, "{selectors:?}");
        assert_eq!(left_out as usize, body.lines().count() - expected.lines().count(), "{selectors:?}");
    }

    #[test]
    fn series_that_match_no_selector_are_dropped() {
        let body = "up{job=\"a\"} 1\nup{job=\"b\"} 2\ndown 3\nx_bucket{le=\"1\"} 4\nx_sum 5\nx_count 6\n";
        check(&[], body, body);
        check(&["up"], body, "up{job=\"a\"} 1\nup{job=\"b\"} 2\n");
        check(&["up{job=\"b\"}", "down"], body, "up{job=\"b\"} 2\ndown 3\n");
        check(&["{__name__=~\".*wn\",job=\"\"}"], body, "down 3\n");
        // As in Prometheus: a histogram is several series, each with a name of its own.
        check(&["x"], body, "");
        check(&["x_bucket", "{__name__=\"x_count\"}"], body, "x_bucket{le=\"1\"} 4\nx_count 6\n");
        check(&["none"], body, "");
    }

    #[test]
    fn series_that_match_no_selector_can_be_counted_only() {
        let requested = Requested::new(&[Selector::parse("up").expect("a selector")]);
        let (text, counts) = crate::testing::through("up 1\ndown 2\n", &[&requested.filter(false)]).expect("kept");
        assert_eq!((text.as_str(), counts.unrequested, counts.filtered), ("up 1\ndown 2\n", 1, 0));
    }

    #[test]
    fn an_empty_label_is_absent() {
        let body = "up{instance=\"\",job=\"a\"} 1\n";
        check(&["up{instance=\"\"}"], body, body);
        check(&["up{instance!=\"\"}"], body, "");
    }

    #[test]
    fn an_escaped_name_matches() {
        let body = "http_requests{http_status=\"200\"} 1\nhttp_requests{http_status=\"500\"} 2\n";
        check(&["{\"http.requests\",\"http.status\"=\"200\"}"], body, "http_requests{http_status=\"200\"} 1\n");
        check(&["{\"http.requests\"}"], body, body);
        check(
            &["{__name__=\"http.requests\",\"http.status\"!=\"200\"}"],
            body,
            "http_requests{http_status=\"500\"} 2\n",
        );
        // As the source sends it to clients that accept UTF-8 names.
        check(&["{\"a.b\"}"], "{\"a.b\",c=\"1\"} 1\na_b 2\na_c 3\n", "{\"a.b\",c=\"1\"} 1\na_b 2\n");
    }

    #[test]
    fn expressions_that_may_match_escaped_names_cannot_be_checked() {
        let is_checkable = |text: &str| Requested::is_checkable(&Selector::parse(text).expect("a selector"));
        for text in [
            "up",
            "{}",
            "{__name__=~\"a.b|c:.*\"}",
            "{__name__=~\"(?i)up\\\\d+[a-c]{1,2}\\\\w\"}",
            "{job=~\"a\\\\.b\"}",
            "{__name__!~\"a\\\\.b\"}",
            "{\"a.b\"}",
        ] {
            assert!(is_checkable(text), "{text}");
        }
        for text in ["{__name__=~\"a\\\\.b\"}", "{__name__=~\"a/b\"}", "{__name__=~\"ä.*\"}", "{__name__=~\"a\\\\-b\"}"]
        {
            assert!(!is_checkable(text), "{text}");
        }
    }

    #[test]
    fn an_external_label_does_not_hide_a_match() {
        let federated = "up{job=\"a\",team=\"x\"} 1\nup{job=\"b\",team=\"x\"} 2\n";
        check(&["up{team!=\"x\"}"], federated, federated);
        check(&["up{team=\"\"}"], federated, federated);
        check(&["up{team!~\"x|y\",job!=\"c\"}"], federated, federated);
        // A matcher that requires the label cannot be met by a series without it.
        check(&["up{team=\"y\"}"], federated, "");
        check(&["up{team=~\"y.*\",job!=\"\"}"], federated, "");
        // Another label fails: not every series has it with this value.
        check(&["up{job!=\"b\"}"], federated, "up{job=\"a\",team=\"x\"} 1\n");
        check(&["up{job!=\"b\",team!=\"x\"}"], federated, "");
        // A source that ignores selectors sends series that do not match without an external label either.
        check(&["up{team!=\"x\"}"], "up{team=\"x\"} 1\ndown{team=\"x\"} 2\n", "");
        check(&["up{team!=\"x\"}"], "up{team=\"x\"} 1\nup{team=\"y\"} 2\nup 3\n", "up{team=\"y\"} 2\nup 3\n");
        check(
            &["up{team!=\"x\"}", "down"],
            "up{team=\"x\"} 1\ndown{team=\"x\"} 2\n",
            "up{team=\"x\"} 1\ndown{team=\"x\"} 2\n",
        );
    }

    #[test]
    fn external_labels_of_the_first_part_hold_for_the_others() {
        let parts = ["up{team=\"x\"} 1\n", "up{team=\"x\"} 2\ndown{team=\"x\"} 3\n", "up{job=\"c\"} 4\n"];
        let (passed, left_out) = filtered(&["up{team!=\"x\"}"], &parts);
        assert_eq!((passed.as_str(), left_out), ("up{team=\"x\"} 1\nup{team=\"x\"} 2\nup{job=\"c\"} 4\n", 1));
        let (passed, left_out) = filtered(&["up{team!=\"x\"}"], &["down{team=\"x\"} 1\n", "up{team=\"x\"} 2\n"]);
        assert_eq!((passed.as_str(), left_out), ("", 2));
        // Names of one part may be at the addresses of other names of the part before.
        let names: Vec<String> = ["up 1\n", "dn 2\n", "up 3\n"].map(str::to_owned).to_vec();
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(filtered(&["up"], &parts), ("up 1\nup 3\n".to_owned(), 1));
    }
}
