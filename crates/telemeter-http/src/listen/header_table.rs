//! What HTTP/2 remembers of a peer's headers, from one request to the next.
//!
//! A peer may have 4,096 bytes of them remembered (RFC 7541, 4.1, with 32 for each entry), and what is remembered is a part
//! of the buffer that it came in: a path of four bytes keeps 16 KiB, so that 100 of them keep 1 to 2 MiB. We ask for a
//! table of no size. A peer that follows says so at the beginning of the first headers after its acknowledgement (RFC 7541,
//! 4.2), nothing is remembered any more, and the decoder refuses what would change that. Before, and of a peer that does not
//! follow, what may be kept is counted.

/// What the entries of one frame may keep: the buffer that it was read into, and the one that it was decompressed into.
const FRAME_BYTES: usize = 64 << 10;
/// Bytes that came may be kept this many times: as they came, and decompressed.
const RECEIVED_FACTOR: usize = 3;
/// No more entries than this fit into the table.
const MAX_ENTRIES: usize = 4096 / 32;
/// What is counted grows in steps of so many bytes.
const STEP_BYTES: usize = 32 << 10;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// At the beginning of a header block: the table has no size from here on.
const NO_TABLE: u8 = 0x20;

/// Follows the frames of a peer for as long as something of its headers may be remembered.
#[derive(Debug)]
pub(super) struct HeaderTable {
    next: Next,
    received_bytes: usize,
    /// Frames that held headers.
    frames: usize,
    acknowledged: bool,
    is_gone: bool,
}

/// What comes next.
#[derive(Debug)]
enum Next {
    /// The head of a frame, of which so much came.
    Head([u8; HEAD_BYTES], usize),
    /// So many bytes that say nothing here.
    Passed(usize),
    /// A header block after so many bytes; the frame has so many behind its first byte.
    Block { after: usize, rest: usize },
}

impl Next {
    const HEAD: Self = Self::Head([0; HEAD_BYTES], 0);

    fn passed(bytes: usize) -> Self {
        if bytes == 0 { Self::HEAD } else { Self::Passed(bytes) }
    }
}

impl HeaderTable {
    pub(super) const fn new() -> Self {
        Self { next: Next::Passed(PREFACE_BYTES), received_bytes: 0, frames: 0, acknowledged: false, is_gone: false }
    }

    /// Bytes came.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        self.received_bytes = self.received_bytes.saturating_add(bytes.len());
        while !self.is_gone && !bytes.is_empty() {
            match &mut self.next {
                Next::Head(head, have) => {
                    let more = bytes.len().min(HEAD_BYTES - *have);
                    head[*have..*have + more].copy_from_slice(&bytes[..more]);
                    *have += more;
                    bytes = &bytes[more..];
                    if *have == HEAD_BYTES {
                        let head = *head;
                        self.next = self.frame(head);
                    }
                }
                Next::Passed(left) => {
                    let passed = bytes.len().min(*left);
                    bytes = &bytes[passed..];
                    self.next = Next::passed(*left - passed);
                }
                Next::Block { after, rest } => {
                    let passed = bytes.len().min(*after);
                    *after -= passed;
                    bytes = &bytes[passed..];
                    if let Some(first) = bytes.first() {
                        self.is_gone = *first == NO_TABLE;
                        bytes = &bytes[1..];
                        self.next = Next::passed(*rest);
                    }
                }
            }
        }
    }

    fn frame(&mut self, [a, b, c, kind, flags, ..]: [u8; HEAD_BYTES]) -> Next {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            SETTINGS => self.acknowledged |= flags & ACK != 0,
            CONTINUATION => self.frames += 1,
            HEADERS => {
                self.frames += 1;
                let after = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
                if self.acknowledged && length > after {
                    return Next::Block { after, rest: length - after - 1 };
                }
            }
            _ => {}
        }
        Next::passed(length)
    }

    /// Whether nothing is remembered any more, and never will be.
    pub(super) const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// So much may be kept, beside the buffer that each connection has.
    pub(super) fn held_bytes(&self) -> usize {
        if self.is_gone {
            return 0;
        }
        let by_frames = self.frames.saturating_sub(1).min(MAX_ENTRIES) * FRAME_BYTES;
        by_frames.min(self.received_bytes.saturating_mul(RECEIVED_FACTOR)) / STEP_BYTES * STEP_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn headers(block: &[u8]) -> Vec<u8> {
        frame(HEADERS, 0x5, block)
    }

    fn acknowledgement() -> Vec<u8> {
        frame(SETTINGS, ACK, &[])
    }

    #[test]
    fn the_table_is_gone_once_the_peer_says_so_after_its_acknowledgement() {
        let padded = frame(HEADERS, 0x5 | PADDED, &[3, NO_TABLE, 0x82, 0, 0, 0]);
        let with_priority = frame(HEADERS, 0x5 | PRIORITY, &[0, 0, 0, 0, 16, NO_TABLE, 0x82]);
        let both = frame(HEADERS, 0x5 | PADDED | PRIORITY, &[1, 0, 0, 0, 0, 16, NO_TABLE, 0x82, 0]);
        let ack = acknowledgement();
        let settings = frame(SETTINGS, 0, &[0, 4, 0, 0, 0, 0]);
        #[rustfmt::skip]
        let cases: [(&str, Vec<Vec<u8>>, bool); 11] = [
            ("nothing yet",                   vec![],                                                              false),
            ("a follower",                    vec![settings.clone(), ack.clone(), headers(&[NO_TABLE, 0x82])],     true),
            ("before its acknowledgement",    vec![headers(&[NO_TABLE, 0x82]), ack.clone(), headers(&[0x82])],     false),
            ("settings are no acknowledgement", vec![settings, headers(&[NO_TABLE, 0x82])],                        false),
            ("a request on the way",          vec![headers(&[0x82]), ack.clone(), headers(&[NO_TABLE, 0x82])],     true),
            ("another size",                  vec![ack.clone(), headers(&[0x3f, 0, 0x82])],                        false),
            ("later",                         vec![ack.clone(), headers(&[0x82]), headers(&[NO_TABLE])],           true),
            ("padded",                        vec![ack.clone(), padded],                                           true),
            ("with a priority",               vec![ack.clone(), with_priority],                                    true),
            ("with both",                     vec![ack.clone(), both],                                             true),
            ("an empty block",                vec![ack, headers(&[]), frame(0, 1, &[NO_TABLE])],                   false),
        ];
        for (name, frames, expected) in cases {
            let bytes = [&[b'P'; PREFACE_BYTES][..], &frames.concat()].concat();
            for piece in [1, 2, 7, bytes.len()] {
                let mut table = HeaderTable::new();
                bytes.chunks(piece).for_each(|piece| table.receive(piece));
                assert_eq!(table.is_gone(), expected, "{name}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_may_be_kept_grows_with_frames_and_with_what_came() {
        let mut table = HeaderTable::new();
        table.receive(&[b'P'; PREFACE_BYTES]);
        table.receive(&headers(&[0x82]));
        table.receive(&frame(0, 0, &[0; 16_000]).repeat(20));
        assert_eq!(table.held_bytes(), 0, "one frame's buffer is the connection's own");
        table.receive(&headers(&[0x82]));
        assert_eq!(table.held_bytes(), FRAME_BYTES);
        table.receive(&headers(&[0x82]));
        assert_eq!(table.held_bytes(), 2 * FRAME_BYTES);
        for _ in 0..500 {
            table.receive(&[headers(&[0x82]), frame(0xfa, 0, &[0; 16_000])].concat());
        }
        assert_eq!(table.held_bytes(), MAX_ENTRIES * FRAME_BYTES);
        table.receive(&acknowledgement());
        table.receive(&headers(&[NO_TABLE]));
        assert_eq!(table.held_bytes(), 0);

        let mut table = HeaderTable::new();
        table.receive(&[b'P'; PREFACE_BYTES]);
        table.receive(&headers(&[0x82; 300]).repeat(100));
        assert!(table.held_bytes() <= 100 * 309 * RECEIVED_FACTOR, "many small ones stand in few buffers");
    }
}
