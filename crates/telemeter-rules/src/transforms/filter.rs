//! The step that drops the series that no rule of the whitelist allows.

use std::cell::RefCell;

use telemeter_wire::{Arena, SeriesMut};

use crate::{
    family::LastName,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
    whitelist::{NameVerdict, Whitelist},
};

/// Drops series that no rule allows. It expects canonical labels, so [`Canonical`](crate::canonical::Canonical) has to be
/// an earlier step.
///
/// The verdict about a metric name is remembered until a series has another name, because the series of a family are
/// neighbours.
pub struct Filter<'w> {
    whitelist: &'w Whitelist,
    /// Whether series of this metric name are dropped, whatever the rules allow.
    is_reserved: fn(&str) -> bool,
    family: RefCell<LastVerdict>,
}

/// The last metric name, and the verdict of the rules about it.
struct LastVerdict {
    name: LastName,
    verdict: NameVerdict,
}

impl<'w> Filter<'w> {
    /// A step for the series of one request.
    #[must_use]
    pub fn new(whitelist: &'w Whitelist) -> Self {
        // `Depends` is right for any name, also for the empty one that `LastName` starts with.
        let family = LastVerdict { name: LastName::new(), verdict: NameVerdict::Depends };
        Self { whitelist, is_reserved: |_| false, family: RefCell::new(family) }
    }

    /// Also drops every series whose metric name `is_reserved`, whatever the whitelist allows.
    #[must_use]
    pub fn dropping_reserved(self, is_reserved: fn(&str) -> bool) -> Self {
        Self { is_reserved, ..self }
    }

    /// The verdict of the whitelist on a metric name; [`NameVerdict::Never`] for a reserved one. It is kept for the
    /// next series of the same family.
    fn by_name(&self, name: &str) -> NameVerdict {
        let family = &mut *self.family.borrow_mut();
        if family.name.begins_family(name) {
            family.verdict = if (self.is_reserved)(name) { NameVerdict::Never } else { self.whitelist.by_name(name) };
        }
        family.verdict
    }
}

impl Transform for Filter<'_> {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        counts: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let allowed = match self.by_name(series.view().name()) {
            NameVerdict::Always => true,
            NameVerdict::Never => false,
            NameVerdict::Depends => self.whitelist.allows(series.labels()),
        };
        if allowed {
            return Ok(Verdict::Keep);
        }
        counts.filtered += 1;
        Ok(Verdict::Drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::through;

    #[test]
    fn series_that_no_rule_allows_are_dropped_and_counted() {
        let check = |rules: &str, expected: &str, filtered: u64| {
            let whitelist = Whitelist::parse_lines(rules).expect("rules");
            let step = Filter::new(&whitelist);
            let (text, counts) = through("up{a=\"1\"} 1\nup{a=\"2\"} 2\ndown 3\nup 4", &[&step]).expect("kept");
            assert_eq!((text.as_str(), counts.filtered), (expected, filtered));
        };
        check("", "up{a=\"1\"} 1\nup{a=\"2\"} 2\ndown 3\nup 4\n", 0);
        check("up{a=\"2\"}\n{__name__=~\"dow.*\"}", "up{a=\"2\"} 2\ndown 3\n", 2);
        check("up", "up{a=\"1\"} 1\nup{a=\"2\"} 2\nup 4\n", 1);
        check("none", "", 4);
    }

    #[test]
    fn a_reserved_name_never_passes() {
        for rules in ["", "up", "{__name__=~\"u.*|d.*\"}"] {
            let whitelist = Whitelist::parse_lines(rules).expect("rules");
            let step = Filter::new(&whitelist).dropping_reserved(|name| name.starts_with("do"));
            let (text, counts) = through("up 1\ndown 2\ndown{a=\"b\"} 3\nup 4", &[&step]).expect("kept");
            assert_eq!((text.as_str(), counts.filtered), ("up 1\nup 4\n", 2), "{rules:?}");
        }
    }
}
