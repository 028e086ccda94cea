//! Counts the memory of the HTTP/2 header table (HPACK), which keeps a peer's header fields from one request to the
//! next.
//!
//! A peer may have 4,096 bytes of header fields kept (RFC 7541, 4.1, with 32 for each entry). A kept path, authority or
//! scheme is a slice of the buffer that it was received in: four bytes can keep a buffer of 16 KiB, so that 100 of them
//! keep 1 to 2 MiB. Other fields are copied. We ask for a table of size 0. A peer that follows announces this at the
//! start of the first header block after its acknowledgement (RFC 7541, 4.2); then no field is kept any more, and the
//! decoder refuses a block that would change that. Before that, and for a peer that does not follow, the memory that
//! may be kept is counted by the frames that add such an entry. A peer that sends the same path again and again adds no
//! such entry.

mod block;

use self::block::HeaderBlockReader;

/// The memory that the entries of one frame may keep: the buffer that the frame was read into, and the buffer that it
/// was decompressed into.
const FRAME_BYTES: usize = 64 << 10;
/// Received bytes may be kept this many times: as received, and decompressed.
const RECEIVED_FACTOR: usize = 3;
/// The most entries that fit into the table.
const MAX_ENTRIES: usize = 4096 / 32;
/// The count grows in steps of this many bytes.
const STEP_BYTES: usize = 32 << 10;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The first byte of a header block which sets the size of the table to 0 from here on.
const NO_TABLE: u8 = 0x20;

/// Parses the frames of a peer for as long as its header fields may be kept.
#[derive(Debug)]
pub(super) struct HeaderTable {
    next: FrameState,
    block: HeaderBlockReader,
    received_bytes: usize,
    /// The number of frames with a kept field that keeps their buffer.
    frames: usize,
    acknowledged: bool,
    is_gone: bool,
}

/// The part of a frame that is received next.
#[derive(Debug)]
enum FrameState {
    /// The header of a frame, and the number of its bytes that were received.
    Head([u8; HEAD_BYTES], usize),
    /// The number of bytes that are skipped.
    Passed(usize),
    /// The byte with the length of the padding at the end of a HEADERS frame; the lengths of its priority field and of
    /// the rest.
    Padding { priority: usize, rest: usize },
    /// A fragment of a header block, with the number of bytes before and after it; whether it is the first one, and
    /// whether it keeps its buffer.
    Block { before: usize, left: usize, after: usize, is_first: bool, is_kept: bool },
}

impl FrameState {
    const HEAD: Self = Self::Head([0; HEAD_BYTES], 0);

    fn passed(bytes: usize) -> Self {
        if bytes == 0 { Self::HEAD } else { Self::Passed(bytes) }
    }

    fn block(before: usize, left: usize, after: usize, is_first: bool) -> Self {
        if left == 0 {
            return Self::passed(before + after);
        }
        Self::Block { before, left, after, is_first, is_kept: false }
    }
}

impl HeaderTable {
    pub(super) const fn new() -> Self {
        Self {
            next: FrameState::Passed(PREFACE_BYTES),
            block: HeaderBlockReader::new(),
            received_bytes: 0,
            frames: 0,
            acknowledged: false,
            is_gone: false,
        }
    }

    /// Parses received bytes, and counts those, and the frames that keep their buffer. Does nothing once no field is
    /// kept any more.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        self.received_bytes = self.received_bytes.saturating_add(bytes.len());
        while !self.is_gone && !bytes.is_empty() {
            match &mut self.next {
                FrameState::Head(head, have) => {
                    let more = bytes.len().min(HEAD_BYTES - *have);
                    head[*have..*have + more].copy_from_slice(&bytes[..more]);
                    *have += more;
                    bytes = &bytes[more..];
                    if *have == HEAD_BYTES {
                        let head = *head;
                        self.next = self.frame(head);
                    }
                }
                FrameState::Passed(left) => {
                    let passed = bytes.len().min(*left);
                    bytes = &bytes[passed..];
                    self.next = FrameState::passed(*left - passed);
                }
                FrameState::Padding { priority, rest } => {
                    let (before, padding) = (*priority, usize::from(bytes[0]));
                    let left = rest.saturating_sub(before + padding);
                    let after = *rest - before.min(*rest) - left;
                    self.next = FrameState::block(before.min(*rest), left, after, true);
                    bytes = &bytes[1..];
                }
                FrameState::Block { before: before @ 1.., .. } => {
                    let passed = bytes.len().min(*before);
                    *before -= passed;
                    bytes = &bytes[passed..];
                }
                FrameState::Block { left, after, is_first, is_kept, .. } => {
                    if std::mem::take(is_first) {
                        self.block = HeaderBlockReader::new();
                        self.is_gone = self.acknowledged && bytes[0] == NO_TABLE;
                    }
                    let part = bytes.len().min(*left);
                    if self.block.keeps(&bytes[..part]) && !std::mem::replace(is_kept, true) {
                        self.frames += 1;
                    }
                    *left -= part;
                    bytes = &bytes[part..];
                    if *left == 0 {
                        self.next = FrameState::passed(*after);
                    }
                }
            }
        }
    }

    /// What follows the header of a frame: a block of header fields, or bytes that are skipped. An acknowledgement of
    /// our settings is remembered, since from then on a peer that follows keeps no fields.
    fn frame(&mut self, [a, b, c, kind, flags, ..]: [u8; HEAD_BYTES]) -> FrameState {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            SETTINGS => self.acknowledged |= flags & ACK != 0,
            CONTINUATION => return FrameState::block(0, length, 0, false),
            HEADERS => {
                let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
                return match length.checked_sub(1) {
                    Some(rest) if flags & PADDED != 0 => FrameState::Padding { priority, rest },
                    _ => FrameState::block(priority.min(length), length.saturating_sub(priority), 0, true),
                };
            }
            _ => {}
        }
        FrameState::passed(length)
    }

    /// Whether no field is kept any more, and none will be.
    pub(super) const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// The bytes that may be kept in addition to the buffer of the connection.
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

    /// A request with a path that is to be kept.
    fn new_path() -> Vec<u8> {
        headers(&[0x82, 0x87, 0x44, 2, b'/', b'x'])
    }

    #[test]
    fn what_may_be_kept_grows_with_frames_and_with_what_came() {
        let mut table = HeaderTable::new();
        table.receive(&[b'P'; PREFACE_BYTES]);
        table.receive(&new_path());
        table.receive(&frame(0, 0, &[0; 16_000]).repeat(20));
        assert_eq!(table.held_bytes(), 0, "one frame's buffer is the connection's own");
        table.receive(&headers(&[0x82, 0xbe, 0x5c, 3, b'1', b'2', b'3']).repeat(1000));
        assert_eq!(table.held_bytes(), 0, "what is known is not remembered anew, and other fields are copied");
        table.receive(&new_path());
        assert_eq!(table.held_bytes(), FRAME_BYTES);
        let mut continued = frame(HEADERS, 0, &[0x82]);
        continued.extend(frame(CONTINUATION, 0, &[0x44, 200]));
        continued.extend(frame(CONTINUATION, 0x4, &[[b'/'; 200].as_slice(), &[0x44, 1, b'/']].concat()));
        table.receive(&continued);
        assert_eq!(table.held_bytes(), 3 * FRAME_BYTES, "two of these three frames");
        let padded = frame(HEADERS, 0x5 | PADDED, &[3, 0x82, 0x44, 1, b'/', 0x44, 1, b'/']);
        table.receive(&padded);
        assert_eq!(table.held_bytes(), 4 * FRAME_BYTES);
        for _ in 0..500 {
            table.receive(&[new_path(), frame(0xfa, 0, &[0; 16_000])].concat());
        }
        assert_eq!(table.held_bytes(), MAX_ENTRIES * FRAME_BYTES);
        table.receive(&acknowledgement());
        table.receive(&headers(&[NO_TABLE]));
        assert_eq!(table.held_bytes(), 0);

        let mut table = HeaderTable::new();
        table.receive(&[b'P'; PREFACE_BYTES]);
        table.receive(&new_path().repeat(100));
        assert!(table.held_bytes() <= 100 * 15 * RECEIVED_FACTOR, "many small ones stand in few buffers");
    }

    #[test]
    fn no_bytes_are_too_odd() {
        // A random number generator that is good enough for this test, and returns the same numbers each time.
        let mut state = 1_u32;
        let mut table = HeaderTable::new();
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            table.receive(&state.to_be_bytes()[..1 + (state >> 8) as usize % 3]);
        }
        assert!(table.received_bytes >= 100_000);
    }
}
