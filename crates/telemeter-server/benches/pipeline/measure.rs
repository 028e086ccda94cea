//! Times parts alternately, so that other load on the machine affects all alike, and reports them next to each other.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// A part that is run again and again.
pub(crate) struct MeasuredPart<'p> {
    pub(crate) name: String,
    /// The names of parts that it is to be compared with.
    pub(crate) beside: Vec<String>,
    pub(crate) work: Box<dyn FnMut() + 'p>,
}

/// How long a part takes.
struct PipelineRow {
    name: String,
    nanos: u128,
    /// How many times as long as each of the parts that it is compared with.
    ratios: Vec<(String, f64)>,
}

/// Runs the parts in turns, in short batches, takes the median of each, prints them, and writes them to `BENCH_JSON`.
pub(crate) fn report(mut parts: Vec<MeasuredPart<'_>>) {
    let rows = measure(&mut parts);
    println!("{:<44} {:>9}   compared", "part", "µs");
    let mut json = String::from("[");
    for row in &rows {
        let micros = row.nanos as f64 / 1000.0;
        let ratios: Vec<String> = row.ratios.iter().map(|(name, ratio)| format!("{ratio:.2} x {name}")).collect();
        println!("{:<44} {micros:>9.1}   {}", row.name, ratios.join(", "));
        let ratios: Vec<String> = row.ratios.iter().map(|(name, ratio)| format!("{name:?}:{ratio:.3}")).collect();
        let separator = if json.len() > 1 { "," } else { "" };
        let _ = write!(
            json,
            "{separator}{{\"part\":{:?},\"micros\":{micros:.2},\"ratios\":{{{}}}}}",
            row.name,
            ratios.join(",")
        );
    }
    json.push_str("]\n");
    if let Ok(file) = std::env::var("BENCH_JSON") {
        std::fs::write(&file, json).expect("BENCH_JSON can be written");
    }
}

fn measure(parts: &mut [MeasuredPart<'_>]) -> Vec<PipelineRow> {
    const BATCHES: usize = 80;
    const BATCH: Duration = Duration::from_millis(5);
    let mut times = vec![vec![]; parts.len()];
    for _ in 0..BATCHES {
        for (part, times) in parts.iter_mut().zip(&mut times) {
            let (started, mut rounds) = (Instant::now(), 0);
            while started.elapsed() < BATCH {
                for _ in 0..4 {
                    (part.work)();
                }
                rounds += 4;
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
    let median = |name: &str| parts.iter().position(|part| part.name == name).map(|at| medians[at]).expect("a part");
    let rows = parts.iter().zip(&medians).map(|(part, &nanos)| PipelineRow {
        name: part.name.clone(),
        nanos,
        ratios: part.beside.iter().map(|name| (name.clone(), nanos as f64 / median(name) as f64)).collect(),
    });
    rows.collect()
}
