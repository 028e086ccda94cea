//! What is sent for one caller.

use bytes::Bytes;
use telemeter_wire::{
    remote_write::v2::{Contents, RequestBuilder},
    snappy,
};

use crate::protocol::Protocol;

/// How many bytes a request without series has: its key and length.
const EMPTY_SYMBOL_BYTES: usize = 2;

/// Series as they are sent. Cheap to clone.
#[derive(Clone, Debug)]
pub enum WriteMessage {
    /// A `WriteRequest`.
    V1 {
        /// Its bytes, as a snappy block.
        block: Bytes,
        /// How many they are, decompressed.
        plain_bytes: usize,
    },
    /// A `Request`. It is compressed when it is sent, once it is joined with others; until then it is hardly larger than a
    /// `WriteRequest` that is compressed, since each text stands in it once.
    V2 {
        /// Its bytes.
        request: Bytes,
        /// What it holds: the store says how much of that it wrote.
        contents: Contents,
    },
}

impl WriteMessage {
    /// A message without series.
    #[must_use]
    pub fn empty(protocol: Protocol) -> Self {
        let mut bytes = Vec::new();
        match protocol {
            Protocol::V1 => {
                snappy::Encoder::default().block(&[], &mut bytes);
                Self::V1 { block: bytes.into(), plain_bytes: 0 }
            }
            Protocol::V2 => {
                let mut request = RequestBuilder::default();
                request.clear();
                request.put_message(&mut bytes);
                Self::V2 { request: bytes.into(), contents: Contents::default() }
            }
        }
    }

    /// Whether it holds neither series nor metadata.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::V1 { plain_bytes, .. } => *plain_bytes == 0,
            // Without series nothing refers to symbols, and only the empty one is there.
            Self::V2 { request, .. } => request.len() <= EMPTY_SYMBOL_BYTES,
        }
    }

    /// How many bytes it holds while it waits.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::V1 { block, .. } => block.len(),
            Self::V2 { request, .. } => request.len(),
        }
    }

    /// How many bytes it has, decompressed.
    #[must_use]
    pub fn plain_bytes(&self) -> usize {
        match self {
            Self::V1 { plain_bytes, .. } => *plain_bytes,
            Self::V2 { request, .. } => request.len(),
        }
    }

    /// How many bytes are held for it until the store has answered: it is held by its caller, and joined with others; of 2.0 that
    /// is held before and after it is compressed.
    #[must_use]
    pub fn forward_bytes(&self) -> usize {
        match self {
            Self::V1 { block, .. } => block.len().saturating_mul(2),
            Self::V2 { request, .. } => request.len().saturating_mul(3),
        }
    }
}
