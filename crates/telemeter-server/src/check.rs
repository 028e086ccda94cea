//! `server check`: tries each step of a server, from its files to the store, with the same calls as the server makes.

mod files;
mod services;

use std::time::Duration;

use prometheus_client::registry::Registry;
use telemeter_http::{
    budget::MemoryBudget,
    check::{self, CheckStage, CheckStep, CheckSteps},
    clock::Clock,
};

use crate::{config::Config, serve::build};

/// The stage of the keys that sign our tokens.
pub const KEYS: CheckStage = CheckStage { name: "keys", exit_code: 30 };
/// The stage of the listeners' certificates.
pub const CERTIFICATE: CheckStage = CheckStage { name: "certificate", exit_code: 31 };
/// The stage of the whitelist and the other rules.
pub const WHITELIST: CheckStage = CheckStage { name: "whitelist", exit_code: 32 };
/// The stage of the OpenID provider.
pub const OIDC: CheckStage = CheckStage { name: "oidc", exit_code: 33 };
/// The stage of the authority.
pub const AUTHORITY: CheckStage = CheckStage { name: "authority", exit_code: 34 };
/// The stage of the memcached servers.
pub const MEMCACHED: CheckStage = CheckStage { name: "memcached", exit_code: 35 };
/// The stage of the store.
pub const STORE: CheckStage = CheckStage { name: "store", exit_code: 36 };

/// The deadline of one step.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the steps one after the other, and goes on after a step that fails. `offline` checks flags and files only.
pub async fn check(config: &Config, offline: bool, steps: &mut CheckSteps<'_>) {
    files::check(config, steps);
    if offline {
        return;
    }
    if steps.has_failed(CheckStage::FILES) || steps.has_failed(KEYS) || steps.has_failed(WHITELIST) {
        for (stage, tried) in [(AUTHORITY, "--authorize"), (STORE, "--forward-url")] {
            steps.add(CheckStep::skipped(stage, tried, "a file cannot be used"));
        }
        return;
    }
    let (clock, mut registry) = (Clock::system(), Registry::default());
    let (gateway, outbounds) = match build::gateway(config, &clock, &mut registry, &MemoryBudget::unlimited()) {
        Ok(built) => built,
        Err(error) => {
            steps.add(CheckStep::failed(
                CheckStage::PROXY,
                "certificates and proxy variables of outbound calls",
                error,
            ));
            return;
        }
    };
    let outbound = |name: &str| outbounds.iter().find(|outbound| outbound.config().name == name);
    let mut others = Vec::new();
    if let (Some(oidc), Some(outbound), Some(token)) = (&config.oidc, outbound("oauth"), &gateway.token) {
        services::oidc(oidc, outbound, token, steps).await;
    }
    if let (crate::config::AuthorizationMode::Authority(settings), Some(outbound), Some(authority)) =
        (&config.authorization, outbound("authorize"), &gateway.authority)
    {
        if services::authority(&settings.url, outbound, authority, steps).await {
            others.push(("--authorize", check::clock_offset(outbound, &settings.url).await));
        }
    } else {
        let step = CheckStep::warned(AUTHORITY, "--insecure-allow-any-cluster", "nobody is asked: every token is good");
        steps.add(step.advise("give --authorize, but for a demo"));
    }
    if let Some(memcached) = &config.memcached {
        for server in &memcached.servers {
            steps.add(services::memcached(server).await);
        }
    }
    match (&config.forward, outbound("forward"), &gateway.forward) {
        (Some(store), Some(outbound), Some(forward)) => {
            if services::store(&store.url, outbound, forward, steps).await {
                others.push(("--forward-url", check::clock_offset(outbound, &store.url).await));
            }
        }
        _ => {
            let step = CheckStep::warned(STORE, "--recent-store", "what is acknowledged is held in memory alone");
            steps.add(step.advise("give --forward-url, but for a demo"));
        }
    }
    if others.iter().any(|(_, ahead)| ahead.is_ok()) {
        steps.add(check::clock(&others));
    }
}
