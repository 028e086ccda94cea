//! Sends the queries of a dashboard to a store as Grafana does, and lists the errors in the answers.

use std::collections::{BTreeMap, BTreeSet};

use super::board::{Board, Panel, PanelQuery, Variable};
use super::fleet;
use super::query::{regex, substitute};
use super::stage::JOB;
use crate::ledger::now_ms;
use crate::promql::{QueriedStore, QueryResult};

/// Sends the queries one after the other, and collects the errors.
pub(crate) struct QueryChecker<'a> {
    pub(crate) store: &'a QueriedStore,
    pub(crate) count: usize,
    pub(crate) flaws: Vec<String>,
}

impl QueryChecker<'_> {
    pub(crate) async fn board(&mut self, board: &Board) {
        let mut values = BTreeMap::new();
        for variable in board.variables() {
            let choices = choices(self.store, &variable).await.unwrap_or_else(|error| {
                self.flaws.push(format!("{}, ${}: {error}", board.uid, variable.name));
                BTreeSet::new()
            });
            self.count += 1;
            // The chosen values are the cluster that has all series, and the only job.
            let value = if variable.name == "job" { JOB } else { fleet::REPORTING };
            if !choices.contains(value) {
                self.flaws.push(format!("{}, ${}: {value} is not among {choices:?}", board.uid, variable.name));
            }
            values.insert(variable.name, value.to_owned());
        }
        for panel in board.panels() {
            let mut rows = Vec::new();
            for query in &panel.queries {
                self.count += 1;
                match ask(self.store, query, &values).await {
                    Ok(answer) if answer.is_empty() => self.flaw(board, &panel, query, "no series"),
                    Ok(answer) => {
                        flaws_of_answer(&panel, query, &answer)
                            .iter()
                            .for_each(|flaw| self.flaw(board, &panel, query, flaw));
                        rows.push(answer);
                    }
                    Err(error) => self.flaw(board, &panel, query, &error),
                }
            }
            if panel.kind == "table" && rows.len() == panel.queries.len() {
                let flaws = flaws_of_columns(&panel, &rows);
                self.flaws.extend(flaws.iter().map(|flaw| format!("{}, {}: {flaw}", board.uid, panel.title)));
            }
        }
    }

    fn flaw(&mut self, board: &Board, panel: &Panel, query: &PanelQuery, flaw: &str) {
        self.flaws.push(format!("{}, {}, {}: {flaw}", board.uid, panel.title, query.ref_id));
    }
}

pub(crate) async fn ask(
    store: &QueriedStore,
    query: &PanelQuery,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<QueryResult>, String> {
    let promql = substitute(&query.expression, query.times, variables)?;
    if query.over_range {
        store.query_range(&promql, query.times.range, query.times.step).await
    } else {
        store.query(&promql).await
    }
}

/// Returns the values that Grafana would offer for a variable.
async fn choices(store: &QueriedStore, variable: &Variable) -> Result<BTreeSet<String>, String> {
    if let Some(found) = regex(r"^label_values\(([^,]+), (\w+)\)$").captures(&variable.query) {
        let rows = store.query(&format!("count by ({}) ({})", &found[2], &found[1])).await?;
        return Ok(rows.iter().filter_map(|row| row.labels.get(&found[2]).cloned()).collect());
    }
    let Some(found) = regex(r"^query_result\((.+)\)$").captures(&variable.query) else {
        return Err(format!("{} is no query of a variable", variable.query));
    };
    let taken = regex(variable.regex.trim_matches('/'));
    let rows = store.query(&found[1]).await?;
    // Grafana writes each series as `name{label="value",...} value time`.
    let texts = rows.iter().map(|row| {
        let labels: Vec<String> = row.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{{{}}} {}", labels.join(","), row.samples[0].1)
    });
    Ok(texts.filter_map(|text| taken.captures(&text).map(|found| found[1].to_owned())).collect())
}

/// Returns the errors in the values and labels of an answer.
fn flaws_of_answer(panel: &Panel, query: &PanelQuery, rows: &[QueryResult]) -> Vec<String> {
    let mut flaws = Vec::new();
    if panel.kind == "stat" && rows.len() != 1 {
        flaws.push(format!("{} numbers where one is shown", rows.len()));
    }
    let unit = panel.unit_of(&format!("Value #{}", query.ref_id));
    let unit = if unit == panel.unit { panel.unit_of("Value") } else { unit };
    for row in rows {
        let value = row.samples.last().map_or(f64::NAN, |(_, value)| *value);
        if !is_possible(&unit, value) {
            flaws.push(format!("{value} {unit} is not possible: {row:?}"));
        }
        let named =
            regex(r"\{\{(\w+)\}\}").captures_iter(&query.legend).map(|found| found[1].to_owned()).collect::<Vec<_>>();
        flaws.extend(
            named.iter().filter(|name| !row.labels.contains_key(*name)).map(|name| format!("no label {name}: {row:?}")),
        );
    }
    flaws
}

/// Whether a value is possible in this unit of Grafana.
fn is_possible(unit: &str, value: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in an f64")]
    let now_ms = now_ms() as f64;
    match unit {
        "percentunit" => (0.0..=1.0).contains(&value),
        // The time must be within the last month: a time in seconds instead of milliseconds would be in 1970.
        "dateTimeFromNow" => (now_ms - 31.0 * 86_400_000.0..=now_ms + 60_000.0).contains(&value),
        // A drift may be negative, but no duration here is longer than 100 days.
        "s" => value.abs() < 100.0 * 86_400.0,
        "none" | "short" | "locale" | "bytes" | "Bps" | "reqps" | "cps" | "ops" => value >= 0.0 && value.is_finite(),
        _ => false,
    }
}

/// Returns the errors in the columns of a table: each column must have a readable name or be hidden, and each named
/// column must exist.
fn flaws_of_columns(panel: &Panel, answers: &[Vec<QueryResult>]) -> Vec<String> {
    let labels = answers.iter().flatten().flat_map(|row| row.labels.keys().cloned());
    let mut exist: BTreeSet<String> = labels.filter(|name| name != "__name__").collect();
    if let [_] = answers {
        exist.insert("Value".to_owned());
    } else {
        exist.extend(panel.queries.iter().map(|query| format!("Value #{}", query.ref_id)));
    }
    let (shown, hidden) = panel.columns();
    let absent = shown.difference(&exist).map(|name| format!("there is no column {name}"));
    let unnamed = exist.iter().filter(|name| !shown.contains(*name) && !hidden.contains(*name));
    absent.chain(unnamed.map(|name| format!("the column {name} is neither named nor hidden"))).collect()
}

/// A dashboard with values for its variables.
pub(crate) struct ChosenDashboard<'a> {
    pub(crate) store: &'a QueriedStore,
    pub(crate) board: &'a Board,
    pub(crate) variables: BTreeMap<String, String>,
}

impl ChosenDashboard<'_> {
    /// Returns the answer to the first query of a panel.
    pub(crate) async fn rows(&self, title: &str) -> Vec<QueryResult> {
        let panel = self.board.panels().into_iter().find(|panel| panel.title == title);
        let panel = panel.unwrap_or_else(|| panic!("{}: no panel {title}", self.board.uid));
        let answer = ask(self.store, &panel.queries[0], &self.variables).await;
        answer.unwrap_or_else(|error| panic!("{title}: {error}"))
    }

    pub(crate) async fn number(&self, title: &str, expected: f64) {
        let rows = self.rows(title).await;
        let [row] = rows.as_slice() else { panic!("{title}: {rows:?}") };
        let found = row.samples.last().map(|(_, value)| *value);
        assert_eq!(found, Some(expected), "{title} for {:?}", self.variables);
    }

    /// Checks that a panel shows exactly these values by this label; an expected NaN matches any value.
    pub(crate) async fn values(&self, title: &str, label: &str, expected: &[(&str, f64)]) {
        let rows = self.rows(title).await;
        let of_label = |row: &QueryResult| row.labels.get(label).cloned().unwrap_or_default();
        let value = |row: &QueryResult| row.samples.last().map_or(f64::NAN, |(_, value)| *value);
        let found: BTreeMap<String, f64> = rows.iter().map(|row| (of_label(row), value(row))).collect();
        let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect(), "{title} for {:?}", self.variables);
        for (name, expected) in expected {
            let found = found[*name];
            assert!(expected.is_nan() || (found - expected).abs() < 0.001, "{title}, {name}: {found}, not {expected}");
        }
    }
}
