//! Encodes what passed the rules, in the version of remote write that the store is sent.

use telemeter_fleet::recent_store::Staged;
use telemeter_wire::{
    SeriesSet,
    remote_write::{self, Layout, v2::RequestBuilder},
    snappy,
};

use super::{Gateway, Workspaces};
use crate::{forward::WriteMessage, protocol::Protocol};

/// The buffers of a [`Workspace`](super::Workspace) that a message is encoded in.
pub(crate) struct EncodeBuffers<'w> {
    pub(crate) encoded: &'w mut Vec<u8>,
    pub(crate) layout: &'w mut Layout,
    pub(crate) encoder: &'w mut snappy::Encoder,
    pub(crate) request: &'w mut RequestBuilder,
}

impl Gateway {
    /// Encodes a message in this version, and stages its series where there is a recent store. Returns the message, how many series
    /// it holds, and what was staged.
    pub(crate) fn encode(
        &self,
        cluster: &str,
        protocol: Protocol,
        set: &SeriesSet<'_>,
        buffers: EncodeBuffers<'_>,
    ) -> (WriteMessage, usize, Option<Staged>) {
        let EncodeBuffers { encoded, layout, encoder, request } = buffers;
        let mut staged = None;
        if self.recent_store.is_some() {
            encoded.clear();
            remote_write::encode_placed(set, encoded, layout);
            staged = self.stage(cluster, layout.series(encoded));
        } else if protocol == Protocol::V1 {
            encoded.clear();
            remote_write::encode(set, encoded);
        }
        match protocol {
            Protocol::V1 => (self.workspaces.compress(encoder, encoded), set.len(), staged),
            Protocol::V2 => {
                request.clear();
                request.add(set);
                let message = self.request_of(request);
                (message, request.len(), staged)
            }
        }
    }

    /// The message of a 2.0 request; counts the exemplars that 2.0 has no place for.
    pub(crate) fn request_of(&self, request: &RequestBuilder) -> WriteMessage {
        self.metrics.forward_exemplars_dropped.inc_by(request.exemplars_left_out());
        self.workspaces.message_of(request)
    }
}

impl Workspaces {
    /// Copies a 2.0 request out of the builder that it was written in.
    #[must_use]
    pub fn message_of(&self, request: &RequestBuilder) -> WriteMessage {
        let mut message = self.buffers.take();
        request.put_message(&mut message);
        WriteMessage::V2 { request: message.freeze(), contents: *request.contents() }
    }
}
