//! Names of metrics that no rule of the whitelist allows, and how many series of each were dropped.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::HashMap;
use parking_lot::RwLock;
use telemeter_rules::{Refusal, StepCounts, Transform, Verdict};
use telemeter_wire::{Arena, SeriesMut};

/// How many names are counted. Past that, the half with the lowest counts is forgotten.
const MAX_NAMES: usize = 4096;
/// How many names of one request are counted.
const MAX_OF_A_REQUEST: u32 = 64;
/// Longer names are cut to so many bytes.
const MAX_NAME_BYTES: usize = 128;

/// Counts dropped series by name, in bounded memory.
#[derive(Debug, Default)]
pub struct DroppedNames(RwLock<HashMap<Box<str>, Arc<AtomicU64>>>);

impl DroppedNames {
    /// The counter of a name, which is cut to [`MAX_NAME_BYTES`]; makes one where there is none. Where there are
    /// [`MAX_NAMES`] already, half of them are forgotten first, those with the lowest counts.
    fn counter(&self, name: &str) -> Arc<AtomicU64> {
        let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
        if let Some(count) = self.0.read().get(name) {
            return Arc::clone(count);
        }
        let mut names = self.0.write();
        if names.len() >= MAX_NAMES && !names.contains_key(name) {
            let mut counts: Vec<u64> = names.values().map(|count| count.load(Ordering::Relaxed)).collect();
            let (_, median, _) = counts.select_nth_unstable(MAX_NAMES / 2);
            let median = *median;
            let mut to_forget = MAX_NAMES / 2;
            names.retain(|_, count| {
                let is_forgotten = count.load(Ordering::Relaxed) <= median && to_forget > 0;
                to_forget -= usize::from(is_forgotten);
                !is_forgotten
            });
        }
        Arc::clone(names.entry(name.into()).or_default())
    }

    /// How many series of this name were dropped; 0 where the name is not counted.
    #[must_use]
    pub fn count_of(&self, name: &str) -> u64 {
        let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
        self.0.read().get(name).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The names with the highest counts, highest first; at most `limit`.
    #[must_use]
    pub fn most(&self, limit: usize) -> Vec<(String, u64)> {
        let mut most: Vec<_> =
            self.0.read().iter().map(|(name, count)| (name.to_string(), count.load(Ordering::Relaxed))).collect();
        most.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        most.truncate(limit);
        most
    }
}

/// A step around another one: counts, by metric name, the series that the inner step drops.
pub struct CountDropped<'n, T> {
    step: T,
    names: Option<&'n DroppedNames>,
    /// The counter of the last name that was dropped.
    last: RefCell<(String, Arc<AtomicU64>)>,
    counted: Cell<u32>,
}

impl<'n, T: Transform> CountDropped<'n, T> {
    /// Around this step, for the series of one request. Without [`counting`](Self::counting) nothing is counted.
    #[must_use]
    pub fn new(step: T) -> Self {
        Self { step, names: None, last: RefCell::default(), counted: Cell::new(0) }
    }

    /// Counts the dropped series in `names`.
    #[must_use]
    pub fn counting(self, names: &'n DroppedNames) -> Self {
        Self { names: Some(names), ..self }
    }

    /// Counts a dropped series under its metric name. A request counts at most [`MAX_OF_A_REQUEST`] changes of the
    /// name, and nothing after them: series of one name come one after the other, as a rule.
    #[cold]
    fn count_drop(&self, names: &DroppedNames, name: &str) {
        let (last, counter) = &mut *self.last.borrow_mut();
        if last != name {
            if self.counted.get() == MAX_OF_A_REQUEST {
                return;
            }
            self.counted.set(self.counted.get() + 1);
            name.clone_into(last);
            *counter = names.counter(name);
        }
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T: Transform> Transform for CountDropped<'_, T> {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        report: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let verdict = self.step.apply(series, arena, report)?;
        if verdict == Verdict::Drop
            && let Some(names) = self.names
        {
            self.count_drop(names, series.view().name());
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_dropped_stay() {
        let names = DroppedNames::default();
        names.counter("often").fetch_add(50, Ordering::Relaxed);
        names.counter("mostly").fetch_add(70, Ordering::Relaxed);
        for number in 0..3 * MAX_NAMES {
            names.counter(&format!("once_{number}")).fetch_add(1, Ordering::Relaxed);
        }
        assert!(names.0.read().len() <= MAX_NAMES);
        assert_eq!((names.count_of("often"), names.count_of("never")), (50, 0));
        assert_eq!(names.most(2), [("mostly".to_owned(), 70), ("often".to_owned(), 50)]);
        names.counter(&"ü".repeat(200)).fetch_add(100, Ordering::Relaxed);
        assert_eq!(names.most(1)[0].0.len(), MAX_NAME_BYTES);
    }
}
