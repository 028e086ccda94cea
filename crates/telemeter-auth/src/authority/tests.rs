//! Tests the client of the authority with a fake authority and a fixed clock.
#![allow(clippy::unwrap_used)]

mod answers;
mod caching;
mod fairness;
mod log_text;
mod memcached;
mod our_token;
mod refresh;
mod revoked;
mod spellings;
mod time;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use telemeter_http::client::{OutboundConfig, Resolver};
use telemeter_http::clock::ClockHandle;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::ask::MAX_ANSWER_BYTES;
use super::*;
use crate::composite_token;
use crate::jwt::Keys;
use crate::memcached::fake::{FakeBehaviour, FakeMemcached};
use crate::memcached::{CacheMetrics, Memcached, ReadResult, WriteResult};

const NOW_MS: i64 = 1_795_330_875_000;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const COMPOSITE: &str = r#"{"cluster_id":"c-1", "authorization_token":"hunter2", "x":1}"#;
const ORIGIN: QuestionOrigin = QuestionOrigin { peer: IpAddr::V4(Ipv4Addr::LOCALHOST) };

struct FakeAuthority(MockServer);

impl FakeAuthority {
    async fn start() -> Self {
        let fake_authority = Self(MockServer::start().await);
        fake_authority.approves().await;
        fake_authority
    }

    async fn says(&self, answer: ResponseTemplate) {
        self.answers(move |_| answer.clone()).await;
    }

    async fn answers(&self, answer: impl Fn(&wiremock::Request) -> ResponseTemplate + Send + Sync + 'static) {
        self.0.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.0).await;
    }

    async fn approves(&self) {
        self.says(approval("acct")).await;
    }

    async fn is_unavailable(&self) {
        self.says(ResponseTemplate::new(500)).await;
    }

    /// The number of questions since its answer was last changed.
    async fn asked(&self) -> usize {
        self.0.received_requests().await.unwrap().len()
    }

    async fn was_asked(&self, times: usize) {
        for _ in 0..500 {
            if self.asked().await == times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("asked {} times, not {times}", self.asked().await);
    }

    fn config(&self) -> AuthorityConfig {
        AuthorityConfig::new(format!("{}/accounts?x=y", self.0.uri()).parse().unwrap())
    }
}

fn approval(account: &str) -> ResponseTemplate {
    let body = serde_json::json!({"account_id": account, "cluster_id": "c-1", "more": [1]});
    ResponseTemplate::new(200).set_body_json(body)
}

/// An approval that names no cluster.
fn any_approval() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(serde_json::json!({"account_id": "acct"}))
}

fn authority_of(config: AuthorityConfig, shared: Option<SharedCache>) -> (Authority, ClockHandle) {
    let (clock, handle) = Clock::fixed(NOW_MS);
    let outbound = Outbound::new(OutboundConfig::new("authorize"), None).unwrap();
    (Authority::new(config, outbound, clock, shared, None), handle)
}

fn authority(fake_authority: &FakeAuthority) -> (Authority, ClockHandle) {
    authority_of(fake_authority.config(), None)
}

fn composite_json(json: &str) -> CompositeToken {
    composite_token::decode(&BASE64_STANDARD.encode(json)).unwrap()
}

fn composite() -> CompositeToken {
    composite_json(COMPOSITE)
}

fn composite_of(cluster: usize) -> CompositeToken {
    composite_json(&format!(r#"{{"cluster_id":"c-{cluster}", "authorization_token":"hunter2"}}"#))
}

fn token() -> Secret {
    Secret::from("hunter2")
}

fn approved(account: &str, is_stale: bool) -> ApprovalResult {
    Ok(Approval { account: account.into(), is_stale })
}

fn refused(status: u16) -> ApprovalResult {
    Err(Error::Refused { status, excerpt: String::new() })
}

#[track_caller]
fn check_unavailable(answer: ApprovalResult, reason: &str) {
    match answer {
        Err(error @ Error::AuthorityUnavailable { .. }) => {
            let text = error.to_string();
            assert!(text.contains(reason), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("x=y"), "{text}");
        }
        other => panic!("{other:?}, not unavailable because {reason}"),
    }
}

/// Waits until the condition is true: refreshes, and writes to memcached, happen after the answer.
async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition never became true");
}

impl Authority {
    fn is_asking(&self) -> bool {
        !self.0.pending.lock().is_empty()
    }
}

struct AuthorityReplica {
    authority: Authority,
    clock: ClockHandle,
    metrics: CacheMetrics,
}

fn replica(fake_authority: &FakeAuthority, memcached: &str, keys: &Keys) -> AuthorityReplica {
    let metrics = CacheMetrics::register(&mut prometheus_client::registry::Registry::default());
    let servers = Memcached::new(&[memcached.to_owned()], 10 * SECOND);
    let shared = SharedCache::new(servers, keys, 60 * MINUTE, metrics.clone());
    let (authority, clock) = authority_of(fake_authority.config(), Some(shared));
    AuthorityReplica { authority, clock, metrics }
}
