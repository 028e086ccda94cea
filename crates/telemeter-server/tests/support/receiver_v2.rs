//! A receiver of remote write 2.0 that keeps to the specification: it accepts what its protobuf allows, and nothing else.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

use std::collections::HashSet;

use prost::Message as _;

use super::{
    body::{self, Label, TimeSeries},
    body_v2::{self, Exemplar, Request},
    fake::{FakeAnswer, ReceivedRequest},
};

/// Accepts a request, or answers what is wrong with it.
pub(crate) fn receive(asked: &ReceivedRequest) -> FakeAnswer {
    match request_of(asked) {
        Ok(request) => wrote(204, counts(&request)),
        Err(violation) => wrote(400, [0; 3]).body(violation),
    }
}

/// An answer that says how many samples, histograms and exemplars were written.
pub(crate) fn wrote(status: u16, [samples, histograms, exemplars]: [usize; 3]) -> FakeAnswer {
    FakeAnswer::of(status)
        .header("x-prometheus-remote-write-samples-written", samples.to_string())
        .header("x-prometheus-remote-write-histograms-written", histograms.to_string())
        .header("x-prometheus-remote-write-exemplars-written", exemplars.to_string())
}

/// How many samples, histograms and exemplars a request holds.
pub(crate) fn counts(request: &Request) -> [usize; 3] {
    let sum = |of: fn(&body_v2::Series) -> usize| request.timeseries.iter().map(of).sum();
    [sum(|series| series.samples.len()), sum(|series| series.histograms.len()), sum(|series| series.exemplars.len())]
}

/// The series of a request that has to be as the specification wants it; of 1.0, but for their start timestamps.
#[track_caller]
pub(crate) fn series_of(asked: &ReceivedRequest) -> Vec<TimeSeries> {
    in_1_0(&request_of(asked).unwrap_or_else(|violation| panic!("{violation}: {asked:?}")))
}

/// The series of a request, as 1.0 has them.
pub(crate) fn in_1_0(request: &Request) -> Vec<TimeSeries> {
    let labels = |references: &[u32]| labels_of(request, references).expect("it was checked");
    let series = request.timeseries.iter().map(|series| TimeSeries {
        labels: labels(&series.labels_refs),
        samples: series
            .samples
            .iter()
            .map(|sample| body::Sample { value: sample.value, timestamp: sample.timestamp })
            .collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|exemplar| body::Exemplar {
                labels: labels(&exemplar.labels_refs),
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            })
            .collect(),
        histograms: series.histograms.clone(),
    });
    series.collect()
}

fn labels_of(request: &Request, references: &[u32]) -> Option<Vec<Label>> {
    let (pairs, rest) = references.as_chunks::<2>();
    let symbol = |reference: u32| request.symbols.get(reference as usize).cloned();
    let label = |[name, value]: &[u32; 2]| Some(Label { name: symbol(*name)?, value: symbol(*value)? });
    rest.is_empty().then(|| pairs.iter().map(label).collect()).flatten()
}

/// Checks what a sender MUST do, each rule with its section; the first rule that the request breaks.
pub(crate) fn request_of(asked: &ReceivedRequest) -> Result<Request, String> {
    let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let must = |holds: bool, violation: &str| if holds { Ok(()) } else { Err(violation.to_owned()) };
    must(asked.method == "POST", "Protocol: POST")?;
    must(header("content-type") == body_v2::CONTENT_TYPE, "Content-Type: that of 2.0")?;
    must(header("content-encoding") == "snappy", "Content-Encoding: snappy")?;
    must(header("x-prometheus-remote-write-version") == "2.0.0", "X-Prometheus-Remote-Write-Version: 2.0.0")?;
    must(header("user-agent").contains('/'), "User-Agent: name and version")?;
    let len = snap::raw::decompress_len(&asked.body).map_err(|error| format!("Protocol: snappy's block: {error}"))?;
    let mut plain = vec![0; len];
    snap::raw::Decoder::new()
        .decompress(&asked.body, &mut plain)
        .map_err(|error| format!("Protocol: snappy's block: {error}"))?;
    let request = Request::decode(&*plain).map_err(|error| format!("Protocol: a Request: {error}"))?;
    must(request.symbols.first().is_some_and(String::is_empty), "Symbols: the first is empty")?;
    let distinct: HashSet<_> = request.symbols.iter().collect();
    must(distinct.len() == request.symbols.len(), "Symbols: each stands there once")?;
    let mut used = HashSet::from([0]);
    for series in &request.timeseries {
        let labels = labels_of(&request, &series.labels_refs).ok_or("Symbols: a reference points behind them")?;
        used.extend(&series.labels_refs);
        must(!labels.is_empty(), "Protobuf Message: labels are provided")?;
        must(labels.is_sorted_by(|one, next| one.name < next.name), "Series Labels: sorted, each name once")?;
        must(
            labels.iter().all(|label| !label.name.is_empty() && !label.value.is_empty()),
            "Series Labels: none is empty",
        )?;
        must(labels.iter().any(|label| label.name == "__name__"), "Series Labels: a name")?;
        must(!series.samples.is_empty() || !series.histograms.is_empty(), "Protobuf Message: samples or histograms")?;
        must(series.samples.is_empty() || series.histograms.is_empty(), "Protobuf Message: not both of them")?;
        must(series.samples.is_sorted_by_key(|sample| sample.timestamp), "Samples: in the order of their times")?;
        must(
            series.histograms.is_sorted_by_key(|one| one.timestamp),
            "Histogram Samples: in the order of their times",
        )?;
        must(series.created_timestamp == 0, "Protobuf Message: field 6 is reserved")?;
        for Exemplar { labels_refs, timestamp, .. } in &series.exemplars {
            labels_of(&request, labels_refs).ok_or("Symbols: a reference points behind them")?;
            used.extend(labels_refs);
            must(*timestamp != 0, "Exemplars: a timestamp")?;
        }
        if let Some(metadata) = &series.metadata {
            for reference in [metadata.help_ref, metadata.unit_ref] {
                must((reference as usize) < request.symbols.len(), "Symbols: a reference points behind them")?;
                used.insert(reference);
            }
        }
    }
    must(used.len() == request.symbols.len(), "Symbols: each is used")?;
    Ok(request)
}
