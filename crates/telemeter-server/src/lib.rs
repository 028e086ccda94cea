//! The server: finds out who is calling, holds each cluster to its identity, limits and whitelist, and forwards.

mod authorize;
pub mod concurrency;
pub mod config;
pub mod error;
pub mod forward;
pub mod gateway;
pub mod metrics;
pub mod pages;
pub mod ratelimit;
mod receive;
pub mod recent_store;
pub mod routes;
pub mod rules;
mod serve;
mod upload;

pub use config::Config;
pub use serve::{Server, StartError, serve};
