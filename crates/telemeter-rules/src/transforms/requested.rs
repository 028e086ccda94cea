//! Lets pass what the client asked for, whatever the source answered with.
//!
//! A source selects among the series that it stores, and what it answers with is not quite what it stores: a Prometheus
//! puts its external labels on each series, adds `instance=""` where there is no instance, and writes names with other
//! characters than letters, digits, `_` and `:` with underscores. What it selected must still pass here, so:
//!
//! - a selector that names such a label or metric stands for its escaped form as well;
//! - an empty label is an absent one, as in PromQL;
//! - a label that each series of the answer's first part has with one and the same value counts as added behind the
//!   selectors, where that explains all of the first part. `{team!="x"}` selects a series without `team` of a Prometheus
//!   whose external label is `team="x"`, and what arrives says `team="x"`. A source that ignores selectors answers with
//!   series that no such label explains.

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

/// The selectors that the source is asked with, compiled.
#[derive(Clone, Debug, Default)]
pub struct Requested {
    whitelist: Whitelist,
    /// Labels that a selector lets be absent, and not just any value: these may be external labels.
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

    /// Whether what a source selects by this can be told from its answer. Not where an expression on the metric name may
    /// mean names that are written with underscores: `{__name__=~"a\\.b"}`.
    #[must_use]
    pub fn can_judge(selector: &Selector) -> bool {
        !selector.matchers().iter().any(|matcher| {
            matcher.name() == NAME_LABEL && matcher.op() == Op::Matches && may_mean_other_characters(matcher.value())
        })
    }

    /// As [`Self::names`], where labels that a selector lets be absent may have been added behind it.
    #[must_use]
    pub fn may_name(&self, labels: &[Label<'_>]) -> bool {
        let external: Vec<&str> = self.may_be_external.iter().map(|name| &**name).collect();
        self.names(labels) || !external.is_empty() && self.names(without(labels, &external, &Arena::new()))
    }

    /// The step for one answer. Where it does not `drop` what nobody asked for, it counts it.
    #[must_use]
    pub fn filter(&self, drop: bool) -> FilterRequested<'_> {
        let family = RefCell::new(LastRequested { name: LastName::new(), verdict: NameVerdict::Depends });
        FilterRequested { requested: self, drop, external: None, family }
    }

    /// Whether a selector names a series with these labels, as it was scraped.
    #[must_use]
    pub fn names(&self, labels: &[Label<'_>]) -> bool {
        self.whitelist.allows(labels)
    }
}

/// The selector as it selects from names that were written with underscores, where that makes a difference.
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

/// Whether an expression has a character that no name without quotes may have.
fn may_mean_other_characters(expression: &str) -> bool {
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

/// Drops series that no selector asked for, for one answer. They are to come as they were scraped, before any step changes
/// them. [`begin_part`](Self::begin_part) goes before each part of the answer.
pub struct FilterRequested<'r> {
    requested: &'r Requested,
    drop: bool,
    /// The labels that count as added behind the selectors; `None` until the first part has come.
    external: Option<Vec<&'r str>>,
    family: RefCell<LastRequested>,
}

/// The last name, and what the selectors say of it.
struct LastRequested {
    name: LastName,
    verdict: NameVerdict,
}

impl FilterRequested<'_> {
    /// Takes note of a part of the answer before its series go through the steps.
    pub fn begin_part(&mut self, part: &SeriesSet<'_>) {
        // Where a name stood in the part before, any name may stand.
        self.family.get_mut().name = LastName::new();
        if self.external.is_none() && !part.is_empty() {
            self.external = Some(external(self.requested, part));
        }
    }

    fn by_name(&self, name: &str) -> NameVerdict {
        let family = &mut *self.family.borrow_mut();
        if family.name.begins(name) {
            family.verdict = self.requested.whitelist.by_name(name);
        }
        family.verdict
    }

    #[cold]
    fn allows_without_external(&self, labels: &[Label<'_>], arena: &Arena) -> bool {
        match self.external.as_deref() {
            None | Some([]) => false,
            Some(external) => self.requested.names(without(labels, external, arena)),
        }
    }
}

/// `labels`, of which those named in `taken` are empty.
fn without<'l>(labels: &[Label<'l>], taken: &[&str], arena: &'l Arena) -> &'l [Label<'l>] {
    let blank = |label: &Label<'l>| if taken.contains(&label.name) { Label::new(label.name, "") } else { *label };
    arena.text().alloc_slice_fill_iter(labels.iter().map(blank))
}

/// Which labels were added behind the selectors, judged by the first part of an answer.
fn external<'r>(requested: &'r Requested, part: &SeriesSet<'_>) -> Vec<&'r str> {
    let is_constant = |name: &str| {
        let value = value_of(part.at(0).labels, name);
        !value.is_empty() && part.iter().all(|series| value_of(series.labels, name) == value)
    };
    let constant: Vec<&str> = requested.may_be_external.iter().map(|name| &**name).filter(|n| is_constant(n)).collect();
    let explains =
        |labels: &[Label<'_>]| requested.names(labels) || requested.names(without(labels, &constant, part.arena()));
    if !constant.is_empty() && part.iter().all(|series| explains(series.labels)) { constant } else { Vec::new() }
}

impl Transform for FilterRequested<'_> {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        report: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let labels = series.labels();
        let allowed = match self.by_name(series.view().name()) {
            NameVerdict::Always => true,
            NameVerdict::Never => false,
            NameVerdict::Depends => self.requested.names(labels) || self.allows_without_external(labels, arena),
        };
        if allowed {
            return Ok(Verdict::Keep);
        }
        report.unrequested += 1;
        report.filtered += u64::from(self.drop);
        Ok(if self.drop { Verdict::Drop } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use telemeter_wire::{DecodeLimits, exposition::text};

    use super::*;
    use crate::{testing::text_of, transform::run};

    /// Takes the parts of an answer through the step; what passes, and how many series did not.
    fn filtered(selectors: &[&str], parts: &[&str]) -> (String, u64) {
        let selectors: Vec<_> = selectors.iter().map(|text| Selector::parse(text).expect("a selector")).collect();
        let requested = Requested::new(&selectors);
        let mut step = requested.filter(true);
        let (mut passed, mut report) = (String::new(), StepCounts::default());
        for part in parts {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            text::decode(part.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text");
            step.begin_part(&set);
            run(&mut set, &[&step], &mut report).expect("no refusal");
            passed += &text_of(&set);
        }
        (passed, report.filtered)
    }

    fn check(selectors: &[&str], body: &str, expected: &str) {
        let (passed, left_out) = filtered(selectors, &[body]);
        assert_eq!(passed, expected, "{selectors:?}");
        assert_eq!(left_out as usize, body.lines().count() - expected.lines().count(), "{selectors:?}");
    }

    #[test]
    fn what_nobody_asked_for_stays() {
        let body = "up{job=\"a\"} 1\nup{job=\"b\"} 2\ndown 3\nx_bucket{le=\"1\"} 4\nx_sum 5\nx_count 6\n";
        check(&[], body, body);
        check(&["up"], body, "up{job=\"a\"} 1\nup{job=\"b\"} 2\n");
        check(&["up{job=\"b\"}", "down"], body, "up{job=\"b\"} 2\ndown 3\n");
        check(&["{__name__=~\".*wn\",job=\"\"}"], body, "down 3\n");
        // As for a Prometheus: a histogram is its series, and each has a name of its own.
        check(&["x"], body, "");
        check(&["x_bucket", "{__name__=\"x_count\"}"], body, "x_bucket{le=\"1\"} 4\nx_count 6\n");
        check(&["none"], body, "");
    }

    #[test]
    fn what_nobody_asked_for_can_be_counted_alone() {
        let requested = Requested::new(&[Selector::parse("up").expect("a selector")]);
        let (text, report) = crate::testing::through("up 1\ndown 2\n", &[&requested.filter(false)]).expect("kept");
        assert_eq!((text.as_str(), report.unrequested, report.filtered), ("up 1\ndown 2\n", 1, 0));
    }

    #[test]
    fn an_empty_label_is_absent() {
        let body = "up{instance=\"\",job=\"a\"} 1\n";
        check(&["up{instance=\"\"}"], body, body);
        check(&["up{instance!=\"\"}"], body, "");
    }

    #[test]
    fn a_name_that_was_escaped_is_found() {
        let body = "http_requests{http_status=\"200\"} 1\nhttp_requests{http_status=\"500\"} 2\n";
        check(&["{\"http.requests\",\"http.status\"=\"200\"}"], body, "http_requests{http_status=\"200\"} 1\n");
        check(&["{\"http.requests\"}"], body, body);
        check(
            &["{__name__=\"http.requests\",\"http.status\"!=\"200\"}"],
            body,
            "http_requests{http_status=\"500\"} 2\n",
        );
        // As the source sends it to whoever takes such names.
        check(&["{\"a.b\"}"], "{\"a.b\",c=\"1\"} 1\na_b 2\na_c 3\n", "{\"a.b\",c=\"1\"} 1\na_b 2\n");
    }

    #[test]
    fn expressions_that_mean_escaped_names_cannot_be_judged() {
        let can_judge = |text: &str| Requested::can_judge(&Selector::parse(text).expect("a selector"));
        for text in [
            "up",
            "{}",
            "{__name__=~\"a.b|c:.*\"}",
            "{__name__=~\"(?i)up\\\\d+[a-c]{1,2}\\\\w\"}",
            "{job=~\"a\\\\.b\"}",
            "{__name__!~\"a\\\\.b\"}",
            "{\"a.b\"}",
        ] {
            assert!(can_judge(text), "{text}");
        }
        for text in ["{__name__=~\"a\\\\.b\"}", "{__name__=~\"a/b\"}", "{__name__=~\"ä.*\"}", "{__name__=~\"a\\\\-b\"}"]
        {
            assert!(!can_judge(text), "{text}");
        }
    }

    #[test]
    fn an_external_label_does_not_hide_what_was_asked_for() {
        let federated = "up{job=\"a\",team=\"x\"} 1\nup{job=\"b\",team=\"x\"} 2\n";
        check(&["up{team!=\"x\"}"], federated, federated);
        check(&["up{team=\"\"}"], federated, federated);
        check(&["up{team!~\"x|y\",job!=\"c\"}"], federated, federated);
        // A matcher that the label must be there for says nothing of an absent one.
        check(&["up{team=\"y\"}"], federated, "");
        check(&["up{team=~\"y.*\",job!=\"\"}"], federated, "");
        // It is another label that fails: not each series has it with this value.
        check(&["up{job!=\"b\"}"], federated, "up{job=\"a\",team=\"x\"} 1\n");
        check(&["up{job!=\"b\",team!=\"x\"}"], federated, "");
        // A source that ignores selectors answers with more than an external label explains.
        check(&["up{team!=\"x\"}"], "up{team=\"x\"} 1\ndown{team=\"x\"} 2\n", "");
        check(&["up{team!=\"x\"}"], "up{team=\"x\"} 1\nup{team=\"y\"} 2\nup 3\n", "up{team=\"y\"} 2\nup 3\n");
        check(
            &["up{team!=\"x\"}", "down"],
            "up{team=\"x\"} 1\ndown{team=\"x\"} 2\n",
            "up{team=\"x\"} 1\ndown{team=\"x\"} 2\n",
        );
    }

    #[test]
    fn what_the_first_part_shows_holds_for_the_others() {
        let parts = ["up{team=\"x\"} 1\n", "up{team=\"x\"} 2\ndown{team=\"x\"} 3\n", "up{job=\"c\"} 4\n"];
        let (passed, left_out) = filtered(&["up{team!=\"x\"}"], &parts);
        assert_eq!((passed.as_str(), left_out), ("up{team=\"x\"} 1\nup{team=\"x\"} 2\nup{job=\"c\"} 4\n", 1));
        let (passed, left_out) = filtered(&["up{team!=\"x\"}"], &["down{team=\"x\"} 1\n", "up{team=\"x\"} 2\n"]);
        assert_eq!((passed.as_str(), left_out), ("", 2));
        // Names stand where others stood in the part before.
        let names: Vec<String> = ["up 1\n", "dn 2\n", "up 3\n"].map(str::to_owned).to_vec();
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(filtered(&["up"], &parts), ("up 1\nup 3\n".to_owned(), 1));
    }
}
