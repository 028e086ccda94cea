//! Formats counts, sizes and text from outside for people, on pages, in logs and in a terminal.

/// Formats a count in groups of three digits: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a size in bytes: `812 B`, `3.4 MiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = number as f64;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && size < 99.95 && size.fract() != 0.0);
    format!("{size:.decimals$} {}", UNITS[unit])
}

/// Whether a character would break a line, control the terminal that shows it, or make two texts look alike: control
/// characters, line and paragraph separators, marks of writing direction, and zero-width characters.
#[must_use]
pub fn must_escape(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Formats text from outside for one line of a terminal: each character that [`must_escape`] is written as `\n`,
/// `\u{1b}` and the like.
#[must_use]
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if must_escape(character) { safe.extend(character.escape_default()) } else { safe.push(character) }
    }
    safe
}
