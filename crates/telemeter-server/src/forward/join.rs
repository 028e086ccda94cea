//! Joins the messages of a batch into the body of one request, in the version that the store gets. A message in the
//! other version, queued before the version changed, is encoded again.

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use telemeter_http::body::BufferPool;
use telemeter_wire::{
    Arena, DecodeLimits, Error as WireError, SeriesSet,
    remote_write::{
        self,
        v2::{self, Contents, Keep, RequestBuilder},
    },
    snappy,
};

use super::WriteMessage;
use crate::protocol::Protocol;

/// At most this many workspaces are kept for later batches, and no workspace that holds more than [`MAX_KEPT_BYTES`].
const KEPT_WORKSPACES: usize = 8;
const MAX_KEPT_BYTES: usize = 8 << 20;

/// Joins the messages of a batch into one compressed request body.
pub(super) struct Joiner {
    buffers: BufferPool,
    workspaces: Mutex<Vec<JoinWorkspace>>,
    /// Counts the start timestamps that are lost because 1.0 has no field for them.
    start_timestamps_dropped: Counter,
}

/// The buffers in which requests are joined and encoded again; they are reused for later batches.
#[derive(Default)]
struct JoinWorkspace {
    request: RequestBuilder,
    plain: Vec<u8>,
    encoded: Vec<u8>,
    arena: Arena,
    encoder: snappy::Encoder,
}

impl Joiner {
    /// Counts lost start timestamps in `start_timestamps_dropped`.
    pub(super) fn new(start_timestamps_dropped: Counter) -> Self {
        Self { buffers: BufferPool::new(8, 4 << 20), workspaces: Mutex::default(), start_timestamps_dropped }
    }

    /// Returns one compressed body that holds all messages. For 2.0 it also returns how many samples, histograms and
    /// exemplars the body holds, which is compared with what the store wrote.
    ///
    /// # Errors
    /// Where a message cannot be decoded or joined. This does not happen in practice, because this server encoded every
    /// message itself.
    pub(super) fn join<'m>(
        &self,
        messages: impl ExactSizeIterator<Item = &'m WriteMessage> + Clone,
        protocol: Protocol,
    ) -> Result<(Bytes, Contents), WireError> {
        match protocol {
            Protocol::V1 => Ok((self.join_v1(messages)?, Contents::default())),
            Protocol::V2 => self.with_workspace(|workspace| self.join_v2(messages, workspace)),
        }
    }

    /// Joins messages into one body of remote write 1.0. Compressed messages of 1.0 are joined as they are; those of
    /// 2.0 are encoded again. A single message of 1.0 is returned as it came.
    fn join_v1<'m>(
        &self,
        messages: impl ExactSizeIterator<Item = &'m WriteMessage> + Clone,
    ) -> Result<Bytes, WireError> {
        let mut only = messages.clone();
        if let (Some(WriteMessage::V1 { block, .. }), None) = (only.next(), only.next()) {
            return Ok(block.clone());
        }
        let mut encoded_again = Vec::new();
        for message in messages.clone() {
            if let WriteMessage::V2 { request, .. } = message {
                encoded_again.push(self.with_workspace(|workspace| self.encode_v1(request, workspace))?);
            }
        }
        let mut again = encoded_again.iter();
        let blocks: Vec<&[u8]> = messages
            .filter_map(|message| match message {
                WriteMessage::V1 { block, .. } => Some(&block[..]),
                WriteMessage::V2 { .. } => again.next().map(Vec::as_slice),
            })
            .collect();
        let mut joined = self.buffers.take();
        snappy::join_blocks(blocks.into_iter(), &mut joined)?;
        Ok(joined.freeze())
    }

    /// Joins messages into one body of remote write 2.0, and counts what it contains. Messages of 1.0 are decoded and
    /// encoded again. A single message of 2.0 is only compressed.
    fn join_v2<'m>(
        &self,
        messages: impl ExactSizeIterator<Item = &'m WriteMessage>,
        workspace: &mut JoinWorkspace,
    ) -> Result<(Bytes, Contents), WireError> {
        let mut block = self.buffers.take();
        let is_single = messages.len() == 1;
        workspace.request.clear();
        for message in messages {
            match message {
                WriteMessage::V2 { request, contents } if is_single => {
                    workspace.encoder.block(request, &mut block);
                    return Ok((block.freeze(), *contents));
                }
                WriteMessage::V2 { request, contents } => workspace.request.add_request(request, contents)?,
                WriteMessage::V1 { block, .. } => {
                    let JoinWorkspace { request, plain, arena, .. } = workspace;
                    snappy::decode_block(block, usize::MAX, plain)?;
                    let mut set = SeriesSet::new_in(arena);
                    remote_write::decode_keeping(plain, true, &DecodeLimits::NONE, &mut set)?;
                    request.add(&set);
                    drop(set);
                    arena.reset();
                }
            }
        }
        workspace.encoded.clear();
        workspace.request.put_message(&mut workspace.encoded);
        workspace.encoder.block(&workspace.encoded, &mut block);
        Ok((block.freeze(), *workspace.request.contents()))
    }

    /// Encodes a request of 2.0 as a snappy block of 1.0. Start timestamps, which 1.0 does not have, are dropped and
    /// counted.
    fn encode_v1(&self, request: &[u8], workspace: &mut JoinWorkspace) -> Result<Vec<u8>, WireError> {
        let JoinWorkspace { encoded, arena, encoder, .. } = workspace;
        let mut set = SeriesSet::new_in(arena);
        let keep = Keep { start_timestamps: false, metadata: true };
        let contents = v2::decode_keeping(request, keep, &DecodeLimits::NONE, &mut set, None)?;
        self.start_timestamps_dropped.inc_by(contents.start_timestamps);
        encoded.clear();
        remote_write::encode(&set, encoded);
        drop(set);
        arena.reset();
        let mut block = Vec::new();
        encoder.block(encoded, &mut block);
        Ok(block)
    }

    /// Runs `work` in a workspace that is kept for reuse, or in a new one. Afterwards the workspace is kept unless
    /// [`KEPT_WORKSPACES`] are kept already, or it holds more than [`MAX_KEPT_BYTES`].
    fn with_workspace<T>(&self, work: impl FnOnce(&mut JoinWorkspace) -> T) -> T {
        let mut workspace = self.workspaces.lock().pop().unwrap_or_default();
        let answer = work(&mut workspace);
        let held_bytes = workspace.request.held_bytes() + workspace.plain.capacity() + workspace.encoded.capacity();
        let held_bytes = held_bytes + workspace.arena.held_bytes() + workspace.encoder.held_bytes();
        let mut workspaces = self.workspaces.lock();
        if workspaces.len() < KEPT_WORKSPACES && held_bytes <= MAX_KEPT_BYTES {
            workspaces.push(workspace);
        }
        answer
    }
}
