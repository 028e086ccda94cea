//! Formats numbers as Go, and so Prometheus, does.

/// Appends `value` as Go's `strconv.FormatFloat(value, 'g', -1, 64)`: the shortest digits that are parsed as the same value,
/// with an exponent if that is below -4 or above 5.
pub fn put_float(out: &mut impl Extend<u8>, value: f64) {
    let mut put = |bytes: &[u8]| out.extend(bytes.iter().copied());
    if value.is_nan() {
        return put(b"NaN");
    }
    if value.is_sign_negative() {
        put(b"-");
    }
    if value.is_infinite() {
        return put(if value > 0.0 { b"+Inf" } else { b"Inf" });
    }
    if value == 0.0 {
        return put(b"0");
    }
    let mut digits = [0; 24];
    let (count, exponent) = shortest(value.abs(), &mut digits);
    let digits = &digits[..count];
    match usize::try_from(exponent) {
        Ok(whole @ 0..=5) => {
            let (before, after) = digits.split_at(count.min(whole + 1));
            put(before);
            put(&b"000000"[..whole + 1 - before.len()]);
            if !after.is_empty() {
                put(b".");
                put(after);
            }
        }
        Err(_) if exponent >= -4 => {
            put(b"0.");
            put(&b"000"[..exponent.unsigned_abs() as usize - 1]);
            put(digits);
        }
        _ => {
            put(&digits[..1]);
            if count > 1 {
                put(b".");
                put(&digits[1..]);
            }
            put(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                put(b"0");
            }
            put(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
        }
    }
}

/// The shortest decimal digits of a positive, finite number, without zeros at either end, and the exponent of the first.
fn shortest(value: f64, digits: &mut [u8; 24]) -> (usize, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (mut count, mut first, mut point) = (0, None, None);
    for (index, byte) in mantissa.bytes().enumerate() {
        if byte == b'.' {
            point = Some(index);
        } else if byte != b'0' || first.is_some() {
            first.get_or_insert(index);
            digits[count] = byte;
            count += 1;
        }
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let (first, point) = (first.unwrap_or(0) as i32, point.unwrap_or(mantissa.len()) as i32);
    // The point itself is not a digit.
    let place = if first < point { point - 1 - first } else { point - first };
    (count, exponent + place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        put_float(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn writes_numbers_as_go_does() {
        fn check(value: f64, expected: &str) {
            assert_eq!(text(value), expected);
        }
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-3.5, "-3.5");
        check(100_000.0, "100000");
        check(123_456.75, "123456.75");
        check(1_000_000.0, "1e+06");
        check(1_234_567.0, "1.234567e+06");
        check(18_395_660_288.0, "1.8395660288e+10");
        check(1e21, "1e+21");
        check(0.0001, "0.0001");
        check(0.00012345, "0.00012345");
        check(0.00001, "1e-05");
        check(1.5e-10, "1.5e-10");
        check(0.1, "0.1");
        check(0.05, "0.05");
        check(1.692_000_000_000_068_6, "1.6920000000000686");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(value).parse::<f64>().expect("a number").to_bits(), bits);
        }
    }
}
