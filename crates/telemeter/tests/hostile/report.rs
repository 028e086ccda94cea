//! Formats the results as a table.

use std::{fmt::Write as _, fs, path::Path};

use crate::honest::Figures;

/// The results of one scenario with one memory limit.
pub(crate) struct ScenarioRow {
    pub(crate) name: &'static str,
    pub(crate) limit_bytes: u64,
    pub(crate) seconds: u64,
    /// p50 and p99 in milliseconds, without the attack; `with` has them during the attack.
    pub(crate) before: [f64; 2],
    pub(crate) with: [f64; 2],
    pub(crate) right: usize,
    pub(crate) asked: usize,
    pub(crate) resident_bytes: u64,
    pub(crate) counted_bytes: Option<u64>,
    pub(crate) limited_by: String,
    pub(crate) attackers: String,
    pub(crate) faults: Vec<String>,
}

pub(crate) fn p50_p99(figures: &Figures) -> [f64; 2] {
    [figures.millis(0.5), figures.millis(0.99)]
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Returns the table, the answers that attackers got, and the faults.
pub(crate) fn markdown(rows: &[ScenarioRow], not_run: &[(&str, &str)]) -> String {
    let mut text = String::from(
        "| scenario | limit MiB | s | p50 ms without, with | p99 ms without, with | honest success | resident MiB, at most | counted MiB, at most | |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let ScenarioRow { name, seconds, before, with, right, asked, .. } = row;
        let counted = row.counted_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.0}", mib(bytes)));
        let _ = writeln!(
            text,
            "| {name} | {:.0} | {seconds} | {:.1}, {:.1} | {:.1}, {:.1} | {right} of {asked} | {:.0} | {counted} | {} |",
            mib(row.limit_bytes),
            before[0],
            with[0],
            before[1],
            with[1],
            mib(row.resident_bytes),
            if row.faults.is_empty() { "" } else { "FAULT" },
        );
    }
    let _ = writeln!(text, "\nMemory is limited by {}.\n", rows.first().map_or("nothing", |row| &row.limited_by));
    for row in rows {
        let _ = writeln!(text, "- {}, {:.0} MiB: {}", row.name, mib(row.limit_bytes), row.attackers);
        for fault in &row.faults {
            let _ = writeln!(text, "  - FAULT: {fault}");
        }
    }
    for (name, reason) in not_run {
        let _ = writeln!(text, "- NOT RUN: {name}: {reason}");
    }
    text
}

pub(crate) fn write(path: &Path, text: &str) {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("target can be written");
    }
    fs::write(path, text).expect("target can be written");
}
