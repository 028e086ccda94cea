//! The canonical form: one `__name__`, no empty and no doubled label, sorted by name. What is judged is what is sent.

use std::{
    cell::RefCell,
    hash::{BuildHasher, Hasher},
};

use hashbrown::{DefaultHashBuilder, HashTable};

use telemeter_wire::{Arena, Label, Points, Series, SeriesMut, SeriesSet, series::NAME_LABEL};

use crate::{
    refusal::Refusal,
    transform::{Report, Transform, Verdict},
};

/// Brings each series into canonical form. A series that is in it already stays untouched, and so is spliced.
///
/// A label name that stands twice refuses the request: which value counts would be anybody's guess. An empty value is no
/// label, as in PromQL.
///
/// The series of a family mostly have the same names in the same order: the order that sorted the last one is tried first.
#[derive(Default)]
pub struct Canonical {
    order: RefCell<Order>,
}

/// How the labels of the last series were put in order.
#[derive(Default)]
struct Order {
    /// The place, in the series as it came, of each label of the sorted one.
    places: Vec<u8>,
}

impl Canonical {
    /// With no order to try yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Transform for Canonical {
    fn apply<'a>(&'a self, series: &mut SeriesMut<'_, 'a>, _: &'a Arena, _: &mut Report) -> Result<Verdict, Refusal> {
        if !is_canonical(series.labels()) {
            self.canonicalise(series)?;
        }
        // Sorted, so that few names can stand before it.
        if series.view().name().is_empty() { Err(Refusal::NoName) } else { Ok(Verdict::Keep) }
    }
}

/// Whether these labels are sorted, and none is empty or doubled.
#[must_use]
pub fn is_canonical(labels: &[Label<'_>]) -> bool {
    let mut before = "";
    labels.iter().all(|label| {
        let good = is_before(before, label.name) && !label.value.is_empty();
        before = label.name;
        good
    })
}

/// As `one < other`; mostly told by the first byte.
#[inline]
fn is_before(one: &str, other: &str) -> bool {
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(one), Some(other)) if one != other => one < other,
        _ => one < other,
    }
}

impl Canonical {
    #[inline(never)]
    fn canonicalise(&self, series: &mut SeriesMut<'_, '_>) -> Result<(), Refusal> {
        let places = &mut self.order.borrow_mut().places;
        let labels = series.labels_mut();
        if !permute(labels, places) {
            sort(labels, places);
            if let Some(twice) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
                return Err(Refusal::LabelTwice { label: shown(twice[0].name) });
            }
        }
        series.retain_labels(|label| !label.value.is_empty() && !label.name.is_empty());
        Ok(())
    }
}

/// Most series have fewer labels than this; those with more are sorted anew each time.
const MAX_REMEMBERED: usize = 32;

/// Puts the labels in a remembered order, if that sorts them.
fn permute(labels: &mut [Label<'_>], places: &[u8]) -> bool {
    if places.len() != labels.len() {
        return false;
    }
    let mut came = [Label { name: "", value: "" }; MAX_REMEMBERED];
    let came = &mut came[..labels.len()];
    came.copy_from_slice(labels);
    let mut before = "";
    for (label, &place) in labels.iter_mut().zip(places) {
        let next = came[usize::from(place)];
        if !is_before(before, next.name) {
            labels.copy_from_slice(came);
            return false;
        }
        before = next.name;
        *label = next;
    }
    true
}

/// Sorts the labels by name, and remembers how.
fn sort(labels: &mut [Label<'_>], places: &mut Vec<u8>) {
    places.clear();
    if labels.len() > MAX_REMEMBERED {
        return labels.sort_by(|one, other| one.name.cmp(other.name));
    }
    places.extend(0..labels.len() as u8);
    places.sort_by(|&one, &other| labels[usize::from(one)].name.cmp(labels[usize::from(other)].name));
    let mut came = [Label { name: "", value: "" }; MAX_REMEMBERED];
    came[..labels.len()].copy_from_slice(labels);
    for (label, &place) in labels.iter_mut().zip(&*places) {
        *label = came[usize::from(place)];
    }
}

/// A label's name as an error shows it: not longer than a line.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Of series with the same labels, keeps the one with the newest sample; of equally new ones the last. Series of remote
/// write may hold many samples, and stay as they are.
///
/// The labels are to be canonical.
pub fn keep_newest(set: &mut SeriesSet<'_>, report: &mut Report) {
    let hasher = DefaultHashBuilder::default();
    let mut seen: HashTable<u32> = HashTable::with_capacity(set.len());
    let mut dropped: Vec<bool> = Vec::new();
    for index in 0..set.len() {
        let series = set.at(index);
        let Points::Sample(sample) = series.points else { continue };
        let hash = hash(&hasher, &series);
        let entry = seen.entry(
            hash,
            |&other| set.at(other as usize).labels == series.labels,
            |&other| self::hash(&hasher, &set.at(other as usize)),
        );
        match entry {
            hashbrown::hash_table::Entry::Vacant(entry) => {
                // No request has 2^32 series: its bytes are capped far below.
                entry.insert(index as u32);
            }
            hashbrown::hash_table::Entry::Occupied(mut entry) => {
                dropped.resize(set.len(), false);
                let before = *entry.get() as usize;
                let newer = match set.at(before).points {
                    Points::Sample(before) => sample.timestamp_ms >= before.timestamp_ms,
                    Points::Encoded(_) | Points::Absent => true,
                };
                dropped[if newer { before } else { index }] = true;
                if newer {
                    *entry.get_mut() = index as u32;
                }
                report.doubled += 1;
            }
        }
    }
    if !dropped.is_empty() {
        set.retain_indexes(|index| !dropped[index]);
    }
}

fn hash(builder: &DefaultHashBuilder, series: &Series<'_, '_>) -> u64 {
    let mut hasher = builder.build_hasher();
    for label in series.labels {
        // All of it: whoever knows what is left out could make every series collide.
        hasher.write_u64((label.name.len() as u64) << 32 | label.value.len() as u64);
        hasher.write(label.name.as_bytes());
        hasher.write(label.value.as_bytes());
    }
    hasher.finish()
}

/// Whether a label is the metric name.
#[must_use]
pub fn is_name(label: &Label<'_>) -> bool {
    label.name == NAME_LABEL
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use telemeter_wire::{MetricType, Sample};

    use super::*;
    use crate::{testing::text_of, transform::run};

    fn check(labels: &[(&str, &str)], expected: Result<&str, Refusal>) {
        let canonical = Canonical::new();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
        set.push(&labels, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: None }));
        let result = run(&mut set, &[&canonical], &mut Report::default());
        assert_eq!(result.map(|()| text_of(&set)), expected.map(|text| format!("{text} 1\n")));
    }

    #[test]
    fn series_become_canonical() {
        check(&[("__name__", "up")], Ok("up"));
        check(&[("b", "2"), ("__name__", "up"), ("a", "1")], Ok("up{a=\"1\",b=\"2\"}"));
        check(&[("B", "2"), ("__name__", "up"), ("a", "")], Ok("up{B=\"2\"}"));
        check(&[("__name__", "up"), ("a", "1"), ("a", "1")], Err(Refusal::LabelTwice { label: "a".into() }));
        check(&[("__name__", "up"), ("", "1")], Ok("up"));
        check(
            &[("__name__", "up"), ("a", "1"), ("b", "1"), ("a", "2")],
            Err(Refusal::LabelTwice { label: "a".into() }),
        );
        check(&[("__name__", "up"), ("a", "1"), ("a", "")], Err(Refusal::LabelTwice { label: "a".into() }));
        check(&[("__name__", "up"), ("__name__", "down")], Err(Refusal::LabelTwice { label: "__name__".into() }));
        check(&[("a", "1")], Err(Refusal::NoName));
        check(&[("__name__", ""), ("a", "1")], Err(Refusal::NoName));
        check(&[], Err(Refusal::NoName));
    }

    #[test]
    fn an_order_that_sorted_one_series_is_only_tried_on_the_next() {
        let canonical = Canonical::new();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for names in [["c", "__name__", "b"], ["d", "__name__", "a"], ["b", "c", "__name__"], ["__name__", "x", "d"]] {
            set.push(&names.map(|name| Label::new(name, name)), MetricType::Untyped, Points::Absent);
        }
        let many: Vec<String> = (0..40).rev().map(|index| format!("l{index}")).collect();
        let mut many: Vec<_> = many.iter().map(|name| Label::new(arena.text().alloc_str(name), "x")).collect();
        many.push(Label::new("__name__", "up"));
        set.push(&many, MetricType::Untyped, Points::Absent);
        run(&mut set, &[&canonical], &mut Report::default()).expect("good series");
        assert!(set.iter().all(|series| is_canonical(series.labels)));
        let names: Vec<_> = set.at(1).labels.iter().map(|label| (label.name, label.value)).collect();
        assert_eq!(names, [("__name__", "__name__"), ("a", "a"), ("d", "d")]);
        assert_eq!(set.at(4).labels.len(), 41);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_canonical_behind_it(
            pairs in proptest::collection::vec(("[a-c_]{0,3}", "[x-z]{0,2}"), 0..12)
        ) {
            let canonical = Canonical::new();
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            let mut labels: Vec<_> = pairs.iter().map(|(name, value)| Label::new(name, value)).collect();
            labels.push(Label::new("__name__", "up"));
            set.push(&labels, MetricType::Untyped, Points::Absent);
            if run(&mut set, &[&canonical], &mut Report::default()).is_ok() {
                prop_assert!(is_canonical(set.at(0).labels));
                for label in &labels {
                    let kept = set.at(0).label(label.name);
                    prop_assert_eq!(kept, Some(label.value).filter(|value| !value.is_empty() && !label.name.is_empty()));
                }
            } else {
                let mut names: Vec<_> = labels.iter().map(|label| label.name).collect();
                names.sort_unstable();
                prop_assert!(names.windows(2).any(|pair| pair[0] == pair[1]));
            }
        }
    }

    #[test]
    fn of_doubled_series_the_newest_stays() {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let mut push = |name, value, timestamp_ms| {
            let labels = [Label::new("__name__", name), Label::new("a", "b")];
            let sample = Sample { value, timestamp_ms: Some(timestamp_ms) };
            set.push(&labels, MetricType::Gauge, Points::Sample(sample));
        };
        push("one", 1.0, 10);
        push("two", 2.0, 10);
        push("one", 3.0, 9);
        push("one", 4.0, 11);
        push("two", 5.0, 10);
        let mut report = Report::default();
        keep_newest(&mut set, &mut report);
        assert_eq!(text_of(&set), "one{a=\"b\"} 4 11\ntwo{a=\"b\"} 5 10\n");
        assert_eq!(report.doubled, 3);
    }
}
