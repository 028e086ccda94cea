//! The fields of a header block (RFC 7541, 6), as far as it takes to see which of them are to be remembered and keep the
//! buffer that they came in.

/// Of the static table (RFC 7541, A): `:authority`, `:method`, `:path`, `:scheme`.
const PSEUDO: std::ops::RangeInclusive<usize> = 1..=7;
/// Names from here on are of the table of the connection: they may be one of those.
const FIRST_DYNAMIC: usize = 62;

/// Reads one header block after the other, in pieces.
#[derive(Debug)]
pub(super) struct Block(Next);

#[derive(Clone, Copy, Debug)]
enum Next {
    /// The first byte of a field.
    Field,
    /// More bytes of a number, of which so much is known.
    Number { value: usize, shift: u32, of: Number },
    /// The length of a text.
    Length(Text),
    /// So many bytes of a text.
    Text { left: usize, of: Text },
}

/// What a number says.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// Nothing of interest: a known field, the size of the table.
    Whole,
    /// The index of a name; whether its field is to be remembered.
    Name {
        remembered: bool,
    },
    Length(Text),
}

#[derive(Clone, Copy, Debug)]
enum Text {
    /// A name; whether its field is to be remembered, and whether the text is compressed.
    Name {
        remembered: bool,
        compressed: bool,
    },
    Value,
}

impl Block {
    pub(super) const fn new() -> Self {
        Self(Next::Field)
    }

    /// Reads the next piece: whether something of it is remembered that keeps its buffer.
    pub(super) fn keeps(&mut self, mut bytes: &[u8]) -> bool {
        let mut keeps = false;
        while let Some((&byte, rest)) = bytes.split_first() {
            let mut read = rest;
            self.0 = match self.0 {
                Next::Field => match byte {
                    0x80.. => number(byte, 7, Number::Whole, &mut keeps),
                    0x40.. => number(byte, 6, Number::Name { remembered: true }, &mut keeps),
                    0x20.. => number(byte, 5, Number::Whole, &mut keeps),
                    _ => number(byte, 4, Number::Name { remembered: false }, &mut keeps),
                },
                Next::Number { value, shift, of } => {
                    let value = value.saturating_add(usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX));
                    if byte & 0x80 == 0 {
                        after(value, of, &mut keeps)
                    } else {
                        Next::Number { value, shift: shift.saturating_add(7), of }
                    }
                }
                Next::Length(text) => {
                    let text = match text {
                        Text::Name { remembered, .. } => Text::Name { remembered, compressed: byte & 0x80 != 0 },
                        Text::Value => Text::Value,
                    };
                    number(byte, 7, Number::Length(text), &mut keeps)
                }
                Next::Text { left, of } => {
                    if let Text::Name { remembered: true, compressed } = of {
                        // The name of a pseudo-header begins with a colon; of a compressed one that is not seen.
                        keeps |= compressed || byte == b':';
                    }
                    let passed = bytes.len().min(left);
                    read = &bytes[passed..];
                    let of = match of {
                        Text::Name { .. } => Text::Name { remembered: false, compressed: false },
                        Text::Value => Text::Value,
                    };
                    if passed < left { Next::Text { left: left - passed, of } } else { behind(of) }
                }
            };
            bytes = read;
        }
        keeps
    }
}

/// A number that begins in the last bits of a byte (RFC 7541, 5.1).
fn number(byte: u8, bits: u32, of: Number, keeps: &mut bool) -> Next {
    let most = (1_usize << bits) - 1;
    match usize::from(byte) & most {
        value if value == most => Next::Number { value, shift: 0, of },
        value => after(value, of, keeps),
    }
}

fn after(value: usize, of: Number, keeps: &mut bool) -> Next {
    match of {
        Number::Whole => Next::Field,
        Number::Name { remembered } if value == 0 => Next::Length(Text::Name { remembered, compressed: false }),
        Number::Name { remembered } => {
            *keeps |= remembered && (PSEUDO.contains(&value) || value >= FIRST_DYNAMIC);
            Next::Length(Text::Value)
        }
        Number::Length(of) if value == 0 => behind(of),
        Number::Length(of) => Next::Text { left: value, of },
    }
}

fn behind(text: Text) -> Next {
    match text {
        Text::Name { .. } => Next::Length(Text::Value),
        Text::Value => Next::Field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_its_buffer() {
        let long = [&[0x7f, 0x99, 0x01][..], &[0x44; 280]].concat();
        let check = |name: &str, block: &[u8], expected: bool| {
            for piece in [1, 2, 3, 5, block.len().max(1)] {
                let mut reader = Block::new();
                let mut keeps = false;
                block.chunks(piece).for_each(|piece| keeps |= reader.keeps(piece));
                assert_eq!(keeps, expected, "{name}, in pieces of {piece}");
            }
        };
        check("nothing", &[], false);
        check("known fields", &[0x82, 0x87, 0xbe, 0xff, 0x80, 0x01], false);
        check("a path", &[0x44, 2, b'/', b'x'], true);
        check("an authority", &[0x41, 1, b'x'], true);
        check("a path, compressed", &[0x44, 0x82, 0x63, 0x01], true);
        check("a path that is not remembered", &[0x04, 2, b'/', b'x'], false);
        check("a path that is never to be remembered", &[0x14, 2, b'/', b'x'], false);
        check("another field", &[0x5c, 1, b'7'], false);
        check("the last of the static table", &[0x7d, 1, b'x'], false);
        check("a name of the table", &[0x7e, 1, b'x'], true);
        check("a name further back", &[0x7f, 0x00, 1, b'x'], true);
        check("a new name", &[0x40, 1, b'a', 1, b'b'], false);
        check("a pseudo-header's name", &[0x40, 5, b':', b'p', b'a', b't', b'h', 1, b'/'], true);
        check("a new name, compressed", &[0x40, 0x81, 0x1f, 1, b'b'], true);
        check("a new name that is not remembered", &[0x00, 5, b':', b'p', b'a', b't', b'h', 1, b'/'], false);
        check("empty texts", &[0x40, 0, 0, 0x00, 0, 0, 0x82], false);
        check("a path after empty texts", &[0x40, 0, 0, 0x44, 1, b'/'], true);
        check("a size", &[0x20, 0x3f, 0xe1, 0x1f, 0x82], false);
        check("a path after a size", &[0x3f, 0xe1, 0x1f, 0x44, 1, b'/'], true);
        check("what looks like one in a text", &[&[0x00, 1, b'a'][..], &long].concat(), false);
        check("one after a long text", &[&[0x00, 1, b'a'][..], &long, &[0x44, 1, b'/']].concat(), true);
        check("a number without end", &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false);
    }
}
