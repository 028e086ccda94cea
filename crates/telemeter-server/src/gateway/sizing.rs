//! How many requests and connections fit into a memory limit: the tables of `docs/operations.md`, from the numbers that they
//! are held to.

use telemeter_http::{
    body::Readers,
    budget::{MemoryBudget, MemoryShare, Reservation},
    listen::connection_bytes,
};

use super::{
    FORWARD_FACTOR,
    workspaces::{Workspaces, work_bytes},
};
use crate::serve::EXTERNAL_CONNECTIONS;

/// A remote write as Prometheus sends it by default, of 2,000 samples, and a large one: its body, and what it holds
/// decompressed.
const REQUESTS: [RequestSize; 2] = [
    RequestSize { body_bytes: 64 << 10, plain_bytes: 512 << 10 },
    RequestSize { body_bytes: 1 << 20, plain_bytes: 5 << 20 },
];
/// What pods are given. `--memory-limit` is three quarters of it.
const PODS_MIB: [usize; 5] = [256, 512, 1024, 2048, 4096];

#[derive(Clone, Copy)]
struct RequestSize {
    body_bytes: usize,
    plain_bytes: usize,
}

/// How many requests of one size are at most in each place at once.
#[derive(Debug, PartialEq, Eq)]
struct ConcurrencyEstimate {
    bodies: usize,
    bodies_of_a_cluster: usize,
    worked_on: usize,
    waiting: usize,
}

impl ConcurrencyEstimate {
    /// Estimates by trying: reserves memory in a budget of this size until nothing more fits. A request that waits for
    /// the store holds [`FORWARD_FACTOR`] times the size of its body.
    fn of(memory_limit_bytes: usize, request: RequestSize) -> Self {
        let budget = MemoryBudget::new(memory_limit_bytes);
        let workspaces = Workspaces::new(budget.clone());
        let fitting = |share, bytes| {
            let held: Vec<Reservation> = std::iter::from_fn(|| budget.try_reserve(share, bytes)).collect();
            held.len()
        };
        let work_bytes = work_bytes(request.plain_bytes);
        Self {
            bodies: fitting(MemoryShare::Bodies, request.body_bytes),
            bodies_of_a_cluster: Readers::client_share(&budget, request.body_bytes) / request.body_bytes,
            worked_on: match workspaces.large.at_once(work_bytes) {
                Some(large) => large,
                None => fitting(MemoryShare::Workspaces, work_bytes),
            },
            waiting: fitting(MemoryShare::Forward, request.body_bytes * FORWARD_FACTOR),
        }
    }
}

/// The table in Markdown: a row for each pod size and request size. The memory limit is three quarters of the pod's
/// memory.
fn table() -> String {
    let mut table = String::from(
        "| memory of the pod | a request | bodies at once | of one cluster | worked on at once | waiting for the store |\n\
         |---|---|---|---|---|---|\n",
    );
    for pod_mib in PODS_MIB {
        for request in REQUESTS {
            let ConcurrencyEstimate { bodies, bodies_of_a_cluster, worked_on, waiting } =
                ConcurrencyEstimate::of((pod_mib << 20) / 4 * 3, request);
            let RequestSize { body_bytes, plain_bytes } = request;
            table += &format!(
                "| {pod_mib} MiB | {} KiB, {} KiB decompressed | {bodies} | {bodies_of_a_cluster} | {worked_on} | {waiting} |\n",
                body_bytes >> 10,
                plain_bytes >> 10,
            );
        }
    }
    table
}

/// How many connections are at most open at once.
fn connections_table() -> String {
    let mut table = String::from(
        "| memory of the pod | connections with requests | the same with TLS | idle connections | the same with TLS |\n\
         |---|---|---|---|---|\n",
    );
    for pod_mib in PODS_MIB {
        let budget = MemoryBudget::new((pod_mib << 20) / 4 * 3);
        let fitting = |tls, is_idle| {
            (budget.capacity_bytes(MemoryShare::Connections) / connection_bytes(tls, is_idle)).min(EXTERNAL_CONNECTIONS)
        };
        let [open, open_tls, idle, idle_tls] =
            [(false, false), (true, false), (false, true), (true, true)].map(|(tls, is_idle)| fitting(tls, is_idle));
        table += &format!("| {pod_mib} MiB | {open} | {open_tls} | {idle} | {idle_tls} |\n");
    }
    table
}

#[test]
fn the_page_for_operators_has_exactly_these_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let page = std::fs::read_to_string(path).expect("docs/operations.md");
    for (id, expected) in [("sizing", table()), ("connections", connections_table())] {
        let (_, section) = page.split_once(&format!("<a id=\"{id}\"></a>")).expect("the section");
        let rows: Vec<&str> = section.lines().skip_while(|line| !line.starts_with('|')).collect();
        let rows: Vec<&str> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
        assert_eq!(rows.join("\n") + "\n", expected, "docs/operations.md, {id}");
    }
}
