//! Whom the questions to the authority are counted by.

use std::net::IpAddr;

use telemeter_http::listen::ClientNetwork;

use crate::bounded::Digest;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionOrigin {
    /// The address of the caller, as far as it is known: the peer's, or what a trusted proxy says.
    pub peer: IpAddr,
}

impl From<QuestionOrigin> for ClientNetwork {
    fn from(asker: QuestionOrigin) -> Self {
        asker.peer.into()
    }
}

/// One client: it has its share of the questions that are open and that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum QuestionClient {
    /// A cluster whose token the authority approved before.
    Cluster(Digest),
    /// Anybody else, by address. Whatever else such a caller says of itself costs it nothing.
    Peer(ClientNetwork),
}
