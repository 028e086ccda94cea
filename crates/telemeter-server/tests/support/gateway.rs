//! The parts of a gateway without a server, for tests that change one of them.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use telemeter_auth::jwt::{Claims, Keys, TokenVerifier, sign};
use telemeter_http::clock::Clock;
use telemeter_server::{
    Config,
    concurrency::Concurrency,
    fleet::Fleet,
    gateway::{GatewayParts, Workspaces},
    metrics::Metrics,
    rules::ServerRules,
};

use super::NOW_MS;

/// Parts that accept every token and have no store. And an access token of cluster `c1`.
pub(crate) fn shared(config: &Config, registry: &mut Registry) -> (GatewayParts, String) {
    let labels = [("_id", "c1"), ("env", "prod")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let claims = Claims::new("account".to_owned(), labels.into(), NOW_MS, Duration::from_secs(600));
    let keys = Keys::generate().expect("a key");
    let token = sign(&keys, &claims).expect("a token").expose().to_owned();
    let shared = GatewayParts {
        clock: Clock::fixed(NOW_MS).0,
        metrics: Metrics::register(registry),
        verifier: TokenVerifier::new(Arc::new(keys), 100),
        authority: None,
        ratelimit: None,
        rules: ArcSwap::from_pointee(ServerRules::load(config).expect("rules")),
        forward: None,
        recent_store: None,
        partition_label: "_id".to_owned(),
        required_labels: config.rules.required_labels.clone(),
        token_expire: Duration::from_secs(600),
        limit_bytes: 64 << 20,
        limit_receive_bytes: 64 << 20,
        draining: false.into(),
        token: None,
        log_tenant: false,
        fleet: Fleet::new(&config.fleet, 20),
        workspaces: Workspaces::default(),
        concurrency: Concurrency::new(100),
        min_body_rate: 512,
        partial_writes: false,
        forward_metadata: false,
    };
    (shared, token)
}
