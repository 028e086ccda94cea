//! Background tasks of the server: sweeping, saving, watching.

use std::{sync::Arc, time::Duration};

use telemeter_auth::oidc::TokenSource;
use telemeter_http::{internal::Health, tls::ListenerTls};
use tokio::sync::watch;

use crate::{
    fleet::{TICK, file::FleetFile},
    gateway::Gateway,
};

/// How often expired rate-limit slots and samples of the recent store are removed.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the readiness of the OIDC provider is checked.
const WATCH: Duration = Duration::from_millis(500);
/// How often the registry is written to its file.
const SAVE: Duration = Duration::from_secs(60);
/// How often clusters that were not heard from for long are forgotten.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// How often a certificate that expires soon is logged.
const WARN: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes what has expired in the rate limit and in the recent store, every [`SWEEP`], until the server stops.
pub(super) async fn sweep(gateway: Gateway, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let now_ms = gateway.clock.now_ms();
        if let Some(limit) = &gateway.ratelimit {
            limit.sweep(now_ms);
        }
        if let Some(store) = &gateway.recent_store {
            store.sweep(now_ms);
        }
    }
}

/// Runs [`Fleet::tick`](crate::fleet::Fleet::tick) every second.
pub(super) async fn tick(gateway: Gateway, mut stopped: watch::Receiver<bool>) {
    loop {
        gateway.fleet.tick(gateway.clock.now_ms());
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Writes the registry to its file, forgets clusters that were not heard from for long, and warns of certificates that expire soon.
pub(super) async fn maintain_fleet(
    gateway: Gateway,
    file: Option<Arc<FleetFile>>,
    tls: Vec<(&'static str, ListenerTls)>,
    mut stopped: watch::Receiver<bool>,
) {
    let every = |period| tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    let (mut save, mut forget, mut warn) = (every(SAVE), every(FORGET), every(WARN));
    loop {
        tokio::select! {
            () = async { let _ = stopped.wait_for(|stop| *stop).await; } => return,
            _ = save.tick() => {
                if let Some(file) = file.clone() {
                    let gateway = gateway.clone();
                    let _ = tokio::task::spawn_blocking(move || file.save(&gateway.fleet.registry)).await;
                }
            }
            _ = forget.tick() => gateway.fleet.registry.forget(gateway.clock.now_ms()),
            _ = warn.tick() => tls.iter().for_each(|(_, tls)| tls.warn_of_validity(gateway.clock.now_ms())),
        }
    }
}

/// Makes the server ready only while there is a token for the store, and records the availability of the provider;
/// until the server stops.
pub(super) async fn watch_provider(
    gateway: Gateway,
    token: TokenSource,
    health: Health,
    mut stopped: watch::Receiver<bool>,
) {
    let condition = health.condition("oidc");
    let record = &gateway.fleet.dependencies.oidc;
    loop {
        match token.status() {
            Ok(()) => {
                condition.ready();
                record.available(None, gateway.clock.now_ms());
            }
            Err(reason) => {
                record.unavailable(&reason, gateway.clock.now_ms());
                condition.not_ready(reason);
            }
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}
