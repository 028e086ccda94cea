//! Where a request came from, and which cluster it is known or claimed to be of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use http::{HeaderValue, header};
use telemeter_auth::authority::QuestionOrigin;
use telemeter_http::listen::Peer;

/// The peer and the program that a request came from.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The address of the connection's other end: a load balancer's, where there is one between.
    pub peer: IpAddr,
    user_agent: Option<HeaderValue>,
}

impl Sender {
    /// The sender of a request, from its connection and its `User-Agent`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>();
        Self {
            peer: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip().to_canonical()),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
        }
    }

    /// The `User-Agent`; empty where there was none.
    #[must_use]
    pub fn user_agent(&self) -> &str {
        let bytes = self.user_agent.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        std::str::from_utf8(bytes).unwrap_or("(not text)")
    }
}

/// Where a question to the authority comes from: the peer of the request that it is about. A request that came over no
/// connection of ours counts as from the address `::`.
#[must_use]
pub fn question_origin(request: &Request) -> QuestionOrigin {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    QuestionOrigin { peer: peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) }
}

/// Which cluster a request is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClusterId {
    /// The request named no cluster.
    #[default]
    Unknown,
    /// The request named it, and its credentials were not accepted: the name may be false.
    Claimed(Box<str>),
    /// The credentials were accepted.
    Verified(Box<str>),
}

impl ClusterId {
    /// The ID, where it was verified.
    #[must_use]
    pub fn verified(&self) -> Option<&str> {
        if let Self::Verified(id) = self { Some(id) } else { None }
    }

    /// The ID, where it was claimed.
    #[must_use]
    pub fn claimed(&self) -> Option<&str> {
        if let Self::Claimed(id) = self { Some(id) } else { None }
    }
}

/// A text of a caller's, cut to what a line of the log shows: 128 bytes.
#[must_use]
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(128)]
}
