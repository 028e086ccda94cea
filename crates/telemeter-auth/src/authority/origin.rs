//! Where a question comes from, and by which client it is counted.

use std::net::IpAddr;

use telemeter_http::listen::ClientNetwork;

use crate::bounded::Digest;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionOrigin {
    /// The caller's address: the peer's, or the one that a trusted proxy names.
    pub peer: IpAddr,
}

impl From<QuestionOrigin> for ClientNetwork {
    fn from(origin: QuestionOrigin) -> Self {
        origin.peer.into()
    }
}

/// One client: the unit by which open and waiting questions are shared fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum QuestionClient {
    /// A cluster with a token that the authority approved before, by the SHA-256 of its ID.
    Cluster(Digest),
    /// Any other caller, by its network: what it claims to be is not verified yet.
    Peer(ClientNetwork),
}
