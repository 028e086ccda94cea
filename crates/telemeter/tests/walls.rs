//! Holds the walls of the house: which crate may use which. Dev-dependencies do not count.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Each crate and the siblings that it may use; every arrow points down.
const ARROWS: [(&str, &[&str]); 8] = [
    ("telemeter-wire", &[]),
    ("telemeter-http", &[]),
    ("telemeter-rules", &["telemeter-wire"]),
    ("telemeter-auth", &["telemeter-http"]),
    ("telemeter-fleet", &["telemeter-wire"]),
    ("telemeter-client", &["telemeter-wire", "telemeter-http", "telemeter-rules", "telemeter-auth"]),
    ("telemeter-server", &["telemeter-wire", "telemeter-http", "telemeter-rules", "telemeter-auth", "telemeter-fleet"]),
    ("telemeter", &["telemeter-client", "telemeter-server", "telemeter-http", "telemeter-auth"]),
];

/// The workspace's crates, each with what it uses outside of its tests.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let used = dependencies.filter(|dependency| dependency["kind"] != "dev");
            (text(&package["name"]), used.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn every_arrow_points_down() {
    let uses = uses();
    let crates: BTreeSet<&str> = uses.keys().map(String::as_str).collect();
    assert_eq!(crates, ARROWS.iter().map(|(name, _)| *name).collect(), "the house has eight crates");
    for (name, allowed) in ARROWS {
        let siblings = uses[name].iter().map(String::as_str).filter(|used| crates.contains(used));
        let over: Vec<_> = siblings.filter(|used| !allowed.contains(used)).collect();
        assert!(over.is_empty(), "{name} must not use {over:?}");
    }
}

#[test]
fn the_floors_below_keep_to_their_trade() {
    let uses = uses();
    for (name, foreign) in [
        ("telemeter-wire", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "prometheus-client", "prost"][..]),
        ("telemeter-fleet", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "prometheus-client"]),
        ("telemeter-rules", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "prometheus-client"]),
        ("telemeter-server", &["clap"]),
        ("telemeter-client", &["clap"]),
    ] {
        let found: Vec<_> = foreign.iter().filter(|used| uses[name].contains(**used)).collect();
        assert!(found.is_empty(), "{name} must not use {found:?}");
    }
}
