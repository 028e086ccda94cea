//! Quoted strings in rules: Go's escapes, parsed and written.

use std::fmt::{self, Write};

/// Parses the quoted string at the front of `text`: its value, and how many bytes it takes with its quotes.
///
/// # Errors
/// The offset in `text` at which parsing failed, and what is wrong there.
pub(crate) fn unquote(text: &str) -> Result<(String, usize), (usize, String)> {
    let Some(quote) = text.chars().next().filter(|char| matches!(char, '"' | '\'' | '`')) else {
        return Err((0, "expected a quoted text".to_owned()));
    };
    let unterminated = || (0, format!("a text in {quote} does not end"));
    if quote == '`' {
        let inner = &text[1..];
        let end = inner.find('`').ok_or_else(unterminated)?;
        return Ok((inner[..end].to_owned(), end + 2));
    }
    let mut value = Vec::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((offset, char)) = chars.next() {
        match char {
            '\n' => return Err(unterminated()),
            '\\' => {
                let (escaped, used) = escape(&text[offset + 1..], quote).map_err(|problem| (offset, problem))?;
                match escaped {
                    Escaped::Byte(byte) => value.push(byte),
                    Escaped::Char(char) => value.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                // Escapes are ASCII: each character is one byte.
                for _ in 0..used {
                    chars.next();
                }
            }
            char if char == quote => {
                let value = String::from_utf8(value)
                    .map_err(|_| (0, "its escapes give bytes that are not UTF-8".to_owned()))?;
                return Ok((value, offset + 1));
            }
            char => value.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(unterminated())
}

enum Escaped {
    Byte(u8),
    Char(char),
}

/// Parses the escape sequence after a backslash; also returns how many bytes it takes.
fn escape(text: &str, quote: char) -> Result<(Escaped, usize), String> {
    let Some(kind) = text.chars().next() else { return Err(r"a \ at the end".to_owned()) };
    let byte = |byte| Ok((Escaped::Byte(byte), 1));
    let number = |skip: usize, digits: usize, radix: u32| {
        text.get(skip..skip + digits)
            .filter(|text| text.chars().all(|digit| digit.is_digit(radix)))
            .and_then(|text| u32::from_str_radix(text, radix).ok())
            .ok_or_else(|| format!(r"\{kind} wants {digits} digits of base {radix}"))
            .map(|code| (code, skip + digits))
    };
    let (code, used) = match kind {
        'a' => return byte(0x07),
        'b' => return byte(0x08),
        'f' => return byte(0x0c),
        'n' => return byte(b'\n'),
        'r' => return byte(b'\r'),
        't' => return byte(b'\t'),
        'v' => return byte(0x0b),
        '\\' => return byte(b'\\'),
        '"' if quote == '"' => return byte(b'"'),
        '\'' if quote == '\'' => return byte(b'\''),
        '0'..='7' | 'x' => {
            let (code, used) = if kind == 'x' { number(1, 2, 16)? } else { number(0, 3, 8)? };
            let byte = u8::try_from(code).map_err(|_| format!(r"\{} is over a byte", &text[..used]))?;
            return Ok((Escaped::Byte(byte), used));
        }
        'u' => number(1, 4, 16)?,
        'U' => number(1, 8, 16)?,
        // As in Go: only the quote that encloses the string may be escaped.
        _ => return Err(format!(r"no such escape: \{kind}")),
    };
    let char = char::from_u32(code).ok_or_else(|| format!(r"\{} is no character", &text[..used]))?;
    Ok((Escaped::Char(char), used))
}

/// Writes `text` in double quotes, so that [`unquote`] reads the same text.
pub(crate) fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for char in text.chars() {
        match char {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            char if char.is_control() => write!(f, "\\u{:04x}", u32::from(char))?,
            char => f.write_char(char)?,
        }
    }
    f.write_char('"')
}
