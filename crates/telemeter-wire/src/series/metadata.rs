//! The metadata of metric families in remote write: type, help and unit.

use hashbrown::{HashMap, HashSet};

use super::SeriesSet;
use crate::error::{DecodeLimits, Error};

/// The type, help and unit of a metric family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyMetadata<'a> {
    /// The name of the family. In 2.0, it is found by the name of a series.
    pub family: &'a str,
    /// The type, with the same numbers in both versions of remote write: 0 for unknown, 1 for a counter.
    pub kind: u32,
    /// The help; may be empty.
    pub help: &'a str,
    /// The unit; may be empty.
    pub unit: &'a str,
}

const HISTOGRAM: u32 = 3;
const GAUGE_HISTOGRAM: u32 = 4;
const SUMMARY: u32 = 5;

/// The suffixes that the series of a family of this type add to the family's name.
const fn suffixes_of(kind: u32) -> &'static [&'static str] {
    match kind {
        1 => &["_total", "_created"],
        HISTOGRAM => &["_bucket", "_sum", "_count", "_created"],
        GAUGE_HISTOGRAM => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
        SUMMARY => &["_sum", "_count", "_created"],
        6 => &["_info"],
        _ => &[],
    }
}

/// The name of the family of this type to which a series with this metric name belongs, by its ending; `None` for a name without
/// such an ending. The escaping `values` writes an underscore twice: `U__http_2e_seconds__sum` belongs to `U__http_2e_seconds`.
fn without_ending(name: &str, kind: u32) -> Option<&str> {
    let family = suffixes_of(kind).iter().find_map(|ending| name.strip_suffix(ending))?;
    if name.starts_with("U__") { family.strip_suffix('_') } else { Some(family) }
}

/// The name of the family of this type to which a series with this metric name belongs, where nothing else says it.
pub(crate) fn family_of(name: &str, kind: u32) -> &str {
    match kind {
        // In the text format, the name of a counter's family includes the suffix.
        HISTOGRAM | GAUGE_HISTOGRAM | SUMMARY => without_ending(name, kind).unwrap_or(name),
        _ => name,
    }
}

/// The metadata of one family in a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetadataEntry<'a> {
    metadata: FamilyMetadata<'a>,
    /// Whether the request had series of the family.
    had_series: bool,
    /// Whether the metadata is forwarded without series.
    is_allowed: bool,
    /// Whether another family, with other metadata, was given the same name.
    is_ambiguous: bool,
}

impl<'a> SeriesSet<'a> {
    /// Adds metadata; returns its number for [`set_last_metadata`](Self::set_last_metadata).
    pub(crate) fn add_metadata(&mut self, metadata: FamilyMetadata<'a>, limits: &DecodeLimits) -> Result<u32, Error> {
        if self.metadata.len() >= limits.series {
            return Err(Error::Limit { what: "entries of metadata", limit: limits.series });
        }
        self.charge(metadata.family.len() + metadata.help.len() + metadata.unit.len(), limits)?;
        self.metadata.push(MetadataEntry { metadata, had_series: false, is_allowed: false, is_ambiguous: false });
        Ok(self.metadata.len() as u32)
    }

    /// Sets the metadata of the series that was finished last.
    pub(crate) fn set_last_metadata(&mut self, number: u32) {
        if let Some(entry) = self.series.last_mut() {
            entry.metadata = number;
        }
    }

    /// Finds the metadata of the family of each series, by its name.
    pub(crate) fn find_metadata(&mut self) {
        let mut by_family = HashMap::with_capacity(self.metadata.len());
        for (entry, number) in self.metadata.iter().zip(1_u32..) {
            by_family.insert(entry.metadata.family, (number, entry.metadata.kind));
        }
        for index in 0..self.series.len() {
            let name = self.at(index).name();
            let ending_of = |(at, _)| {
                let family = name[..at].strip_suffix('_').filter(|_| name.starts_with("U__")).unwrap_or(&name[..at]);
                by_family.get(family).filter(|found| without_ending(name, found.1) == Some(family))
            };
            let found = by_family.get(name).or_else(|| name.rmatch_indices('_').next().and_then(ending_of));
            let Some(&(number, _)) = found else { continue };
            self.series[index].metadata = number;
            self.metadata[number as usize - 1].had_series = true;
        }
    }

    /// Decides about the metadata of families without series in the request: it is forwarded if `allows` returns `true` for the
    /// name. The metadata of a family with series is forwarded with those that are left.
    pub fn filter_metadata(&mut self, allows: impl Fn(&str) -> bool) {
        for entry in &mut self.metadata {
            let family = entry.metadata.family;
            entry.is_allowed = !entry.had_series && !family.is_empty() && allows(family);
        }
    }

    /// Gives the families other names, as their series got. Where families with different metadata get one name, that name is
    /// ambiguous; only metadata counts that is forwarded.
    pub fn rename_families(&mut self, rename: impl Fn(&'a str) -> &'a str) {
        let mut is_sent: Vec<bool> = self.metadata.iter().map(|entry| entry.is_allowed).collect();
        for series in &self.series {
            if let Some(is_sent) = (series.metadata as usize).checked_sub(1).and_then(|at| is_sent.get_mut(at)) {
                *is_sent = true;
            }
        }
        let (mut first, mut ambiguous) = (HashMap::new(), HashSet::new());
        for (entry, _) in self.metadata.iter_mut().zip(is_sent).filter(|(_, is_sent)| *is_sent) {
            let original = entry.metadata;
            entry.metadata.family = rename(original.family);
            let same = *first.entry(entry.metadata.family).or_insert(original);
            let is_same = FamilyMetadata { family: original.family, ..same } == original;
            if same.family != original.family && !is_same {
                ambiguous.insert(entry.metadata.family);
            }
        }
        for entry in &mut self.metadata {
            entry.is_ambiguous = ambiguous.contains(entry.metadata.family);
        }
    }

    /// Whether several families have the name of the family of the series at `index`, and different metadata.
    pub(crate) fn is_ambiguous(&self, index: usize) -> bool {
        let number = self.series[index].metadata as usize;
        number.checked_sub(1).and_then(|at| self.metadata.get(at)).is_some_and(|entry| entry.is_ambiguous)
    }

    /// The metadata of the series at `index`.
    #[must_use]
    #[inline]
    pub fn metadata_of(&self, index: usize) -> Option<&FamilyMetadata<'a>> {
        match self.series.get(index)?.metadata {
            0 => None,
            number => self.metadata.get(number as usize - 1).map(|entry| &entry.metadata),
        }
    }

    /// Whether there is any metadata.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        !self.metadata.is_empty()
    }

    /// The metadata that is forwarded without series.
    pub(crate) fn metadata_without_series(&self) -> impl Iterator<Item = &FamilyMetadata<'a>> {
        let is_sent = |entry: &&MetadataEntry<'_>| entry.is_allowed && !entry.is_ambiguous;
        self.metadata.iter().filter(is_sent).map(|entry| &entry.metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Arena, Label, MetricType, Points};

    #[test]
    fn a_series_has_the_metadata_of_its_family() {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let families =
            [("up", 2), ("http", 3), ("rpc", 5), ("requests", 1), ("build", 6), ("gauge", 2), ("http_count", 2)];
        for (family, kind) in families {
            let metadata = FamilyMetadata { family, kind, ..FamilyMetadata::default() };
            set.add_metadata(metadata, &DecodeLimits::default()).expect("few");
        }
        let series = [
            ("up", Some("up")),
            ("http_bucket", Some("http")),
            ("http_count", Some("http_count")),
            ("rpc_sum", Some("rpc")),
            ("rpc_bucket", None),
            ("requests_total", Some("requests")),
            ("build_info", Some("build")),
            ("gauge_count", None),
            ("_sum", None),
            ("", None),
        ];
        for (name, _) in series {
            set.push(&[Label::new("__name__", name)], MetricType::Untyped, Points::Absent);
        }
        set.find_metadata();
        for (index, (name, family)) in series.into_iter().enumerate() {
            assert_eq!(set.metadata_of(index).map(|metadata| metadata.family), family, "{name}");
        }
        // `gauge` has no series: whether its metadata goes on is for the caller to say.
        for (allows, expected) in [(true, &["gauge"][..]), (false, &[])] {
            set.filter_metadata(|_| allows);
            assert_eq!(set.metadata_without_series().map(|metadata| metadata.family).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_name_escaped_with_its_values_has_its_endings_escaped_too() {
        for (name, kind, family) in [
            ("http_sum", HISTOGRAM, "http"),
            ("http_total", 1, "http_total"),
            ("http__sum", SUMMARY, "http_"),
            ("U__http_2e_s__sum", HISTOGRAM, "U__http_2e_s"),
            ("U__http_2e_s__bucket", GAUGE_HISTOGRAM, "U__http_2e_s"),
            ("U__http_2e_sum", HISTOGRAM, "U__http_2e_sum"),
            ("U__http_2e_s__sum", 2, "U__http_2e_s__sum"),
        ] {
            assert_eq!(family_of(name, kind), family, "{name}");
        }
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let family = FamilyMetadata { family: "U__http_2e_s", kind: 1, ..FamilyMetadata::default() };
        set.add_metadata(family, &DecodeLimits::default()).expect("one");
        for name in ["U__http_2e_s__total", "U__http_2e_s_total"] {
            set.push(&[Label::new("__name__", name)], MetricType::Untyped, Points::Absent);
        }
        set.find_metadata();
        assert_eq!([0, 1].map(|index| set.metadata_of(index).is_some()), [true, false]);
    }

    #[test]
    fn families_of_one_name_are_ambiguous_where_they_differ() {
        fn renamed(families: &[(&'static str, u32)], series: &[&'static str], allows: bool) -> Vec<String> {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            for &(family, kind) in families {
                let metadata = FamilyMetadata { family, kind, ..FamilyMetadata::default() };
                set.add_metadata(metadata, &DecodeLimits::default()).expect("few");
            }
            for name in series {
                set.push(&[Label::new("__name__", name)], MetricType::Untyped, Points::Absent);
            }
            set.find_metadata();
            set.filter_metadata(|_| allows);
            set.rename_families(|name| arena.text().alloc_str(&name.replace('.', "_")));
            let of_series = (0..set.len()).filter(|&index| !set.is_ambiguous(index));
            let of_series = of_series.filter_map(|index| set.metadata_of(index));
            of_series.chain(set.metadata_without_series()).map(|one| format!("{} {}", one.family, one.kind)).collect()
        }
        assert_eq!(renamed(&[("a.b", 1), ("c", 2)], &["a.b"], true), ["a_b 1", "c 2"]);
        assert_eq!(renamed(&[("a.b", 1), ("c.d", 2)], &["a.b"], false), ["a_b 1"]);
        // Both of one type: it is told. Of different types, neither, except where only one is forwarded.
        assert_eq!(renamed(&[("a.b", 1), ("a_b", 1)], &["a.b", "a_b"], true), ["a_b 1", "a_b 1"]);
        assert_eq!(renamed(&[("a.b", 1), ("a_b", 2)], &["a.b", "a_b"], true), [""; 0]);
        assert_eq!(renamed(&[("a_b", 2), ("a.b", 1), ("c", 1)], &[], true), ["c 1"]);
        assert_eq!(renamed(&[("a_b", 2), ("a.b", 1)], &["a.b"], false), ["a_b 1"]);
    }

    #[test]
    fn the_limits_are_checked_for_metadata() {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let metadata = FamilyMetadata { family: "up", help: "0123456789", ..FamilyMetadata::default() };
        let limits = DecodeLimits { series: 2, text_bytes: 30, ..DecodeLimits::default() };
        assert_eq!(set.add_metadata(metadata, &limits), Ok(1));
        assert_eq!(set.add_metadata(metadata, &limits), Ok(2));
        assert_eq!(set.add_metadata(metadata, &limits), Err(Error::Limit { what: "entries of metadata", limit: 2 }));
        let limits = DecodeLimits { text_bytes: 30, ..DecodeLimits::default() };
        assert_eq!(set.add_metadata(metadata, &limits), Err(Error::Limit { what: "bytes in all labels", limit: 30 }));
    }
}
