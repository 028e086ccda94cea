//! The pure pipeline, bytes in to bytes out, on one core: each part and all together, beside the snappy floor of the same
//! body in the same run. Times are of batches that take turns, so that a noisy neighbour meets all rows alike; compare
//! ratios, not absolutes.
//!
//! `TELEMETER_SAMPLE` and `TELEMETER_RULES` name a text exposition and a list of selectors to use in place of the made-up
//! ones; `BENCH_JSON` a file for the results.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    fmt::Write as _,
    hint::black_box,
    time::{Duration, Instant},
};

use telemeter_auth::jwt::Caller;
use telemeter_rules::{Report, Selector, Whitelist};
use telemeter_server::{Config, config::Door, rules::Rules};
use telemeter_wire::{
    Arena, Limits, Points, Sample, SeriesSet,
    exposition::{self, Format, delimited, text},
    remote_write, snappy,
};

const NOW: i64 = 1_795_330_870_734;
const CLUSTER: &str = "00000000-0000-4000-8000-000000000001";

fn main() {
    let sample = sample();
    let rules = rules_text();
    let body = Bodies::new(&sample);
    let mut rows = vec![];
    let rule_count = rules.lines().filter(|line| !line.is_empty()).count();
    println!(
        "{} series, {} bytes as families, {} bytes as remote write, {rule_count} rules",
        body.series,
        body.families.len(),
        body.remote.len()
    );
    rows.extend(run(&body, &rules, ""));
    for count in [20, 2000] {
        let others: String = (0..count).map(|index| format!("{{__name__=\"other_{index}\",a=\"b\"}}\n")).collect();
        rows.extend(
            run(&body, &(rules.clone() + &others), &format!(" +{count} rules"))
                .into_iter()
                .filter(|row| row.name.contains("whole")),
        );
    }
    report(&rows);
}

struct Row {
    name: String,
    nanos: u128,
    /// The row that it is measured against, and the most that it may be of it.
    floor: Option<u128>,
}

/// The sample in every form that it takes on its way.
struct Bodies {
    series: usize,
    families: Vec<u8>,
    framed: Vec<u8>,
    remote: Vec<u8>,
    block: Vec<u8>,
}

impl Bodies {
    fn new(sample: &str) -> Self {
        let (mut encoder, mut families, mut framed, mut remote, mut block) =
            (snappy::Encoder::new(), vec![], vec![], vec![], vec![]);
        let canonical = telemeter_rules::canonical::Canonical::new();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        text::decode(sample.as_bytes(), &Limits::default(), &mut set).expect("a text exposition");
        set.retain_mut(|series| {
            if let Points::Sample(sample) = series.points() {
                series.set_points(Points::Sample(Sample { timestamp_ms: Some(NOW), ..sample }));
            }
            series.push_label(telemeter_wire::Label::new("_id", CLUSTER));
            true
        });
        delimited::encode(&set, &mut families);
        encoder.framed(&families, &mut framed);
        telemeter_rules::run(&mut set, &[&canonical], &mut Report::default()).expect("series");
        remote_write::encode(&set, &mut remote);
        encoder.block(&remote, &mut block);
        Self { series: set.len(), families, framed, remote, block }
    }
}

/// One part of the pipeline, to be run again and again.
struct Part<'p> {
    name: &'static str,
    floor: Option<&'static str>,
    work: Box<dyn FnMut() + 'p>,
}

fn run(body: &Bodies, rules: &str, suffix: &str) -> Vec<Row> {
    let config = {
        let mut config = Config::new(Door::AnyCluster);
        config.rules.whitelist = rules.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        config
    };
    let rules = Rules::load(&config).expect("rules");
    let limits = Limits::default();
    let mut parts = vec![];
    let mut part = |name, floor, work: Box<dyn FnMut()>| parts.push(Part { name, floor, work });
    // What each part works with is its own and kept, as a server's workspace is.
    macro_rules! work {
        ({ $($name:ident = $value:expr),* } => $body:block) => {{
            $(#[allow(unused_mut)] let mut $name = $value;)*
            Box::new(move || $body)
        }};
    }
    let (framed, block) = (body.framed.clone(), body.block.clone());
    part(
        "upload: snappy floor",
        None,
        work!({ framed = framed, plain = vec![], encoder = snappy::Encoder::new(), out = vec![] } => {
            snappy::decode_framed(black_box(&framed), 1 << 20, &mut plain).expect("framed");
            out.clear();
            encoder.block(&plain, &mut out);
            black_box(&out);
        }),
    );
    let families = body.families.clone();
    part(
        "upload: decode",
        None,
        work!({ families = families, arena = Arena::new() } => {
            {
                let mut set = SeriesSet::new_in(&arena);
                exposition::decode(Format::Delimited, black_box(&families), &limits, &mut set).expect("families");
                black_box(set.len());
            }
            arena.reset();
        }),
    );
    let families = body.families.clone();
    let upload_rules = Rules::load(&config).expect("rules");
    part(
        "upload: decode, rules",
        None,
        work!({ families = families, arena = Arena::new(), rules = upload_rules, caller = caller() } => {
            {
                let steps = rules.of_upload(&caller, NOW);
                let mut set = SeriesSet::new_in(&arena);
                exposition::decode(Format::Delimited, black_box(&families), &limits, &mut set).expect("families");
                steps.upload(&mut set, &mut Report::default()).expect("good series");
                black_box(set.len());
            }
            arena.reset();
        }),
    );
    let framed = body.framed.clone();
    let upload_rules = Rules::load(&config).expect("rules");
    part(
        "upload: whole",
        Some("upload: snappy floor"),
        work!({ framed = framed, arena = Arena::new(), plain = vec![], encoded = vec![], encoder = snappy::Encoder::new(), out = vec![], rules = upload_rules, caller = caller() } => {
            snappy::decode_framed(black_box(&framed), 1 << 20, &mut plain).expect("framed");
            {
                let steps = rules.of_upload(&caller, NOW);
                let mut set = SeriesSet::new_in(&arena);
                exposition::decode(Format::Delimited, &plain, &limits, &mut set).expect("families");
                steps.upload(&mut set, &mut Report::default()).expect("good series");
                encoded.clear();
                remote_write::encode(&set, &mut encoded);
            }
            arena.reset();
            out.clear();
            encoder.block(&encoded, &mut out);
            black_box(&out);
        }),
    );
    part(
        "receive: snappy floor",
        None,
        work!({ block = block, plain = vec![], encoder = snappy::Encoder::new(), out = vec![] } => {
            snappy::decode_block(black_box(&block), 1 << 20, &mut plain).expect("a block");
            out.clear();
            encoder.block(&plain, &mut out);
            black_box(&out);
        }),
    );
    let remote = body.remote.clone();
    part(
        "receive: decode",
        None,
        work!({ remote = remote, arena = Arena::new() } => {
            {
                let mut set = SeriesSet::new_in(&arena);
                remote_write::decode(black_box(&remote), &limits, &mut set).expect("a message");
                black_box(set.len());
            }
            arena.reset();
        }),
    );
    let remote = body.remote.clone();
    let receive_rules = Rules::load(&config).expect("rules");
    part(
        "receive: decode, rules",
        None,
        work!({ remote = remote, arena = Arena::new(), rules = receive_rules } => {
            {
                let steps = rules.of_receive(CLUSTER, NOW);
                let mut set = SeriesSet::new_in(&arena);
                remote_write::decode(black_box(&remote), &limits, &mut set).expect("a message");
                steps.receive(&mut set, &mut Report::default()).expect("good series");
                black_box(set.len());
            }
            arena.reset();
        }),
    );
    let block = body.block.clone();
    part(
        "receive: whole",
        Some("receive: snappy floor"),
        work!({ block = block, arena = Arena::new(), plain = vec![], encoded = vec![], encoder = snappy::Encoder::new(), out = vec![], rules = rules } => {
            snappy::decode_block(black_box(&block), 1 << 20, &mut plain).expect("a block");
            {
                let steps = rules.of_receive(CLUSTER, NOW);
                let mut set = SeriesSet::new_in(&arena);
                remote_write::decode(&plain, &limits, &mut set).expect("a message");
                steps.receive(&mut set, &mut Report::default()).expect("good series");
                encoded.clear();
                remote_write::encode(&set, &mut encoded);
            }
            arena.reset();
            out.clear();
            encoder.block(&encoded, &mut out);
            black_box(&out);
        }),
    );
    measure(&mut parts, suffix)
}

fn caller() -> Caller {
    Caller::new("account", [("_id", CLUSTER)], NOW)
}

/// Runs the parts in turns, in short batches, and takes the median of each.
fn measure(parts: &mut [Part<'_>], suffix: &str) -> Vec<Row> {
    const BATCHES: usize = 60;
    const BATCH: Duration = Duration::from_millis(8);
    let mut times = vec![vec![]; parts.len()];
    for _ in 0..BATCHES {
        for (part, times) in parts.iter_mut().zip(&mut times) {
            let (started, mut rounds) = (Instant::now(), 0);
            while started.elapsed() < BATCH {
                for _ in 0..8 {
                    (part.work)();
                }
                rounds += 8;
            }
            times.push(started.elapsed().as_nanos() / rounds);
        }
    }
    let medians: Vec<u128> = times
        .iter_mut()
        .map(|times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect();
    let floor_of = |name: Option<&str>| {
        name.and_then(|name| parts.iter().position(|part| part.name == name)).map(|at| medians[at])
    };
    let rows = parts.iter().zip(&medians).map(|(part, &nanos)| Row {
        name: format!("{}{suffix}", part.name),
        nanos,
        floor: floor_of(part.floor),
    });
    rows.collect()
}

fn report(rows: &[Row]) {
    println!("{:<36} {:>10} {:>9}", "part", "µs", "of floor");
    let mut json = String::from("[");
    for row in rows {
        let micros = row.nanos as f64 / 1000.0;
        let ratio = row.floor.map(|floor| row.nanos as f64 / floor as f64);
        println!("{:<36} {micros:>10.1} {:>9}", row.name, ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
        let separator = if json.len() > 1 { "," } else { "" };
        let _ = write!(
            json,
            "{separator}{{\"part\":{:?},\"micros\":{micros:.2},\"of_floor\":{}}}",
            row.name,
            ratio.map_or("null".to_owned(), |ratio| format!("{ratio:.3}"))
        );
    }
    json.push_str("]\n");
    if let Ok(file) = std::env::var("BENCH_JSON") {
        std::fs::write(&file, json).expect("BENCH_JSON can be written");
    }
}

/// What one cluster sends: 232 series in 25 families, of the size that clusters really send.
fn sample() -> String {
    if let Ok(file) = std::env::var("TELEMETER_SAMPLE") {
        return std::fs::read_to_string(file).expect("TELEMETER_SAMPLE can be read");
    }
    let mut text = String::new();
    for index in 0..232 {
        let (family, operator) = (index / 9, index % 9);
        let _ = writeln!(
            text,
            "cluster_operator_conditions_{family}{{condition=\"Available\",endpoint=\"metrics\",instance=\"10.0.150.196:9099\",\
             job=\"cluster-version-operator\",name=\"operator-{operator}\",namespace=\"openshift-cluster-version\",\
             pod=\"cluster-version-operator-5cb5f8c9db-st825\",service=\"cluster-version-operator\",\
             prometheus=\"openshift-monitoring/k8s\",prometheus_replica=\"prometheus-k8s-0\"}} {index} {NOW}"
        );
    }
    text
}

fn rules_text() -> String {
    if let Ok(file) = std::env::var("TELEMETER_RULES") {
        return std::fs::read_to_string(file).expect("TELEMETER_RULES can be read");
    }
    let families: String =
        (0..26).map(|family| format!("{{__name__=\"cluster_operator_conditions_{family}\"}}\n")).collect();
    let others: String =
        (0..191).map(|other| format!("{{__name__=\"cluster:usage_{other}:sum\",type=~\"a|b|c\"}}\n")).collect();
    let text = families + &others;
    let selectors = Selector::parse_lines(&text).expect("rules");
    assert_eq!(Whitelist::new(selectors).len(), 217, "as many as a production whitelist has");
    text
}
