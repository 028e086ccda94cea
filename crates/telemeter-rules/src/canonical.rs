//! The canonical form: one `__name__`, no empty and no doubled label, sorted by name. What is judged is what is sent.

use std::{cell::RefCell, cmp::Ordering};

use telemeter_wire::{Arena, Label, SeriesMut, series::NAME_LABEL};

use crate::{
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// Brings each series into canonical form. A series that is in it already stays untouched, and so is spliced.
///
/// A label name that stands twice refuses the request: which value counts would be anybody's guess. An empty value is no
/// label, as in PromQL.
///
/// Senders write the labels of all series in much the same order (sorted, but for what was added last): what sorted a
/// series of so many labels is tried first on the next of as many.
#[derive(Default)]
pub struct Canonical {
    orders: RefCell<RememberedMoves>,
}

impl Canonical {
    /// With no order to try yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Transform for Canonical {
    #[inline]
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let orders = &mut self.orders.borrow_mut();
        let form = match series.reorder_if(|labels| orders.of(labels.len()).and_then(|order| order.sort(labels))) {
            Some(form) => form,
            None => match LabelForm::of(series.labels()) {
                LabelForm::Unsorted => sort(series, orders)?,
                form => form,
            },
        };
        if form != LabelForm::Canonical {
            series.retain_labels(|label| !label.value.is_empty() && !label.name.is_empty());
        }
        // Sorted, so that few names can stand before it.
        if series.view().name().is_empty() { Err(Refusal::NoName) } else { Ok(Verdict::Keep) }
    }
}

/// Whether these labels are sorted, and none is empty or doubled.
#[must_use]
pub fn is_canonical(labels: &[Label<'_>]) -> bool {
    LabelForm::of(labels) == LabelForm::Canonical
}

/// What is known of a list of labels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LabelForm {
    Canonical,
    /// Canonical but for labels without a value.
    WithEmpty,
    /// Not sorted, or with a name that stands twice or is empty.
    Unsorted,
}

impl LabelForm {
    #[inline]
    fn of(labels: &[Label<'_>]) -> Self {
        let (mut before, mut form) = (NameKey::new(""), Self::Canonical);
        for label in labels {
            let name = NameKey::new(label.name);
            if !before.is_before(name) {
                return Self::Unsorted;
            }
            if label.value.is_empty() {
                form = Self::WithEmpty;
            }
            before = name;
        }
        form
    }
}

/// A label's name, with its first bytes at hand: mostly they tell which of two comes first.
#[derive(Clone, Copy)]
struct NameKey<'a> {
    text: &'a str,
    front: u16,
}

impl<'a> NameKey<'a> {
    #[inline]
    fn new(text: &'a str) -> Self {
        Self { text, front: text.as_bytes().first_chunk::<2>().map_or(0, |front| u16::from_be_bytes(*front)) }
    }

    #[inline]
    fn is_before(self, other: Self) -> bool {
        match self.front.cmp(&other.front) {
            // A name of less than two bytes has no front.
            _ if self.front == 0 || other.front == 0 => self.text < other.text,
            Ordering::Equal => self.text < other.text,
            told => told == Ordering::Less,
        }
    }
}

/// Series with more labels than this are sorted anew each time.
const MAX_REMEMBERED: usize = 32;

/// What sorted the last series of each number of labels.
#[derive(Default)]
struct RememberedMoves {
    by_len: Vec<SortMoves>,
}

impl RememberedMoves {
    #[inline]
    fn of(&self, len: usize) -> Option<&SortMoves> {
        self.by_len.get(len).filter(|order| !order.moves.is_empty())
    }

    /// The order of so many labels, to be found anew.
    fn renew(&mut self, len: usize) -> &mut SortMoves {
        if self.by_len.len() <= len {
            self.by_len.resize_with(len + 1, SortMoves::default);
        }
        &mut self.by_len[len]
    }
}

/// An order, as the moves that bring it about, one after the other.
#[derive(Default)]
struct SortMoves {
    /// Where a label stands, and the place before that where it is to stand.
    moves: Vec<(u8, u8)>,
}

impl SortMoves {
    /// Sorts these labels by name, and becomes the order that does so.
    fn find(&mut self, labels: &mut [Label<'_>]) {
        self.moves.clear();
        self.moves.reserve(MAX_REMEMBERED);
        for from in 1..labels.len() {
            let to = labels[..from].partition_point(|before| before.name <= labels[from].name);
            if to < from {
                labels[to..=from].rotate_right(1);
                self.moves.push((from as u8, to as u8));
            }
        }
    }

    /// Sorts these labels, or leaves them as they are where it is not this order that sorts them.
    #[inline]
    fn sort(&self, labels: &mut [Label<'_>]) -> Option<LabelForm> {
        for &(from, to) in &self.moves {
            let (from, to) = (usize::from(from), usize::from(to));
            let label = labels[from];
            labels.copy_within(to..from, to + 1);
            labels[to] = label;
        }
        let form = LabelForm::of(labels);
        if form != LabelForm::Unsorted {
            return Some(form);
        }
        for &(from, to) in self.moves.iter().rev() {
            labels[usize::from(to)..=usize::from(from)].rotate_left(1);
        }
        None
    }
}

/// Sorts the labels by name, and remembers how.
#[cold]
fn sort(series: &mut SeriesMut<'_, '_>, orders: &mut RememberedMoves) -> Result<LabelForm, Refusal> {
    series.reorder_if(|labels| {
        if labels.len() > MAX_REMEMBERED {
            labels.sort_by(|one, other| one.name.cmp(other.name));
        } else {
            orders.renew(labels.len()).find(labels);
        }
        Some(())
    });
    if let Some(twice) = series.labels().windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Refusal::LabelTwice { label: shown(twice[0].name) });
    }
    // A name that is empty may be among them.
    Ok(LabelForm::WithEmpty)
}

/// A label's name as an error shows it: not longer than a line.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Whether a label is the metric name.
#[must_use]
pub fn is_name(label: &Label<'_>) -> bool {
    label.name == NAME_LABEL
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use telemeter_wire::{MetricType, Points, Sample, SeriesSet};

    use super::*;
    use crate::{testing::text_of, transform::run};

    fn check(labels: &[(&str, &str)], expected: Result<&str, Refusal>) {
        let canonical = Canonical::new();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
        set.push(&labels, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: None }));
        let result = run(&mut set, &[&canonical], &mut StepCounts::default());
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
        run(&mut set, &[&canonical], &mut StepCounts::default()).expect("good series");
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
            if run(&mut set, &[&canonical], &mut StepCounts::default()).is_ok() {
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
}
