//! What became of an upload's series: the header of the answer that says so, and its value.

use std::fmt;

/// The response header of `/upload` that carries [`UploadCounts`]. Programs that do not know it pass it over.
pub const UPLOAD_COUNTS_HEADER: &str = "telemeter-series";

/// How many series of one upload the server received, and what it did with them.
///
/// As text a dictionary of structured fields: `received=4, kept=1, filtered=3, duplicates=0`.
///
/// Source: RFC 9651, 3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadCounts {
    /// Series that came.
    pub received: u64,
    /// Series that were forwarded.
    pub kept: u64,
    /// Series that no rule of the whitelist allows.
    pub filtered: u64,
    /// Series that came more than once, of which the newest sample was kept.
    pub duplicates: u64,
}

impl UploadCounts {
    /// Reads the header's value; `None` where one of the four numbers is missing or none. What stands beside them, from a
    /// later version, is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut members = text.split(',').filter_map(|member| member.trim().split_once('='));
            // The last of a name counts.
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
    fn what_is_written_is_read() {
        let counts = UploadCounts { received: 4, kept: 1, filtered: 2, duplicates: 1 };
        assert_eq!(counts.to_string(), "received=4, kept=1, filtered=2, duplicates=1");
        assert_eq!(UploadCounts::parse(&counts.to_string()), Some(counts));
        let most = UploadCounts { received: u64::MAX, kept: u64::MAX, filtered: 0, duplicates: 0 };
        assert_eq!(UploadCounts::parse(&most.to_string()), Some(most));
    }

    #[test]
    fn what_others_may_write() {
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
