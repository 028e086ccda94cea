//! Parses numbers as Go does.

/// Parses a decimal float, `inf`, `infinity` (each with or without a sign) or `nan`, in lower or upper case. A number above
/// the range of a float is an error; one too small for it is zero.
///
/// Source: Go: `strconv.ParseFloat`, of which `expfmt` accepts neither hexadecimal numbers nor underscores.
pub(super) fn parse(text: &str) -> Result<f64, &'static str> {
    const NO_NUMBER: &str = "a value that is no number";
    let value: f64 = fast_float2::parse(text).map_err(|_| NO_NUMBER)?;
    if value.is_finite() {
        return Ok(value);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if value.is_nan() {
        return if text.eq_ignore_ascii_case("nan") { Ok(value) } else { Err(NO_NUMBER) };
    }
    let is_said = unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity");
    if is_said { Ok(value) } else { Err("a value over the range of a 64-bit float") }
}
