//! What `/upload` takes beyond what the Go server takes: the header of the answer of `/authorize` that says so, and its value.

use std::fmt;

/// The response header of `/authorize` that carries [`UploadAccepts`]. Programs that do not know it pass it over; a Go server does
/// not send it.
pub const UPLOAD_ACCEPTS_HEADER: &str = "telemeter-upload-accepts";

/// What a server takes on `/upload`. As text, words between commas: `native-histograms, utf8-names`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadAccepts {
    /// Native histograms. A Go server answers a whole upload with 500 for one.
    pub native_histograms: bool,
    /// Names outside the old alphabet. Behind a Go server stands a store that may refuse all for one.
    pub utf8_names: bool,
}

impl UploadAccepts {
    /// All that there is.
    pub const ALL: Self = Self { native_histograms: true, utf8_names: true };

    /// Reads the header's value. Words of a later version are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let has = |word: &str| text.split(',').any(|other| other.trim().eq_ignore_ascii_case(word));
        Self { native_histograms: has(NATIVE_HISTOGRAMS), utf8_names: has(UTF8_NAMES) }
    }
}

impl fmt::Display for UploadAccepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.native_histograms, NATIVE_HISTOGRAMS), (self.utf8_names, UTF8_NAMES)];
        let mut words = words.iter().filter(|(is_taken, _)| *is_taken).map(|(_, word)| word);
        f.write_str(words.next().unwrap_or(&""))?;
        words.try_for_each(|word| write!(f, ", {word}"))
    }
}

const NATIVE_HISTOGRAMS: &str = "native-histograms";
const UTF8_NAMES: &str = "utf8-names";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_among_others() {
        let check = |text: &str, native_histograms, utf8_names| {
            assert_eq!(UploadAccepts::parse(text), UploadAccepts { native_histograms, utf8_names }, "{text}");
        };
        check("", false, false);
        check("native-histograms", true, false);
        check("later, UTF8-Names ,more", false, true);
        check("native-histograms-2,utf8 names", false, false);
        for native_histograms in [false, true] {
            for utf8_names in [false, true] {
                let accepts = UploadAccepts { native_histograms, utf8_names };
                assert_eq!(UploadAccepts::parse(&accepts.to_string()), accepts);
            }
        }
        assert_eq!(UploadAccepts::ALL.to_string(), "native-histograms, utf8-names");
    }
}
