//! The refused series of a remote write whose other series are stored (`--partial-writes`).

use std::fmt;

use telemeter_rules::Refusal;
use telemeter_wire::{ReferenceError, Series, excerpt, remote_write::v2::Contents};

/// How many refused series are named.
const MAX_NAMED: usize = 3;

/// The series of one request that were refused, while the others were stored.
#[derive(Debug, Default)]
pub struct PartialWrite {
    /// How many were refused.
    refused: usize,
    /// How many series the request held.
    total: usize,
    /// How many of them could be decoded, and were refused by the rules.
    by_rules: usize,
    /// The first of them, each with what is wrong.
    named: Vec<String>,
    /// Why the rules refused the first that they refused.
    first: Option<Refusal>,
    /// What the refused series held.
    contents: Contents,
    /// What was written, where the request was of 2.0.
    written: Option<Contents>,
}

impl PartialWrite {
    /// Records a series that the rules refused.
    pub(crate) fn refuse(&mut self, series: &Series<'_, '_>, refusal: Refusal) {
        let name = if series.name().is_empty() { "a series".to_owned() } else { excerpt(series.name().as_bytes()) };
        self.contents.add(&Contents::of(&series.points));
        self.record(|| format!("{name}: {refusal}"));
        self.by_rules += 1;
        self.first.get_or_insert(refusal);
    }

    /// Records a series that could not be decoded; what it held was not counted.
    pub(crate) fn refuse_references(&mut self, error: &ReferenceError) {
        self.record(|| error.to_string());
    }

    fn record(&mut self, problem: impl FnOnce() -> String) {
        self.refused += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(problem());
        }
    }

    /// Records how many series could be decoded, and, where the request was of 2.0, what these held. `None` where no series was
    /// refused.
    pub(crate) fn finish(mut self, decoded: u64, contents: Option<&Contents>) -> Option<Self> {
        self.total = usize::try_from(decoded).unwrap_or(usize::MAX).saturating_add(self.refused - self.by_rules);
        self.written = contents.map(|contents| contents.without(&self.contents));
        (self.refused > 0).then_some(self)
    }

    /// Whether every series was refused.
    pub(crate) fn is_all(&self) -> bool {
        self.refused == self.total
    }

    /// How many series were refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Why the rules refused the first series that they refused; `None` where all refused ones could not be decoded.
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
