//! Metrics as a person has them at hand: the answer of an exporter, of `/federate`, or an upload.

use telemeter_wire::{
    DecodeLimits, Error, Label, SeriesSet,
    exposition::{self, ExpositionFormat},
    series::NAME_LABEL,
};

/// Whoever gives us metrics by hand decides how many.
const LIMITS: DecodeLimits = DecodeLimits {
    series: usize::MAX,
    symbols: usize::MAX,
    labels: usize::MAX,
    text_bytes: 1 << 30,
    labels_per_series: usize::MAX,
    label_name_bytes: usize::MAX,
    label_value_bytes: usize::MAX,
};
/// How much of the input is looked at to tell its format.
const LOOKED_AT: usize = 4096;

/// Why metrics cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be read: {0}")]
pub struct MetricsError(#[from] Error);

/// Decodes text, or delimited protobuf where the bytes cannot be text.
pub(crate) fn decode<'a>(body: &'a [u8], set: &mut SeriesSet<'a>) -> Result<(), MetricsError> {
    let is_control = |byte: &u8| byte.is_ascii_control() && !b"\t\n\r".contains(byte);
    // The first field of the first message is its name, behind a length.
    let is_message = matches!(body, [_, 0x0a, ..] | [_, _, 0x0a, ..] | [_, _, _, 0x0a, ..]);
    let format = if is_message && body.iter().take(LOOKED_AT).any(is_control) {
        ExpositionFormat::Delimited
    } else {
        ExpositionFormat::Text
    };
    Ok(exposition::decode(format, body, &LIMITS, set)?)
}

/// A series as the text format writes it, without its value. Empty labels are none.
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
