//! Decodes metrics from a file: the response of an exporter or of `/federate`, or an upload
//! before it is compressed.

use telemeter_wire::{
    DecodeLimits, Error, Label, SeriesSet,
    exposition::{self, ExpositionFormat},
    series::NAME_LABEL,
};

/// Practically no limits: the user chooses the input.
const LIMITS: DecodeLimits = DecodeLimits {
    series: usize::MAX,
    symbols: usize::MAX,
    labels: usize::MAX,
    text_bytes: 1 << 30,
    labels_per_series: usize::MAX,
    label_name_bytes: usize::MAX,
    label_value_bytes: usize::MAX,
};
/// How many bytes of the input are examined to detect its format.
const EXAMINED_BYTES: usize = 4096;

/// The metrics cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be read: {0}")]
pub struct MetricsError(#[from] Error);

/// Detects the format of an uncompressed body and adds its series to `set`. The body is delimited protobuf if it starts like
/// a message and its first 4,096 bytes contain a control character other than tab, LF and CR; else it is text.
///
/// # Errors
/// The body cannot be decoded in that format; the other one is not tried.
pub(crate) fn decode_detected<'a>(body: &'a [u8], set: &mut SeriesSet<'a>) -> Result<(), MetricsError> {
    let is_control = |byte: &u8| byte.is_ascii_control() && !b"\t\n\r".contains(byte);
    // The first field of the first message is its name, after the length of the message.
    let is_message = matches!(body, [_, 0x0a, ..] | [_, _, 0x0a, ..] | [_, _, _, 0x0a, ..]);
    let format = if is_message && body.iter().take(EXAMINED_BYTES).any(is_control) {
        ExpositionFormat::Delimited
    } else {
        ExpositionFormat::Text
    };
    Ok(exposition::decode(format, body, &LIMITS, set)?)
}

/// A series in the text format, without its value and without labels that have an empty value.
pub(crate) fn text(labels: &[Label<'_>]) -> String {
    let name = labels.iter().find(|label| label.name == NAME_LABEL).map_or("", |label| label.value);
    let pairs: Vec<String> = labels
        .iter()
        .filter(|label| label.name != NAME_LABEL && !label.value.is_empty())
        .map(|label| {
            let value = label.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{}=\"{value}\"", label.name)
        })
        .collect();
    if pairs.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(",")) }
}
