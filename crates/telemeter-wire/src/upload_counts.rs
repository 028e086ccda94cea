//! The response header of `/upload` with the counts of received, kept, filtered and duplicate series.

use std::fmt;

/// The response header of `/upload` with [`UploadCounts`]. Programs that do not know it ignore it.
pub const UPLOAD_COUNTS_HEADER: &str = "telemeter-series";

/// The number of series of one upload, and what the server did with them.
///
/// The text form is a dictionary of structured fields: `received=4, kept=1, filtered=3, duplicates=0`.
///
/// Source: RFC 9651, 3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadCounts {
    /// Series in the body.
    pub received: u64,
    /// Series that were forwarded.
    pub kept: u64,
    /// Series that were dropped because no rule of the whitelist allows them.
    pub filtered: u64,
    /// Series that were dropped because another one with the same labels has a newer sample.
    pub duplicates: u64,
}

impl UploadCounts {
    /// Parses the value of the header; `None` where one of the four numbers is missing or not a number. Other members, of a
    /// later version, are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut members = text.split(',').filter_map(|member| member.trim().split_once('='));
            // Of several members with one name, the last counts.
            members.rfind(|(key, _)| *key == name)?.1.parse().ok()
        };
        Some(Self {
            received: number("received")?,
            kept: number("kept")?,
            filtered: number("filtered")?,
            duplicates: number("duplicates")?,
        })
    }
}

impl fmt::Display for UploadCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, kept, filtered, duplicates } = self;
        write!(f, "received={received}, kept={kept}, filtered={filtered}, duplicates={duplicates}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_parsed_as_they_were_written() {
        let counts = UploadCounts { received: 4, kept: 1, filtered: 2, duplicates: 1 };
        assert_eq!(counts.to_string(), "received=4, kept=1, filtered=2, duplicates=1");
        assert_eq!(UploadCounts::parse(&counts.to_string()), Some(counts));
        let most = UploadCounts { received: u64::MAX, kept: u64::MAX, filtered: 0, duplicates: 0 };
        assert_eq!(UploadCounts::parse(&most.to_string()), Some(most));
    }

    #[test]
    fn other_forms_of_the_header() {
        let counts = UploadCounts { received: 4, kept: 1, filtered: 3, duplicates: 0 };
        for (text, expected) in [
            ("received=4,kept=1,filtered=3,duplicates=0", Some(counts)),
            ("duplicates=0, later=\"a\", kept=1,\treceived=4 ,filtered=3", Some(counts)),
            ("kept=9, received=4, kept=1, filtered=3, duplicates=0", Some(counts)),
            ("received=4, kept=1, filtered=3", None),
            ("received=4, kept=-1, filtered=3, duplicates=0", None),
            ("received=4, kept=1.0, filtered=3, duplicates=0", None),
            ("", None),
        ] {
            assert_eq!(UploadCounts::parse(text), expected, "{text}");
        }
    }
}
