//! A built-in Prometheus, used without `--from`: `/federate` scrapes the metrics of the client and the server on request.
//!
//! As with a real Prometheus, each series has `job`, `instance` and a timestamp, and `up` says which program answered.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundError, OutboundRequest},
    clock::Clock,
};
use telemeter_rules::Selector;
use telemeter_wire::{
    Arena, DecodeLimits, Label, MetricType, Points, Sample, SeriesSet,
    exposition::{TEXT_CONTENT_TYPE, text},
    series::NAME_LABEL,
};
use url::Url;

/// How long a program may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Cap on the metrics of one program.
const ANSWER_BYTES: usize = 4 << 20;
/// Cap on the `match[]` of a request.
const MAX_SELECTORS: usize = 1000;

/// A program whose metrics are scraped.
#[derive(Clone, Debug)]
pub(super) struct ScrapedProgram {
    /// The value of `job`.
    pub(super) job: String,
    /// The value of `instance`.
    pub(super) instance: String,
    /// The URL of its metrics, in the text format.
    pub(super) metrics: Url,
}

/// Answers `/federate?match[]=…` with the metrics that `programs` expose at that moment.
///
/// # Errors
/// The system's certificates cannot be read.
pub(super) fn router(programs: Vec<ScrapedProgram>, clock: Clock) -> Result<Router, OutboundError> {
    let outbound =
        Outbound::new(OutboundConfig { timeout: DEADLINE, ..OutboundConfig::new("builtin_prometheus") }, None)?;
    let state = Arc::new(BuiltinPrometheus { programs, outbound, clock });
    Ok(Router::new().route("/federate", get(federate)).with_state(state))
}

struct BuiltinPrometheus {
    programs: Vec<ScrapedProgram>,
    outbound: Outbound,
    clock: Clock,
}

/// Answers `GET /federate`: scrapes all programs, one after the other, and returns the selected series as text. A
/// program that cannot be scraped has `up` 0; an invalid selector is answered with 400.
async fn federate(State(builtin_prometheus): State<Arc<BuiltinPrometheus>>, RawQuery(query): RawQuery) -> Response {
    let selectors = match parse_selectors(query.as_deref().unwrap_or_default()) {
        Ok(selectors) => selectors,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason + "\n").into_response(),
    };
    let mut scraped = Vec::with_capacity(builtin_prometheus.programs.len());
    for program in &builtin_prometheus.programs {
        scraped.push((program, builtin_prometheus.scrape(program).await));
    }
    let body = expose(&scraped, &selectors, builtin_prometheus.clock.now_ms());
    ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], body).into_response()
}

/// The selectors of the parameters `match[]`, at most [`MAX_SELECTORS`] of them. The error is the text for the caller:
/// a selector is invalid, or there is none.
fn parse_selectors(query: &str) -> Result<Vec<Selector>, String> {
    let asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "match[]").take(MAX_SELECTORS);
    let selectors: Vec<_> = asked
        .map(|(_, text)| Selector::parse(&text).map_err(|error| format!("match[]: {error}")))
        .collect::<Result<_, _>>()?;
    if selectors.is_empty() { Err("say which series: /federate?match[]=up".to_owned()) } else { Ok(selectors) }
}

impl BuiltinPrometheus {
    /// The metrics of a program; `None` where it does not answer with any, which is logged.
    async fn scrape(&self, program: &ScrapedProgram) -> Option<Bytes> {
        let mut request = OutboundRequest::get(program.metrics.clone());
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"));
        match self.outbound.send(request, ANSWER_BYTES).await {
            Ok(answer) if answer.status == StatusCode::OK => Some(answer.body),
            Ok(answer) => {
                tracing::warn!(job = program.job, status = answer.status.as_u16(), "no metrics");
                None
            }
            Err(error) => {
                tracing::warn!(job = program.job, %error, "no metrics");
                None
            }
        }
    }
}

/// The selected series in the text format, sorted by name, each with `instance`, `job` and the time `now_ms`.
fn expose(scraped: &[(&ScrapedProgram, Option<Bytes>)], selectors: &[Selector], now_ms: i64) -> Vec<u8> {
    let arena = Arena::new();
    let mut all = SeriesSet::new_in(&arena);
    let mut labels = Vec::new();
    for (program, body) in scraped {
        let identity = [Label::new("instance", &program.instance), Label::new("job", &program.job)];
        let mut own = SeriesSet::new_in(&arena);
        let read = body.as_ref().is_some_and(|body| {
            let read = text::decode(body, &DecodeLimits::default(), &mut own);
            read.inspect_err(|error| tracing::warn!(job = program.job, %error, "no metrics")).is_ok()
        });
        let up = [Label::new(NAME_LABEL, "up")];
        let up = (&up[..], MetricType::Gauge, if read { 1.0 } else { 0.0 });
        let own = own.iter().filter(|_| read).filter_map(|series| match series.points {
            Points::Sample(sample) => Some((series.labels, series.kind, sample.value)),
            Points::Histogram(_) | Points::Encoded(_) | Points::Absent => None,
        });
        for (own, kind, value) in own.chain([up]) {
            labels.clear();
            labels.extend_from_slice(own);
            labels.extend_from_slice(&identity);
            if selectors.iter().any(|selector| selector.matches(&labels)) {
                all.push(&labels, kind, Points::Sample(Sample { value, timestamp_ms: Some(now_ms) }));
            }
        }
    }
    let names: Vec<_> = all.iter().map(|series| series.name()).collect();
    all.sort_by_index_key(|index| names[index]);
    let mut out = Vec::new();
    text::encode(&all, &mut out);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program(job: &str) -> ScrapedProgram {
        let metrics = Url::parse("http://localhost:1/metrics").unwrap();
        ScrapedProgram { job: job.to_owned(), instance: "here:1".to_owned(), metrics }
    }

    fn check(query: &str, expected: &str) {
        let (one, two) = (program("one"), program("two"));
        let metrics = "# TYPE b counter\nb 1\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 2\na_sum 3\na_count 2\n";
        let scraped = [(&one, Some(Bytes::from(metrics))), (&two, None)];
        let text = expose(&scraped, &parse_selectors(query).unwrap(), 5000);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{query}");
    }

    #[test]
    fn everything_as_a_prometheus_has_it() {
        check(
            "match[]=%7B__name__!=%22%22%7D",
            concat!(
                "# TYPE a_bucket untyped\na_bucket{le=\"+Inf\",instance=\"here:1\",job=\"one\"} 2 5000\n",
                "# TYPE a_count untyped\na_count{instance=\"here:1\",job=\"one\"} 2 5000\n",
                "# TYPE a_sum untyped\na_sum{instance=\"here:1\",job=\"one\"} 3 5000\n",
                "# TYPE b counter\nb{instance=\"here:1\",job=\"one\"} 1 5000\n",
                "# TYPE up gauge\nup{instance=\"here:1\",job=\"one\"} 1 5000\n",
                "up{instance=\"here:1\",job=\"two\"} 0 5000\n",
            ),
        );
    }

    #[test]
    fn only_what_is_selected() {
        check("match[]=b&match[]=c", "# TYPE b counter\nb{instance=\"here:1\",job=\"one\"} 1 5000\n");
        check("match[]=up%7Bjob=%22two%22%7D", "# TYPE up gauge\nup{instance=\"here:1\",job=\"two\"} 0 5000\n");
        check("match[]=nothing", "");
    }

    #[test]
    fn metrics_that_cannot_be_read_are_down() {
        let one = program("one");
        let text =
            expose(&[(&one, Some(Bytes::from("a 1\na oops\n")))], &parse_selectors("match[]=%7B%7D").unwrap(), 1);
        assert_eq!(String::from_utf8(text).unwrap(), "# TYPE up gauge\nup{instance=\"here:1\",job=\"one\"} 0 1\n");
    }

    #[test]
    fn a_query_names_selectors() {
        for wrong in ["", "match=up", "match[]=%7B"] {
            assert!(parse_selectors(wrong).is_err(), "{wrong}");
        }
    }
}
