//! Lists all scenarios: the attack on the server, and the answers that honest callers must get meanwhile.

use std::{pin::Pin, sync::Arc, time::Duration};

use crate::{
    attacks::{AttackContext, Faults, authority, bodies, connections, data, framing, http2, operator},
    honest::{ExpectedAnswer, HonestKind},
    neighbours::StoreFailure,
    server::ServerOptions,
};

/// Scenarios that still fail, by name, with the reason. They are reported as not run.
pub(crate) const NOT_YET: &[(&str, &str)] = &[];

pub(crate) type Attack = fn(Arc<AttackContext>) -> Pin<Box<dyn Future<Output = Faults> + Send>>;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) attack: Attack,
    pub(crate) expected: fn(HonestKind) -> ExpectedAnswer,
    pub(crate) server: ServerOptions,
    /// How the store fails from the beginning of the attack: on data of hostile clusters, and on all data.
    pub(crate) store: (Option<StoreFailure>, Option<StoreFailure>),
    /// Whether attackers and honest callers have the same address, as behind a load balancer.
    pub(crate) one_address: bool,
    /// New connections of attackers a second: in the full form, and in the short form.
    pub(crate) per_second: (u32, u32),
    /// The shortest duration of the scenario, so that a deadline of the server can pass.
    pub(crate) at_least: Duration,
    /// How long requests of honest callers may fail at first, until the server has found the cause.
    pub(crate) settle: Duration,
}

/// Makes a function that returns a boxed future, so that all attacks have the same type.
macro_rules! attack {
    ($attack:path) => {
        |arena| Box::pin($attack(arena))
    };
}

impl Scenario {
    fn new(name: &'static str, attack: Attack) -> Self {
        Self {
            name,
            attack,
            expected: |_| ExpectedAnswer::Success,
            server: ServerOptions::default(),
            store: (None, None),
            one_address: false,
            per_second: (1000, 400),
            at_least: Duration::ZERO,
            settle: Duration::ZERO,
        }
    }

    fn on_hostile_data(name: &'static str, failure: StoreFailure) -> Self {
        Self {
            store: (Some(failure), None),
            at_least: Duration::from_secs(12),
            settle: Duration::from_secs(8),
            ..Self::new(name, attack!(data::steady))
        }
    }

    /// The reason why it is not run, if it is not.
    pub(crate) fn not_yet(&self) -> Option<&'static str> {
        NOT_YET.iter().find(|(name, _)| *name == self.name).map(|(_, reason)| *reason)
    }
}

/// Returns all scenarios in the order in which they are run.
pub(crate) fn all() -> Vec<Scenario> {
    let tls = ServerOptions { tls: true, ..ServerOptions::default() };
    let new = Scenario::new;
    vec![
        new("one-byte bodies of one token", attack!(bodies::one_byte_of_one_token)),
        new("one-byte forms of strangers", attack!(bodies::one_byte_forms)),
        Scenario {
            server: tls,
            per_second: (100, 10),
            ..new("one byte on 250 streams", attack!(http2::one_byte_a_stream))
        },
        new("stalled bodies of one cluster", attack!(bodies::stalled_of_one_cluster)),
        new("stalled bodies of many clusters", attack!(bodies::stalled_of_many_clusters)),
        Scenario {
            one_address: true,
            ..new("stalled bodies behind a balancer", attack!(bodies::stalled_of_many_clusters))
        },
        new("half headers", attack!(connections::half_headers)),
        Scenario { server: tls, ..new("half-open TLS handshakes", attack!(connections::half_handshakes)) },
        // Each connection sends 250 requests.
        Scenario { server: tls, per_second: (100, 10), ..new("HTTP/2 without a window", attack!(http2::no_window)) },
        // Each connection sends 1.6 MB.
        Scenario {
            server: tls,
            per_second: (30, 10),
            ..new("HTTP/2 headers to remember", attack!(http2::headers_to_remember))
        },
        new("bodies unread beside a slow authority", attack!(bodies::unread_while_the_authority_is_slow)),
        Scenario {
            store: (None, Some(StoreFailure::Hangs)),
            expected: |kind| match kind {
                HonestKind::Upload | HonestKind::UploadAnew | HonestKind::Receive | HonestKind::ReceiveAnew => {
                    ExpectedAnswer::Unavailable
                }
                HonestKind::Authorize | HonestKind::Health | HonestKind::Metrics => ExpectedAnswer::Success,
            },
            ..new("a store that hangs beside stalled bodies", attack!(bodies::stalled_of_many_clusters))
        },
        // Each connection sends 40 requests.
        Scenario {
            per_second: (250, 60),
            ..new("pipelined requests with long headers", attack!(connections::pipelined_long_headers))
        },
        Scenario {
            at_least: Duration::from_secs(18),
            ..new("pipelined answers that nobody reads", attack!(connections::pipelining))
        },
        Scenario {
            server: ServerOptions { descriptors: Some((1024, 20_000)), ..ServerOptions::default() },
            ..new("silent connections, soft limit 1024", attack!(connections::silent))
        },
        Scenario {
            server: ServerOptions { descriptors: Some((1024, 1024)), ..ServerOptions::default() },
            ..new("silent connections, hard limit 1024", attack!(connections::silent))
        },
        Scenario {
            server: ServerOptions { descriptors: Some((1024, 1024)), ..ServerOptions::default() },
            one_address: true,
            ..new("silent connections behind a balancer", attack!(connections::silent))
        },
        new("broken framing", attack!(framing::broken)),
        Scenario { at_least: Duration::from_secs(10), ..new("dripping bodies", attack!(bodies::dripping)) },
        Scenario {
            store: (Some(StoreFailure::Answers(400)), None),
            ..new("data that the store refuses, flooded", attack!(data::flood))
        },
        Scenario::on_hostile_data("a store that closes on one cluster's data", StoreFailure::Closes),
        Scenario::on_hostile_data("a store that hangs on one cluster's data", StoreFailure::Hangs),
        Scenario::on_hostile_data("a store that says 403 to one cluster's data", StoreFailure::Answers(403)),
        Scenario::on_hostile_data("a store that says 502 to one cluster's data", StoreFailure::Answers(502)),
        Scenario {
            expected: |kind| match kind {
                // The server cannot decide about a new caller.
                HonestKind::ReceiveAnew | HonestKind::Authorize => ExpectedAnswer::Anything,
                _ => ExpectedAnswer::Success,
            },
            ..new("an authority that hangs", attack!(authority::new_callers_while_it_hangs))
        },
        new("a slow authority and strangers", attack!(authority::strangers)),
        new("one token in many spellings", attack!(authority::spellings)),
        Scenario {
            server: ServerOptions { unread_log: true, ..ServerOptions::default() },
            ..new("a log that nobody reads", attack!(operator::refused_requests))
        },
        new("files that are none, at a reload", attack!(operator::files_that_are_none)),
    ]
}
