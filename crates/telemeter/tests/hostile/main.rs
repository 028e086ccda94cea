//! Tests the real server under attack, in a control group with a memory limit, together with honest callers. The attack
//! must not affect them: the server must not end, its memory must stay under the limit, every honest request must get
//! the expected answer, and the p99 may be at most twice the p99 without the attack.
//!
//! `make test-hostile` runs it with the numbers with which the faults were found; `make test` runs a short form with
//! smaller numbers. All numbers are limited, and all connections use loopback. Attackers, honest callers, authority and
//! store are in this process, the attackers on threads of low priority: so the server is measured, and not a lack of
//! CPU cores.
//!
//! | variable | means |
//! |---|---|
//! | `HOSTILE_FORM` | `full` or `short`, the default |
//! | `HOSTILE_SECONDS` | how long each attack lasts; by default 60, or 4 |
//! | `HOSTILE_LIMITS_MIB` | the limits, by default `256,1024`, or `256` |
//! | `HOSTILE_SERVER` | the binary, by default the one that was built with this test |
//! | `HOSTILE_ONLY` | only scenarios with this text in their name are run, even those that are known to fail |

#![allow(clippy::disallowed_methods, reason = "bodies are read with a cap, and times are the real ones")]

mod attacks;
mod call;
mod cgroup;
mod honest;
mod neighbours;
mod payload;
#[path = "../integration/remote_write.rs"]
#[allow(dead_code, reason = "only what writes the message is needed here")]
mod remote_write;
mod report;
mod scenario;
mod server;

use std::{
    env,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use attacks::{AttackContext, AttackTally, ConnectionRate};
use call::CallConnection;
use honest::Honest;
use neighbours::{CountingStore, OneTokenAuthority};
use report::ScenarioRow;
use scenario::Scenario;
use server::{AttackedServer, ServerFiles};
use tokio::runtime::{Builder, Runtime};

/// The source address of all callers behind a load balancer.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 77, 1, 1);
/// How long an attack may take after its planned end.
const SLACK: Duration = Duration::from_secs(40);

/// The number of file descriptors that are reserved for everything except attackers.
const KEPT_DESCRIPTORS: usize = 1500;

struct HostileSettings {
    full: bool,
    max_connections: usize,
    duration: Duration,
    limits: Vec<u64>,
    binary: PathBuf,
    only: Option<String>,
}

impl HostileSettings {
    fn read() -> Self {
        let of = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let full = of("HOSTILE_FORM").is_some_and(|form| form == "full");
        let seconds = of("HOSTILE_SECONDS").map(|text| text.parse().expect("HOSTILE_SECONDS is a number"));
        let limits = of("HOSTILE_LIMITS_MIB").unwrap_or_else(|| if full { "256,1024" } else { "256" }.to_owned());
        let mib = |text: &str| text.trim().parse::<u64>().expect("HOSTILE_LIMITS_MIB are numbers") << 20;
        Self {
            full,
            max_connections: telemeter_http::descriptors::raise_limit().saturating_sub(KEPT_DESCRIPTORS),
            duration: Duration::from_secs(seconds.unwrap_or(if full { 60 } else { 4 })),
            limits: limits.split(',').map(mib).collect(),
            binary: of("HOSTILE_SERVER").map_or_else(|| env!("CARGO_BIN_EXE_telemeter-server").into(), PathBuf::from),
            only: of("HOSTILE_ONLY"),
        }
    }

    /// The duration of the measurement without the attack. A short measurement is less exact, so its result counts
    /// less.
    fn baseline(&self) -> Duration {
        if self.full { self.duration / 3 } else { Duration::from_millis(1200) }
    }

    /// A p99 up to this is not a fault, whatever it is without the attack: on a busy machine it can be as long without
    /// one.
    fn floor_ms(&self) -> f64 {
        if self.full { 50.0 } else { 250.0 }
    }
}

/// The runtimes of the honest callers and of the attackers.
struct Runtimes {
    measured: Runtime,
    attackers: Runtime,
}

impl Runtimes {
    fn new() -> Self {
        let mut builder = Builder::new_multi_thread();
        let measured = builder.worker_threads(2).enable_all().build().expect("threads");
        let lowest = || {
            // On Linux this sets the priority of the calling thread only. Without it the figures are worse, not better.
            let _ = rustix::process::setpriority_process(None, 10);
        };
        let attackers = builder.on_thread_start(lowest).build().expect("threads");
        Self { measured, attackers }
    }
}

#[test]
fn honest_callers_are_served_whatever_others_do() {
    let settings = HostileSettings::read();
    let runtimes = Runtimes::new();
    let (mut rows, mut not_run) = (Vec::new(), Vec::new());
    for limit_bytes in &settings.limits {
        for scenario in scenario::all() {
            match (&settings.only, scenario.not_yet()) {
                (Some(only), _) if !scenario.name.contains(only) => continue,
                (None, Some(reason)) => {
                    not_run.push((scenario.name, reason));
                    continue;
                }
                _ => {}
            }
            let mut row = runtimes.run(&settings, &scenario, *limit_bytes);
            // Another program on this machine can slow down all callers for a while, but hardly twice in a row.
            if row.is_slow_alone() {
                row = runtimes.run(&settings, &scenario, *limit_bytes);
            }
            println!("{}", report::markdown(std::slice::from_ref(&row), &[]));
            rows.push(row);
        }
    }
    not_run.dedup();
    let text = report::markdown(&rows, &not_run);
    report::write(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("hostile").join("report.md"), &text);
    println!("{text}");
    let faults: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            row.faults.iter().map(|fault| format!("{}, {:.0} MiB: {fault}", row.name, report::mib(row.limit_bytes)))
        })
        .collect();
    assert!(!rows.is_empty(), "no scenario has a name like that");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

impl Runtimes {
    fn run(&self, settings: &HostileSettings, scenario: &Scenario, limit_bytes: u64) -> ScenarioRow {
        self.measured.block_on(self.attacked(settings, scenario, limit_bytes))
    }

    async fn attacked(&self, settings: &HostileSettings, scenario: &Scenario, limit_bytes: u64) -> ScenarioRow {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, authority_address) = OneTokenAuthority::start().await;
        let (store, store_address) = CountingStore::start().await;
        let around = ServerFiles {
            binary: &settings.binary,
            folder: folder.path(),
            authority: authority_address,
            store: store_address,
            limit_bytes,
        };
        let mut server = AttackedServer::start(scenario.server, &around)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        let mut honest = Honest::start(&server).await.unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        let sources = if scenario.one_address {
            honest = honest.behind(BALANCER);
            vec![BALANCER]
        } else {
            (1..=16).map(|number| Ipv4Addr::new(127, 66, 0, number)).collect()
        };
        let token = token_of(&server, "hostile-0").await;
        let before = honest.send(settings.baseline(), Duration::ZERO, |_| honest::ExpectedAnswer::Success).await;

        let duration = settings.duration.max(scenario.at_least);
        (*store.on_hostile_data.lock(), *store.on_all.lock()) = scenario.store;
        let mut external = server.external.clone();
        external.tls = server.certificate.clone().map(|certificate| call::connector(certificate, "h2"));
        let arena = Arc::new(AttackContext {
            full: settings.full,
            max_connections: settings.max_connections,
            external,
            internal: server.internal.clone(),
            token,
            authority,
            whitelist: server.whitelist.clone(),
            sources,
            until: Instant::now() + duration,
            tally: AttackTally::default(),
            pace: ConnectionRate::new(if settings.full { scenario.per_second.0 } else { scenario.per_second.1 }),
        });
        let attack = self.attackers.spawn((scenario.attack)(arena.clone()));
        let with = honest.send(duration, scenario.settle, scenario.expected).await;
        let mut faults = match tokio::time::timeout(SLACK, attack).await {
            Ok(Ok(faults)) => faults,
            Ok(Err(panicked)) => vec![format!("the attack itself failed: {panicked}")],
            Err(_elapsed) => vec![format!("the attack was not over {SLACK:?} after its end")],
        };
        faults.extend(server.death());
        let (resident_bytes, counted_bytes) = server.peak_bytes();
        if resident_bytes > limit_bytes {
            faults.push(format!("{:.0} MiB were resident", report::mib(resident_bytes)));
        }
        if before.right < before.asked {
            faults.push(format!("without an attack: {}", before.complaints.join("; ")));
        }
        if with.right < with.asked {
            let complaints = with.complaints.join("; ");
            faults.push(format!(
                "{} of {} honest requests went wrong: {complaints}",
                with.asked - with.right,
                with.asked
            ));
        }
        let (without_ms, with_ms) = (before.millis(0.99), with.millis(0.99));
        if with_ms > (2.0 * without_ms).max(settings.floor_ms()) {
            faults.push(format!("{SLOW}: a p99 of {with_ms:.1} ms, {without_ms:.1} ms without"));
        }
        let attackers = format!("{}; {} honest requests had to reconnect", arena.tally, with.reconnected);
        ScenarioRow {
            name: scenario.name,
            limit_bytes,
            seconds: duration.as_secs(),
            before: report::p50_p99(&before),
            with: report::p50_p99(&with),
            right: with.right,
            asked: with.asked,
            resident_bytes,
            counted_bytes,
            limited_by: server.limited_by(),
            attackers,
            faults,
        }
    }
}

/// The first word of a fault that is only about latency.
const SLOW: &str = "slow";

impl ScenarioRow {
    fn is_slow_alone(&self) -> bool {
        !self.faults.is_empty() && self.faults.iter().all(|fault| fault.starts_with(SLOW))
    }
}

/// Requests an access token for `/upload`.
async fn token_of(server: &AttackedServer, cluster: &str) -> String {
    let mut connection = CallConnection::open(&server.external, BALANCER).await.expect("the server is ready");
    let answer = connection.send(payload::authorize(payload::GOOD_TOKEN, cluster)).await.expect("an answer");
    let granted: serde_json::Value = serde_json::from_slice(&answer.body).expect("a grant");
    granted["token"].as_str().expect("a token").to_owned()
}
