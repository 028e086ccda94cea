//! Sends PromQL queries to Prometheus, or to another program with its query API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use crate::ledger::now_ms;

/// The HTTP client of the test: no proxy, a deadline, and a new connection for each request.
pub(crate) fn http() -> Client {
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(0)
        .build()
        .expect("the system has a CA bundle")
}

/// One series of an answer with its samples, oldest first: time in milliseconds, and value.
#[derive(Debug)]
pub(crate) struct QueryResult {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) samples: Vec<(i64, f64)>,
}

/// A store that answers `/api/v1/query`.
pub(crate) struct QueriedStore {
    http: Client,
    url: String,
}

impl QueriedStore {
    pub(crate) fn new(url: String) -> Self {
        Self { http: http(), url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Evaluates `promql` now.
    pub(crate) async fn query(&self, promql: &str) -> Result<Vec<QueryResult>, String> {
        self.ask("query", promql, &[]).await
    }

    /// Evaluates `promql` at each step of a `range` that ends now.
    pub(crate) async fn query_range(
        &self,
        promql: &str,
        range: Duration,
        step: Duration,
    ) -> Result<Vec<QueryResult>, String> {
        let end = now_ms() / 1000;
        let steps = range.as_secs() / step.as_secs();
        let start = end - i64::try_from(steps * step.as_secs()).expect("a range of days");
        let times = [("start", start.to_string()), ("end", end.to_string()), ("step", step.as_secs().to_string())];
        self.ask("query_range", promql, &times).await
    }

    async fn ask(&self, api: &str, promql: &str, times: &[(&str, String)]) -> Result<Vec<QueryResult>, String> {
        let url = format!("{}/api/v1/{api}", self.url);
        let mut form = vec![("query", promql.to_owned())];
        form.extend_from_slice(times);
        let answer = self.http.post(url).form(&form).send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        let rows = answer["data"]["result"].as_array().ok_or_else(|| format!("{promql}: {answer}"))?;
        rows.iter().map(|row| read_row(row).ok_or_else(|| format!("{promql}: {row}"))).collect()
    }

    /// Returns the rows of `promql`; an error where there are none, so that [`until`](crate::process::until) asks
    /// again.
    pub(crate) async fn some(&self, promql: &str) -> Result<Vec<QueryResult>, String> {
        let rows = self.query(promql).await?;
        if rows.is_empty() { Err(format!("{promql}: no series")) } else { Ok(rows) }
    }

    /// Returns all values of all series that `selector` matches, of the last 30 minutes.
    pub(crate) async fn values(&self, selector: &str) -> Result<BTreeSet<u64>, String> {
        let rows = self.query(&format!("{selector}[30m]")).await?;
        let samples = rows.iter().flat_map(|row| &row.samples);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole numbers of our own")]
        Ok(samples.map(|(_, value)| *value as u64).collect())
    }

    /// Returns the times of all samples of the one series that `selector` matches, of the last 30 minutes, in
    /// milliseconds.
    pub(crate) async fn times(&self, selector: &str) -> Result<BTreeSet<i64>, String> {
        let rows = self.query(&format!("{selector}[30m]")).await?;
        match rows.as_slice() {
            [row] => Ok(row.samples.iter().map(|(time, _)| *time).collect()),
            rows => Err(format!("{selector}: {} series: {rows:?}", rows.len())),
        }
    }
}

fn read_row(row: &Value) -> Option<QueryResult> {
    let labels = row["metric"].as_object()?.iter();
    let labels = labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect::<Option<_>>()?;
    let samples = match row.get("values") {
        Some(values) => values.as_array()?.iter().map(read_sample).collect::<Option<_>>()?,
        None => vec![read_sample(&row["value"])?],
    };
    Some(QueryResult { labels, samples })
}

fn read_sample(sample: &Value) -> Option<(i64, f64)> {
    let seconds = sample.get(0)?.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 are far from the end of an i64")]
    Some(((seconds * 1000.0).round() as i64, sample.get(1)?.as_str()?.parse().ok()?))
}
