#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::{body::Body, extract::Request};
use http::StatusCode;
use prometheus_client::registry::Registry as Exported;
use telemeter_auth::Error as AuthError;
use telemeter_http::body::BodyError;
use telemeter_rules::Refusal;
use telemeter_wire::Error as WireError;

use super::*;
use crate::{error::Error, metrics::Metrics};

const NOW_MS: i64 = 1_800_000_000_000;

/// An error for each reason.
fn error_of(reason: Reason) -> Error {
    match reason {
        Reason::AuthorityRateLimited => AuthError::RateLimited { retry_after: Duration::from_secs(1) }.into(),
        Reason::AuthorityRefused => AuthError::Refused { status: 403, excerpt: "".into() }.into(),
        Reason::AuthorityUnavailable => {
            AuthError::AuthorityUnavailable { reason: String::new(), retry_after: None }.into()
        }
        Reason::Body => BodyError::Timeout.into(),
        Reason::Concurrency => Error::ManyAtOnce,
        Reason::Framing => BodyError::Malformed("x".to_owned()).into(),
        Reason::Credentials => AuthError::CredentialsMissing.into(),
        Reason::Draining => Error::Draining,
        Reason::Form => Error::Form("x"),
        Reason::Identity => Refusal::LabelMissing { label: "a".to_owned() }.into(),
        Reason::Internal => Error::Panic,
        Reason::Labels => Refusal::NoName.into(),
        Reason::Limit => WireError::Limit { what: "series", limit: 7 }.into(),
        Reason::Method => Error::Method,
        Reason::Overloaded => Error::Overloaded,
        Reason::RateLimited => Error::RateLimited { period: Duration::ZERO, retry_after: Duration::ZERO },
        Reason::StoreRefused => Error::StoreRefused { status: StatusCode::CONFLICT, store_message: "".into() },
        Reason::StoreUnavailable => Error::StoreUnavailable { cause: String::new(), retry_after: None },
        Reason::Timestamps => Refusal::NoTimestamp.into(),
        Reason::Token => Error::TokenWithoutCluster,
        Reason::TooLarge => BodyError::TooLarge { cap_bytes: 1 }.into(),
        Reason::Undecodable => Refusal::NoValue.into(),
        Reason::Unsupported => Error::Unsupported("x"),
    }
}

/// Those that a test cannot provoke on the wire are among them: an overloaded server, one that ends, and one that panics.
#[test]
fn counter_and_registry_tell_each_reason_of_each_route_alike() {
    let metrics = Metrics::register(&mut Exported::default());
    let fleet = Fleet::new(&config::FleetSettings::default(), 20);
    let sender = Sender::of(&Request::new(Body::empty()));
    for route in ReportRoute::ALL {
        for reason in Reason::ALL {
            assert_eq!(error_of(reason).reason(), reason);
            let cluster = format!("{}-{}", route.name(), reason.name());
            for refused in [
                RequestError::verified(&cluster, error_of(reason)),
                RequestError::claimed(&cluster, error_of(reason)),
                RequestError::from(error_of(reason)),
            ] {
                metrics.record_refused(route, &refused.error);
                fleet.record_refused(route, &sender, &refused, NOW_MS);
            }
            let labels = crate::metrics::RefusedLabels { handler: route.name(), reason: reason.name() };
            assert_eq!(metrics.refused.get_or_create(&labels).get(), 3, "{cluster}");
            let last = fleet.registry.get(&cluster, |known| known.last_refusal().unwrap()).unwrap();
            let status = error_of(reason).status().as_u16();
            assert_eq!((last.route, last.reason, last.status), (route, reason, status));
            let claimed = fleet.registry.claimed_refusals().list();
            for id in [cluster.as_str(), ""] {
                let of = |one: &&telemeter_fleet::ClaimedRefusal| {
                    one.cluster == id && (one.route, one.reason, one.status) == (route, reason, status)
                };
                assert_eq!(claimed.iter().filter(of).map(|one| one.count).sum::<u64>(), 1, "{id:?}");
            }
            assert!(fleet.refusals().any(|one| one == (route, reason, 3)), "{cluster}");
            assert!(fleet.unverified_refusals().any(|one| one == (route, reason, 2)), "{cluster}");
        }
    }
    assert_eq!(fleet.rates.counts().refused, [69; 3]);
}
