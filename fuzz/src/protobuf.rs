//! Mutates protobuf as a tree: a field goes, comes twice, changes places or has another value, and every length around it is
//! right again. Random bytes seldom get behind a length.

/// How deep messages are looked for in messages.
const MAX_DEPTH: usize = 6;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One message.
    Message,
    /// Messages, each behind its length.
    Delimited,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    number: u64,
    value: Value,
}

/// Mutates the first `size` bytes of `data`, and answers how many they are then: at most `max_size`. `bytes` mutates text, as
/// libFuzzer does; it takes and answers lengths in the same way.
pub fn mutate(
    framing: Framing,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    bytes: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut random = Random(u64::from(seed) << 1 | 1);
    let parsed = match framing {
        Framing::Message => message(&data[..size], 0),
        Framing::Delimited => delimited(&data[..size]),
    };
    // A quarter is as damaged as libFuzzer makes it.
    let Some(mut fields) = parsed.filter(|_| random.below(4) > 0) else { return bytes(data, size, max_size) };
    for _ in 0..=random.below(3) {
        change(&mut fields, &mut random, bytes);
    }
    let mut out = Vec::new();
    match framing {
        Framing::Message => write(&fields, &mut out),
        Framing::Delimited => fields.iter().for_each(|field| write_value(&field.value, &mut out)),
    }
    if out.len() > max_size.min(data.len()) {
        return bytes(data, size, max_size);
    }
    data[..out.len()].copy_from_slice(&out);
    out.len()
}

/// Changes one field somewhere in the tree.
fn change(fields: &mut Vec<Field>, random: &mut Random, bytes: fn(&mut [u8], usize, usize) -> usize) {
    let Some(at) = random.index(fields.len()) else { return };
    if let Value::Message(inner) = &mut fields[at].value
        && !inner.is_empty()
        && random.below(4) > 0
    {
        return change(inner, random, bytes);
    }
    match random.below(8) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[at].clone()),
        2 => {
            let other = random.index(fields.len()).unwrap_or(at);
            fields.swap(at, other);
        }
        3 => fields[at].number = 1 + random.below(20),
        4 => {
            let other = fields[random.index(fields.len()).unwrap_or(at)].value.clone();
            fields[at].value = other;
        }
        _ => change_value(&mut fields[at].value, random, bytes),
    }
}

fn change_value(value: &mut Value, random: &mut Random, bytes: fn(&mut [u8], usize, usize) -> usize) {
    match value {
        Value::Varint(number) => {
            *number = match random.below(5) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                2 => random.next() >> random.below(64),
                3 => 1_700_000_000_000 + random.below(1 << 20),
                _ => random.below(16),
            }
        }
        Value::Fixed64(fixed) => {
            let number = match random.below(5) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => 0.0,
                3 => f64::from_bits(random.next()),
                _ => random.below(1000) as f64 / 8.0,
            };
            *fixed = number.to_le_bytes();
        }
        Value::Fixed32(fixed) => *fixed = (random.next() as u32).to_le_bytes(),
        Value::Bytes(text) => {
            let (size, most) = (text.len(), text.len() + 16);
            text.resize(most, 0);
            let size = bytes(text, size, most);
            text.truncate(size);
        }
        Value::Message(fields) => {
            let mut text = Vec::new();
            write(fields, &mut text);
            *value = Value::Bytes(text);
            change_value(value, random, bytes);
        }
    }
}

/// The fields of a message; `None` for what is none.
fn message(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(fixed(&mut bytes)?),
            2 => {
                let text = text(&mut bytes)?;
                // References of remote write 2.0 and short texts read as messages, too: that is another way to change them.
                let inner = (depth < MAX_DEPTH && text.len() > 1).then(|| message(text, depth + 1)).flatten();
                inner.map_or_else(|| Value::Bytes(text.to_vec()), Value::Message)
            }
            5 => Value::Fixed32(fixed(&mut bytes)?),
            _ => return None,
        };
        fields.push(Field { number: key >> 3, value });
    }
    fields.iter().all(|field| (1..1 << 29).contains(&field.number)).then_some(fields)
}

fn delimited(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        fields.push(Field { number: 1, value: Value::Message(message(text(&mut bytes)?, 1)?) });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (fixed, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*fixed)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(text)
}

fn write(fields: &[Field], out: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let wire = match value {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) | Value::Message(_) => 2,
            Value::Fixed32(_) => 5,
        };
        put_varint(number << 3 | wire, out);
        write_value(value, out);
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Varint(number) => put_varint(*number, out),
        Value::Fixed64(fixed) => out.extend_from_slice(fixed),
        Value::Fixed32(fixed) => out.extend_from_slice(fixed),
        Value::Bytes(text) => {
            put_varint(text.len() as u64, out);
            out.extend_from_slice(text);
        }
        Value::Message(fields) => {
            let mut text = Vec::new();
            write(fields, &mut text);
            put_varint(text.len() as u64, out);
            out.extend_from_slice(&text);
        }
    }
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// `xorshift64`: libFuzzer gives a seed for each mutation.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }

    fn index(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.below(len as u64) as usize)
    }
}
