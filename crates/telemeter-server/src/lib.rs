//! The server: verifies each caller, applies its limits and the whitelist, and forwards the series to the store.

pub mod api;
mod authorize;
pub mod check;
pub mod concurrency;
pub mod config;
pub mod error;
pub mod explain;
pub mod fleet;
pub mod fleet_view;
pub mod forward;
pub mod gateway;
mod headers;
pub mod metrics;
pub mod pages;
pub mod protocol;
pub mod ratelimit;
mod read_queue;
mod receive;
pub mod refusals;
pub mod routes;
pub mod rules;
pub mod sender;
mod serve;
mod upload;

pub use config::Config;
pub use serve::{RunningServer, ServerStartError, gateway_without_listener, serve};
