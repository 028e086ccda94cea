//! A parser for the fields of a header block (RFC 7541, 6), which finds those that the header table keeps together with
//! the buffer that they were received in.

/// The indexes of `:authority`, `:method`, `:path` and `:scheme` in the static table (RFC 7541, A).
const PSEUDO: std::ops::RangeInclusive<usize> = 1..=7;
/// The first index of the dynamic table of a connection, which may contain the same names.
const FIRST_DYNAMIC: usize = 62;

/// Parses header blocks, one after the other, in pieces.
#[derive(Debug)]
pub(super) struct HeaderBlockReader(BlockState);

#[derive(Clone, Copy, Debug)]
enum BlockState {
    /// The first byte of a field is next.
    Field,
    /// More bytes of an integer are next; `value` is its value so far.
    Number { value: usize, shift: u32, of: HpackInteger },
    /// The length of a string is next.
    Length(TextState),
    /// The number of bytes of a string that are next.
    Text { left: usize, of: TextState },
}

/// The meaning of an integer.
#[derive(Clone, Copy, Debug)]
enum HpackInteger {
    /// A field that is in a table already, or the size of the table: no string follows.
    Whole,
    /// The index of a name; whether its field is added to the table.
    Name {
        remembered: bool,
    },
    Length(TextState),
}

#[derive(Clone, Copy, Debug)]
enum TextState {
    /// A name; whether its field is added to the table, and whether the string is compressed.
    Name {
        remembered: bool,
        compressed: bool,
    },
    Value,
}

impl HeaderBlockReader {
    pub(super) const fn new() -> Self {
        Self(BlockState::Field)
    }

    /// Parses the next piece; returns whether a field in it is kept together with its buffer.
    pub(super) fn keeps(&mut self, mut bytes: &[u8]) -> bool {
        let mut keeps = false;
        while let Some((&byte, rest)) = bytes.split_first() {
            let mut read = rest;
            self.0 = match self.0 {
                BlockState::Field => match byte {
                    0x80.. => number(byte, 7, HpackInteger::Whole, &mut keeps),
                    0x40.. => number(byte, 6, HpackInteger::Name { remembered: true }, &mut keeps),
                    0x20.. => number(byte, 5, HpackInteger::Whole, &mut keeps),
                    _ => number(byte, 4, HpackInteger::Name { remembered: false }, &mut keeps),
                },
                BlockState::Number { value, shift, of } => {
                    let value = value.saturating_add(usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX));
                    if byte & 0x80 == 0 {
                        after(value, of, &mut keeps)
                    } else {
                        BlockState::Number { value, shift: shift.saturating_add(7), of }
                    }
                }
                BlockState::Length(text) => {
                    let text = match text {
                        TextState::Name { remembered, .. } => {
                            TextState::Name { remembered, compressed: byte & 0x80 != 0 }
                        }
                        TextState::Value => TextState::Value,
                    };
                    number(byte, 7, HpackInteger::Length(text), &mut keeps)
                }
                BlockState::Text { left, of } => {
                    if let TextState::Name { remembered: true, compressed } = of {
                        // The name of a pseudo-header begins with a colon, which cannot be seen in a compressed name.
                        keeps |= compressed || byte == b':';
                    }
                    let passed = bytes.len().min(left);
                    read = &bytes[passed..];
                    let of = match of {
                        TextState::Name { .. } => TextState::Name { remembered: false, compressed: false },
                        TextState::Value => TextState::Value,
                    };
                    if passed < left { BlockState::Text { left: left - passed, of } } else { behind(of) }
                }
            };
            bytes = read;
        }
        keeps
    }
}

/// Parses an integer that begins in the last bits of a byte (RFC 7541, 5.1).
fn number(byte: u8, bits: u32, of: HpackInteger, keeps: &mut bool) -> BlockState {
    let most = (1_usize << bits) - 1;
    match usize::from(byte) & most {
        value if value == most => BlockState::Number { value, shift: 0, of },
        value => after(value, of, keeps),
    }
}

/// What follows an integer of this meaning. Sets `keeps` where the integer is the index of a name whose field the
/// header table keeps together with its buffer.
fn after(value: usize, of: HpackInteger, keeps: &mut bool) -> BlockState {
    match of {
        HpackInteger::Whole => BlockState::Field,
        HpackInteger::Name { remembered } if value == 0 => {
            BlockState::Length(TextState::Name { remembered, compressed: false })
        }
        HpackInteger::Name { remembered } => {
            *keeps |= remembered && (PSEUDO.contains(&value) || value >= FIRST_DYNAMIC);
            BlockState::Length(TextState::Value)
        }
        HpackInteger::Length(of) if value == 0 => behind(of),
        HpackInteger::Length(of) => BlockState::Text { left: value, of },
    }
}

fn behind(text: TextState) -> BlockState {
    match text {
        TextState::Name { .. } => BlockState::Length(TextState::Value),
        TextState::Value => BlockState::Field,
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
                let mut reader = HeaderBlockReader::new();
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
