//! What `/upload` takes beyond what the Go server takes: the header of the answer of `/authorize` that says so.

/// The response header of `/authorize` that lists what `/upload` of this server takes beside samples. Programs that do not know
/// it pass it over; a Go server does not send it, and answers a whole upload with 500 for one native histogram.
pub const UPLOAD_ACCEPTS_HEADER: &str = "telemeter-upload-accepts";

/// The word of [`UPLOAD_ACCEPTS_HEADER`] for native histograms.
pub const ACCEPTS_NATIVE_HISTOGRAMS: &str = "native-histograms";

/// Whether a value of [`UPLOAD_ACCEPTS_HEADER`], words between commas, has native histograms among them.
#[must_use]
pub fn accepts_native_histograms(value: &str) -> bool {
    value.split(',').any(|word| word.trim().eq_ignore_ascii_case(ACCEPTS_NATIVE_HISTOGRAMS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_among_others_is_found() {
        for (value, expected) in [
            ("", false),
            ("native-histograms", true),
            ("later, Native-Histograms ,more", true),
            ("native-histograms-2", false),
            ("native histograms", false),
        ] {
            assert_eq!(accepts_native_histograms(value), expected, "{value}");
        }
    }
}
