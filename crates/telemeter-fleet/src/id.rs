//! Compact cluster IDs: a UUID, as most IDs are, takes 16 bytes; any other ID is kept in a table.

use std::fmt;

/// The ID of a cluster as its record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterKey {
    /// A UUID in its usual lower-case form.
    Uuid([u8; 16]),
    /// The slot of any other ID in the shard's table of names.
    Name(u32),
}

/// The positions of the hyphens in a UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// The bytes of a UUID in lower case with hyphens. `None` for every other spelling, so that two different IDs never become
/// the same key.
pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut uuid = [0; 16];
    let (mut at, mut filled) = (0, 0);
    while at < text.len() {
        if HYPHENS.contains(&at) {
            if text[at] != b'-' {
                return None;
            }
            at += 1;
            continue;
        }
        uuid[filled] = digit(text[at])? << 4 | digit(text[at + 1])?;
        filled += 1;
        at += 2;
    }
    Some(uuid)
}

/// Writes a UUID in lower case with hyphens.
pub(crate) fn write_uuid(uuid: &[u8; 16], out: &mut impl fmt::Write) -> fmt::Result {
    // Every list of clusters calls this: formatting byte by byte would take most of its time.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in uuid {
        if HYPHENS.contains(&at) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
        at += 2;
    }
    out.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_usual_form_is_a_uuid() {
        let usual = "01234567-89ab-cdef-0123-456789abcdef";
        let mut back = String::new();
        write_uuid(&parse_uuid(usual).unwrap(), &mut back).unwrap();
        assert_eq!(back, usual);
        for other in [
            "",
            "01234567-89AB-cdef-0123-456789abcdef",
            "0123456789abcdef0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdeg",
            "0123456-789ab-cdef-0123-456789abcdef",
            "01234567-89ab-cdef-0123-456789abcdef ",
            "01234567é89ab-cdef-0123-456789abcde",
        ] {
            assert_eq!(parse_uuid(other), None, "{other}");
        }
    }
}
