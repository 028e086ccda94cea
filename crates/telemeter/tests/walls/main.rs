//! Checks which crate uses which: only the allowed dependencies. Dev-dependencies do not count.
#![allow(clippy::unwrap_used)]

mod circles;
mod lengths;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Each crate, and the crates of the workspace that it may use, which all are on a lower level.
const ARROWS: [(&str, &[&str]); 10] = [
    ("telemeter-wire", &[]),
    ("telemeter-http", &[]),
    ("telemeter-rules", &["telemeter-wire"]),
    ("telemeter-auth", &["telemeter-http"]),
    ("telemeter-fleet", &["telemeter-wire"]),
    ("telemeter-client", &["telemeter-wire", "telemeter-http", "telemeter-rules", "telemeter-auth"]),
    ("telemeter-server", &["telemeter-wire", "telemeter-http", "telemeter-rules", "telemeter-auth", "telemeter-fleet"]),
    (
        "telemeter-benchmark",
        &["telemeter-wire", "telemeter-http", "telemeter-rules", "telemeter-auth", "telemeter-client"],
    ),
    ("telemeter-policy", &["telemeter-wire", "telemeter-rules"]),
    (
        "telemeter",
        &[
            "telemeter-wire",
            "telemeter-http",
            "telemeter-rules",
            "telemeter-auth",
            "telemeter-client",
            "telemeter-server",
            "telemeter-benchmark",
            "telemeter-policy",
        ],
    ),
];

/// The crate that lists every library of the workspace; a dev-dependency of each crate.
const DEPENDENCIES: &str = "telemeter-dependencies";

/// The crates below `tests/`, which are only dev-dependencies.
const ONLY_IN_TESTS: [&str; 2] = [DEPENDENCIES, "telemeter-test-support"];

/// Returns the packages of the workspace, as cargo reads their manifests.
fn packages() -> Vec<serde_json::Value> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let mut metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].take();
    packages.as_array().unwrap().clone()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Returns the crates of the workspace, each with the crates that it uses outside of its tests.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    packages()
        .iter()
        .filter(|package| !ONLY_IN_TESTS.contains(&&*text(&package["name"])))
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
    assert_eq!(crates, ARROWS.iter().map(|(name, _)| *name).collect(), "the house has ten crates");
    for (name, allowed) in ARROWS {
        let siblings = uses[name].iter().map(String::as_str).filter(|used| crates.contains(used));
        let over: Vec<_> = siblings.filter(|used| !allowed.contains(used)).collect();
        assert!(over.is_empty(), "{name} must not use {over:?}");
        let of_tests = ONLY_IN_TESTS.iter().find(|used| uses[name].contains(**used));
        assert!(of_tests.is_none(), "{name} must not use {of_tests:?} but in tests");
    }
}

#[test]
fn the_floors_below_keep_to_their_trade() {
    let uses = uses();
    for (name, foreign) in [
        ("telemeter-wire", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "prometheus-client", "prost"][..]),
        ("telemeter-fleet", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "prometheus-client"]),
        ("telemeter-rules", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "prometheus-client"]),
        ("telemeter-policy", &["tokio", "axum", "hyper", "reqwest", "http", "tracing", "clap"]),
        ("telemeter-server", &["clap"]),
        ("telemeter-client", &["clap", "indicatif"]),
        ("telemeter-benchmark", &["clap"]),
    ] {
        let found: Vec<_> = foreign.iter().filter(|used| uses[name].contains(**used)).collect();
        assert!(found.is_empty(), "{name} must not use {found:?}");
    }
}

/// Cargo builds a library again for each set of features that the selected crates require. This test checks that all
/// selections require the same features.
#[test]
fn each_selection_of_crates_tests_with_the_same_libraries() {
    let packages = packages();
    let features = |dependency: &serde_json::Value| -> BTreeSet<String> {
        let named = dependency["features"].as_array().unwrap().iter().map(text);
        named.chain((dependency["uses_default_features"] == true).then(|| "default".to_owned())).collect()
    };
    let all = packages.iter().find(|package| package["name"] == DEPENDENCIES).unwrap();
    let all: BTreeMap<String, BTreeSet<String>> = all["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dependency| (text(&dependency["name"]), features(dependency)))
        .collect();
    for package in packages.iter().filter(|package| package["name"] != DEPENDENCIES) {
        let name = text(&package["name"]);
        let dependencies = package["dependencies"].as_array().unwrap();
        assert!(
            dependencies.iter().any(|used| used["name"] == DEPENDENCIES && used["kind"] == "dev"),
            "{name} needs telemeter-dependencies as a dev-dependency"
        );
        for dependency in dependencies {
            let used = text(&dependency["name"]);
            if used.starts_with("telemeter") {
                let chosen = features(dependency);
                assert!(
                    chosen.iter().all(|feature| feature == "default"),
                    "{name} asks for features of {used}: {chosen:?}"
                );
                continue;
            }
            let Some(known) = all.get(&used) else {
                panic!("{name} uses {used}: put it into tests/dependencies/Cargo.toml, too");
            };
            let asked = features(dependency);
            let missing: Vec<_> = asked.difference(known).collect();
            assert!(missing.is_empty(), "{name} asks for {missing:?} of {used}: so must tests/dependencies/Cargo.toml");
        }
    }
}
