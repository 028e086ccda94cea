//! The metadata of metric families in remote write: type, help and unit.

use hashbrown::HashMap;

use super::SeriesSet;
use crate::error::{DecodeLimits, Error};

/// The type, help and unit of a metric family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyMetadata<'a> {
    /// The name of the family. Empty if the metadata came with a series (2.0), which then has the name.
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

impl<'a> FamilyMetadata<'a> {
    /// The name of the family to which a series with the metric name `name` belongs.
    #[must_use]
    pub fn family_of(&self, name: &'a str) -> &'a str {
        if !self.family.is_empty() {
            return self.family;
        }
        match self.kind {
            // In the text format, the name of a counter's family includes the suffix.
            HISTOGRAM | GAUGE_HISTOGRAM | SUMMARY => {
                suffixes_of(self.kind).iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
            }
            _ => name,
        }
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
}

impl<'a> SeriesSet<'a> {
    /// Adds metadata; returns its number for [`set_last_metadata`](Self::refer_last).
    pub(crate) fn add_metadata(&mut self, metadata: FamilyMetadata<'a>, limits: &DecodeLimits) -> Result<u32, Error> {
        if self.metadata.len() >= limits.series {
            return Err(Error::Limit { what: "entries of metadata", limit: limits.series });
        }
        self.charge(metadata.family.len() + metadata.help.len() + metadata.unit.len(), limits)?;
        self.metadata.push(MetadataEntry { metadata, had_series: false, is_allowed: false });
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
            let ending_of =
                |(at, _)| by_family.get(&name[..at]).filter(|found| suffixes_of(found.1).contains(&&name[at..]));
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
        self.metadata.iter().filter(|entry| entry.is_allowed).map(|entry| &entry.metadata)
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
