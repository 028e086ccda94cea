//! One caller's series and metadata, encoded as remote write.

use bytes::Bytes;
use telemeter_wire::{
    remote_write::v2::{Contents, RequestBuilder},
    snappy,
};

use crate::protocol::Protocol;

/// The size of an encoded `Request` with only the empty symbol: the key and the length of that symbol.
const EMPTY_SYMBOL_BYTES: usize = 2;

/// Encoded series and metadata of one caller. A clone is cheap.
#[derive(Clone, Debug)]
pub enum WriteMessage {
    /// A `WriteRequest` of remote write 1.0.
    V1 {
        /// The encoded `WriteRequest`, as a snappy block.
        block: Bytes,
        /// The size of the `WriteRequest` in bytes, before compression.
        plain_bytes: usize,
    },
    /// A `Request` of remote write 2.0. It is compressed only when it is sent, after it is joined with others. It needs
    /// hardly more memory than a compressed `WriteRequest`, since it holds each string only once.
    V2 {
        /// The encoded `Request`, uncompressed.
        request: Bytes,
        /// How many samples, histograms and exemplars it holds; the store answers how many of each it wrote.
        contents: Contents,
    },
}

impl WriteMessage {
    /// A message without series and metadata.
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
            // Without series and metadata there are no references to symbols, and the symbol table holds only the empty
            // string.
            Self::V2 { request, .. } => request.len() <= EMPTY_SYMBOL_BYTES,
        }
    }

    /// The memory that the message needs while it waits, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::V1 { block, .. } => block.len(),
            Self::V2 { request, .. } => request.len(),
        }
    }

    /// The size of the message before compression, in bytes.
    #[must_use]
    pub fn plain_bytes(&self) -> usize {
        match self {
            Self::V1 { plain_bytes, .. } => *plain_bytes,
            Self::V2 { request, .. } => request.len(),
        }
    }

    /// The memory that is needed for the message until the store has answered, in bytes. For 1.0 these are the message
    /// and its copy in the batch; for 2.0 also the compressed batch.
    #[must_use]
    pub fn forward_bytes(&self) -> usize {
        match self {
            Self::V1 { block, .. } => block.len().saturating_mul(2),
            Self::V2 { request, .. } => request.len().saturating_mul(3),
        }
    }
}
