//! Sizes in bytes, as people write them.

/// The smallest memory limit that the server accepts.
const MIN_BYTES: usize = 32 << 20;

/// A number of bytes, or of KiB, MiB, GiB; as in Kubernetes the B may be left out.
pub(crate) fn parse(text: &str) -> Result<usize, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "Ki" => 10,
        "MiB" | "Mi" => 20,
        "GiB" | "Gi" => 30,
        _ => return Err("not a size: write 512MiB, 2GiB, or a number of bytes"),
    };
    let number: usize = number.parse().map_err(|_| "not a size: write 512MiB, 2GiB, or a number of bytes")?;
    let bytes = number.checked_mul(1 << shift).ok_or("more than there can be")?;
    if bytes < MIN_BYTES { Err("at least 32MiB") } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("33554432", 32 << 20),
            ("33554432B", 32 << 20),
            ("32768KiB", 32 << 20),
            ("512MiB", 512 << 20),
            ("512Mi", 512 << 20),
            ("2GiB", 2 << 30),
            ("2Gi", 2 << 30),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for wrong in ["", "MiB", "512MB", "512 MiB", "-1", "+64MiB", "1.5GiB", "31MiB", "99999999999GiB", "512mib"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
