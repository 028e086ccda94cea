//! What of a remote write is not stored where `--partial-writes` lets the rest be.

use std::fmt;

use telemeter_rules::Refusal;
use telemeter_wire::{ReferenceError, Series, excerpt, remote_write::v2::Contents};

/// How many refused series are named.
const NAMED: usize = 3;

/// The series of one request that were refused, while the others were stored.
#[derive(Debug, Default)]
pub struct PartialWrite {
    /// How many.
    refused: usize,
    /// How many series the request held.
    total: usize,
    /// How many the rules refused, of those that could be decoded.
    by_rules: usize,
    /// The first of them, each with its flaw.
    named: Vec<String>,
    /// The flaw of the first, where it is one of the rules'.
    first: Option<Refusal>,
    /// What they held.
    contents: Contents,
    /// What was written, where the request was of 2.0.
    written: Option<Contents>,
}

impl PartialWrite {
    /// Notes a series that the rules refused.
    pub(crate) fn refuse(&mut self, series: &Series<'_, '_>, refusal: Refusal) {
        let name = if series.name().is_empty() { "a series".to_owned() } else { excerpt(series.name().as_bytes()) };
        self.contents.add(&Contents::of(&series.points));
        self.note(|| format!("{name}: {refusal}"));
        self.by_rules += 1;
        self.first.get_or_insert(refusal);
    }

    /// Notes a series that could not be decoded; what it held was not counted.
    pub(crate) fn refuse_references(&mut self, error: &ReferenceError) {
        self.note(|| error.to_string());
    }

    fn note(&mut self, flaw: impl FnOnce() -> String) {
        self.refused += 1;
        if self.named.len() < NAMED {
            self.named.push(flaw());
        }
    }

    /// Notes how many series could be decoded, and, where the request was of 2.0, what these held. Answers with what there is to
    /// say, if a series was refused.
    pub(crate) fn finish(mut self, decoded: u64, contents: Option<&Contents>) -> Option<Self> {
        self.total = usize::try_from(decoded).unwrap_or(usize::MAX).saturating_add(self.refused - self.by_rules);
        self.written = contents.map(|contents| contents.without(&self.contents));
        (self.refused > 0).then_some(self)
    }

    /// Whether no series was left.
    pub(crate) fn is_all(&self) -> bool {
        self.refused == self.total
    }

    /// What the rules said of the first that they refused.
    #[must_use]
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.first.as_ref()
    }

    /// What was written, where the request was of 2.0.
    #[must_use]
    pub(crate) fn written(&self) -> Option<&Contents> {
        self.written.as_ref()
    }
}

impl fmt::Display for PartialWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_all() {
            true => write!(f, "all {} series were refused: ", self.total)?,
            false => write!(f, "{} of {} series were refused, the others were stored: ", self.refused, self.total)?,
        }
        f.write_str(&self.named.join("; "))?;
        if self.refused > self.named.len() {
            write!(f, "; and {} more", self.refused - self.named.len())?;
        }
        Ok(())
    }
}
