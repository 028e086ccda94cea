//! The response header of `/authorize` with the features of `/upload` that the Go server does not have.

/// The response header of `/authorize` that lists what `/upload` of this server accepts besides samples. Programs that do not
/// know it ignore it. A Go server does not send it, and answers an upload with one native histogram with 500.
pub const UPLOAD_ACCEPTS_HEADER: &str = "telemeter-upload-accepts";

/// The word for native histograms in [`UPLOAD_ACCEPTS_HEADER`].
pub const ACCEPTS_NATIVE_HISTOGRAMS: &str = "native-histograms";

/// Whether a value of [`UPLOAD_ACCEPTS_HEADER`], a list of words separated by commas, includes native histograms.
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
