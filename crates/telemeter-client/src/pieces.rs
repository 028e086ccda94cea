//! Cuts a body, as it arrives, into pieces that can be decoded on their own.
//!
//! The client never holds a whole scrape: what came is decoded, judged and compressed piece by piece, so that its
//! memory does not follow the size of the answer. A cut falls between families; one that is larger than a piece is
//! cut between its metrics. In the delimited format, what it says of itself (name and type) is put in front again; of the text
//! format, the decoder remembers the types from piece to piece.

use telemeter_wire::{Error, exposition::Format};

/// How many bytes to gather before a piece is cut off.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// What has arrived and is not decoded yet.
pub(crate) struct Pieces<'b> {
    format: Format,
    piece_bytes: usize,
    buffer: &'b mut Vec<u8>,
    /// Up to where the buffer holds whole messages, in the delimited format.
    whole: usize,
    /// The family that the buffer begins in the middle of, in the delimited format.
    family: Option<Family>,
}

/// A `MetricFamily` larger than a piece.
struct Family {
    /// Bytes of it that were not handed on yet.
    left: usize,
    /// Its name and its type.
    head: Vec<u8>,
    /// Whether metrics of it were handed on.
    begun: bool,
}

/// `MetricFamily.metric`, by number.
const METRIC: u64 = 4;

impl<'b> Pieces<'b> {
    /// Gathers into `buffer`, which is emptied first.
    pub(crate) fn new(format: Format, piece_bytes: usize, buffer: &'b mut Vec<u8>) -> Self {
        buffer.clear();
        Self { format, piece_bytes, buffer, whole: 0, family: None }
    }

    /// Takes what arrived; gives a piece to `decode` where there is enough for one.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut decode: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Room grows with what came, not by doubling: a large body would leave half of it unused.
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.buffer.reserve_exact(bytes.len().max(self.piece_bytes).max(self.buffer.len() / 4));
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < self.piece_bytes {
            return Ok(());
        }
        match self.format {
            Format::Text => self.cut_text(&mut decode),
            Format::Delimited => self.cut_delimited(&mut decode),
        }
    }

    /// Gives what is left to `decode`.
    pub(crate) fn finish(mut self, mut decode: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        if self.family.is_some() && !self.cut_family(&mut decode)? {
            return Err(Error::Protobuf("the body ends in the middle of a family"));
        }
        decode(self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn cut_text(&mut self, decode: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let Some(last_line) = self.buffer.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let lines = &self.buffer[..=last_line];
        let cut = family_starts(lines).filter(|at| *at > 0).last().unwrap_or(lines.len());
        decode(&self.buffer[..cut])?;
        self.buffer.drain(..cut);
        Ok(())
    }

    fn cut_delimited(&mut self, decode: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            if self.family.is_some() && !self.cut_family(decode)? {
                return Ok(());
            }
            let ahead = loop {
                match message(&self.buffer[self.whole..]) {
                    Some((length, bytes)) if bytes <= self.buffer.len() - self.whole - length => {
                        self.whole += length + bytes;
                    }
                    ahead => break ahead,
                }
            };
            if self.whole > 0 {
                decode(&self.buffer[..self.whole])?;
                self.buffer.drain(..self.whole);
                self.whole = 0;
            }
            match ahead {
                Some((length, bytes)) if bytes > self.piece_bytes => {
                    self.buffer.drain(..length);
                    self.family = Some(Family { left: bytes, head: Vec::new(), begun: false });
                }
                _ => return Ok(()),
            }
        }
    }

    /// Hands on the metrics of the family that are here, as a family of their own. Answers whether it has ended.
    fn cut_family(&mut self, decode: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<bool, Error> {
        let Some(family) = &mut self.family else { return Ok(true) };
        let here = &self.buffer[..family.left.min(self.buffer.len())];
        let (mut at, mut metrics) = (0, Vec::new());
        while let Some((number, bytes)) = field(&here[at..]) {
            let whole = &here[at..at + bytes];
            at += bytes;
            match number {
                METRIC => metrics.extend_from_slice(whole),
                1 | 3 if !family.begun && metrics.is_empty() => family.head.extend_from_slice(whole),
                1 | 3 => return Err(Error::Protobuf("a large family says its name or type behind its metrics")),
                _ => {}
            }
        }
        family.left -= at;
        let ended = family.left == 0;
        if !metrics.is_empty() {
            family.begun = true;
            let mut part = Vec::with_capacity(metrics.len() + family.head.len() + 10);
            put_varint(family.head.len() + metrics.len(), &mut part);
            part.extend_from_slice(&family.head);
            part.append(&mut metrics);
            decode(&part)?;
        }
        self.buffer.drain(..at);
        if ended {
            self.family = None;
        }
        Ok(ended)
    }
}

/// Where the comment lines that begin a family stand.
fn family_starts(lines: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    let mut in_header = false;
    lines.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        let header = line.starts_with(b"# TYPE ") || line.starts_with(b"# HELP ");
        let begins = header && !in_header;
        in_header = header;
        begins.then_some(start)
    })
}

/// The length of the message at the front: how many bytes it takes to say it, and what it says.
fn message(buffer: &[u8]) -> Option<(usize, usize)> {
    let (length, bytes) = varint(buffer)?;
    Some((bytes, usize::try_from(length).ok()?))
}

/// The number of the field at the front and its bytes, key included; `None` where it is not here in full.
fn field(buffer: &[u8]) -> Option<(u64, usize)> {
    let (key, bytes) = varint(buffer)?;
    let behind = &buffer[bytes..];
    let value = match key & 7 {
        0 => varint(behind)?.1,
        1 => 8,
        2 => {
            let (length, bytes) = message(behind)?;
            length.checked_add(bytes)?
        }
        5 => 4,
        _ => return None,
    };
    (value <= behind.len()).then_some((key >> 3, bytes + value))
}

/// A varint and how many bytes it takes; `None` where it is not here in full, or is none.
fn varint(buffer: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in buffer.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use telemeter_wire::{Arena, Limits, MetricType, SeriesSet, exposition};

    use super::*;

    /// Feeds `body` in chunks of `chunk` bytes and returns the pieces.
    fn cut(format: Format, body: &[u8], piece: usize, chunk: usize) -> Vec<Vec<u8>> {
        let (mut pieces, mut buffer) = (Vec::new(), b"left over".to_vec());
        let mut gather = Pieces::new(format, piece, &mut buffer);
        let mut take = |piece: &[u8]| {
            pieces.push(piece.to_vec());
            Ok(())
        };
        for part in body.chunks(chunk) {
            gather.push(part, &mut take).expect("nothing fails");
        }
        gather.finish(&mut take).expect("nothing fails");
        pieces
    }

    #[test]
    fn text_is_cut_between_families() {
        let body = b"# HELP a one\n# TYPE a gauge\na 1\na 2\n# TYPE b gauge\nb 1\nb 2\n# TYPE c gauge\nc 1\n";
        for chunk in [1, 3, 7, 20, 1000] {
            let pieces = cut(Format::Text, body, 60, chunk);
            assert_eq!(pieces.concat(), body, "chunks of {chunk}");
        }
        let pieces = cut(Format::Text, body, 60, 60);
        assert_eq!(pieces[0], b"# HELP a one\n# TYPE a gauge\na 1\na 2\n");
    }

    #[test]
    fn a_large_family_is_cut_between_lines() {
        let body = b"# TYPE a gauge\na 1\na 2\na 3\na 4\na 5\na 6\na 7\na 8\na 9\n";
        let pieces = cut(Format::Text, body, 20, 5);
        assert!(pieces.len() > 2);
        assert!(pieces.iter().all(|piece| piece.is_empty() || piece.ends_with(b"\n")));
        assert_eq!(pieces.concat(), body);
    }

    /// Decodes `body` in pieces, fed in chunks of `chunk` bytes: the types of its series, or what is wrong.
    fn decoded(body: &[u8], chunk: usize) -> Result<Vec<MetricType>, Error> {
        let (mut buffer, mut kinds, mut families) = (Vec::new(), Vec::new(), exposition::Families::default());
        let mut gather = Pieces::new(Format::Text, 20, &mut buffer);
        let mut decode = |piece: &[u8]| {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            exposition::decode_part(Format::Text, piece, &Limits::default(), &mut set, &mut families)?;
            kinds.extend(set.iter().map(|series| series.kind));
            Ok(())
        };
        body.chunks(chunk).try_for_each(|part| gather.push(part, &mut decode))?;
        gather.finish(&mut decode)?;
        Ok(kinds)
    }

    #[test]
    fn what_counts_for_the_whole_body_counts_in_every_piece() {
        for chunk in [1, 5, 100] {
            let large = b"# TYPE a gauge\na 1\na 2\na 3\n# TYPE b counter\nb 1\na 4\na 5\na 6\n";
            use MetricType::{Counter, Gauge};
            assert_eq!(
                decoded(large, chunk),
                Ok(vec![Gauge, Gauge, Gauge, Counter, Gauge, Gauge, Gauge]),
                "chunks of {chunk}"
            );
            let check = |body: &[u8], line: usize, reason: &'static str| {
                assert_eq!(decoded(body, chunk), Err(Error::Text { line, reason }), "chunks of {chunk}");
            };
            check(b"# TYPE a gauge\na 1\na 2\na 3\na oops\na 4\n", 5, "a value that is no number");
            check(
                b"# TYPE a gauge\na 1\na 2\na 3\na 4\na 5\n# TYPE a gauge\na 4\n",
                7,
                "a second TYPE line of one metric, or one behind its samples",
            );
        }
    }

    /// A field of bytes.
    fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        put_varint(content.len(), &mut out);
        [out, content.to_vec()].concat()
    }

    /// A family behind its length: a name, a type and metrics of these sizes.
    fn family(name: &str, metrics: &[usize]) -> Vec<u8> {
        let mut inner = [bytes_field(1, name.as_bytes()), vec![3 << 3, 3]].concat();
        inner.extend(metrics.iter().flat_map(|size| bytes_field(4, &vec![0xee; *size])));
        let mut out = Vec::new();
        put_varint(inner.len(), &mut out);
        [out, inner].concat()
    }

    #[test]
    fn protobuf_is_cut_between_families() {
        let body = [family("a", &[3]), family("b", &[20, 4]), family("c", &[]), family("d", &[30])].concat();
        for chunk in [1, 10, 1000] {
            let pieces = cut(Format::Delimited, &body, 50, chunk);
            assert_eq!(pieces.concat(), body, "chunks of {chunk}");
        }
        assert!(cut(Format::Delimited, &body, 50, 1).len() > 1);
    }

    #[test]
    fn a_large_family_is_cut_between_metrics_and_keeps_its_name_and_type() {
        let body = [family("a", &[3]), family("large", &[30, 200, 30, 30]), family("b", &[4])].concat();
        for chunk in [1, 7, 60] {
            let pieces = cut(Format::Delimited, &body, 60, chunk).concat();
            // Families that say the same of themselves, put together again.
            let (mut rest, mut sizes) = (&pieces[..], Vec::new());
            while let Some((length, bytes)) = message(rest) {
                let mut inner = &rest[length..length + bytes];
                rest = &rest[length + bytes..];
                let head = &family("large", &[])[1..];
                if let Some(metrics) = inner.strip_prefix(head) {
                    inner = metrics;
                    while let Some((number, bytes)) = field(inner) {
                        assert_eq!(number, METRIC);
                        sizes.push(bytes);
                        inner = &inner[bytes..];
                    }
                }
            }
            assert_eq!(sizes, [32, 203, 32, 32], "chunks of {chunk}");
            assert!(pieces.starts_with(&family("a", &[3])) && pieces.ends_with(&family("b", &[4])));
        }
    }

    #[test]
    fn a_large_family_that_breaks_off_is_an_error() {
        let body = family("large", &[30, 200]);
        let mut buffer = Vec::new();
        let mut gather = Pieces::new(Format::Delimited, 60, &mut buffer);
        gather.push(&body[..100], |_| Ok(())).expect("so far so good");
        assert_eq!(gather.finish(|_| Ok(())), Err(Error::Protobuf("the body ends in the middle of a family")));
    }

    #[test]
    fn what_is_no_message_is_left_to_the_decoder() {
        assert_eq!(cut(Format::Delimited, &[0xff; 100], 10, 10), [vec![0xff; 100]]);
        assert_eq!(cut(Format::Text, &[b'a'; 100], 10, 10), [vec![b'a'; 100]]);
        assert_eq!(cut(Format::Delimited, b"", 10, 10), [b""]);
    }
}
