//! Compares requests that are encoded as 2.0 with an independent conversion over the library's messages.

use std::collections::HashSet;

use prost::Message;
use telemeter_wire::{
    Arena, DecodeLimits, SeriesSet,
    remote_write::{
        self,
        v2::{Contents, Keep, RequestBuilder, decode_keeping},
    },
};

use super::{
    messages,
    messages::{RemoteExemplar, RemoteLabel, WriteRequest},
    messages_v2::{Histogram, Request, Sample, Start},
    mutations,
    random::SplitMix64,
};

/// A series as a receiver decodes it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    labels: Vec<RemoteLabel>,
    /// The bits of the value, the time, and the start time.
    samples: Vec<(u64, i64, i64)>,
    histograms: Vec<Vec<u8>>,
    times: Vec<i64>,
    exemplars: Vec<Vec<u8>>,
    /// Type, help, unit.
    metadata: (i32, String, String),
}

fn sample(sample: &Sample) -> (u64, i64, i64) {
    (sample.value.to_bits(), sample.timestamp, sample.start_timestamp)
}

/// The series of a request; a start timestamp of the earlier revision is moved to where the newest has it.
fn of_request(request: &Request) -> Option<Vec<Seen>> {
    let labels = |references: &[u32]| -> Option<Vec<RemoteLabel>> {
        let symbol = |reference: u32| request.symbols.get(reference as usize).cloned();
        let (pairs, rest) = references.as_chunks::<2>();
        let label = |[name, value]: &[u32; 2]| Some(RemoteLabel { name: symbol(*name)?, value: symbol(*value)? });
        rest.is_empty().then(|| pairs.iter().map(label).collect()).flatten()
    };
    let series = request.timeseries.iter().map(|series| {
        let started = |start: i64| if start == 0 { series.created_timestamp } else { start };
        let histogram = |histogram: &Histogram| {
            let start = Start { start_timestamp: started(histogram.start.start_timestamp) };
            Histogram { of_1_0: histogram.of_1_0.clone(), start }.encode_to_vec()
        };
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let labels = labels(&exemplar.labels_refs)?;
            Some(RemoteExemplar { labels, value: exemplar.value, timestamp: exemplar.timestamp })
        });
        let exemplars = exemplars.collect::<Option<Vec<_>>>()?;
        let text = |reference: u32| request.symbols.get(reference as usize).cloned();
        let metadata = series.metadata.unwrap_or_default();
        Some(Seen {
            labels: labels(&series.labels_refs)?,
            samples: series
                .samples
                .iter()
                .map(|one| sample(&Sample { start_timestamp: started(one.start_timestamp), ..*one }))
                .collect(),
            histograms: series.histograms.iter().map(histogram).collect(),
            times: series.histograms.iter().map(|histogram| histogram.of_1_0.timestamp).collect(),
            exemplars: exemplars.iter().map(Message::encode_to_vec).collect(),
            metadata: (metadata.r#type, text(metadata.help_ref)?, text(metadata.unit_ref)?),
        })
    });
    series.collect()
}

fn of_write_request(request: &WriteRequest) -> Vec<Seen> {
    let series = request.timeseries.iter().map(|series| Seen {
        labels: series.labels.clone(),
        samples: series.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp, 0)).collect(),
        histograms: series.histograms.iter().map(Message::encode_to_vec).collect(),
        times: series.histograms.iter().map(|histogram| histogram.timestamp).collect(),
        exemplars: series.exemplars.iter().map(Message::encode_to_vec).collect(),
        ..Seen::default()
    });
    series.collect()
}

/// The series that have to be sent, and the number of exemplars that are left out.
fn expected(mut series: Vec<Seen>) -> (Vec<Seen>, u64) {
    let mut left_out = 0;
    for one in &mut series {
        let timed = |exemplar: &Vec<u8>| RemoteExemplar::decode(&exemplar[..]).is_ok_and(|one| one.timestamp != 0);
        let before = one.exemplars.len();
        one.exemplars.retain(timed);
        left_out += (before - one.exemplars.len()) as u64;
    }
    let has_points = |series: &Seen| !series.samples.is_empty() || !series.histograms.is_empty();
    for at in 0..series.len() {
        if has_points(&series[at]) {
            continue;
        }
        let exemplars = std::mem::take(&mut series[at].exemplars);
        let taker = series.iter().position(|other| has_points(other) && other.labels == series[at].labels);
        match taker {
            Some(taker) => series[taker].exemplars.extend(exemplars),
            None => left_out += exemplars.len() as u64,
        }
    }
    let mut sent = Vec::new();
    for mut one in series {
        one.samples.sort_by_key(|(_, time, _)| *time);
        let mut histograms: Vec<_> = one.times.iter().copied().zip(one.histograms).collect();
        histograms.sort_by_key(|(time, _)| *time);
        let (times, histograms) = histograms.into_iter().unzip();
        let mut exemplars = Some(one.exemplars);
        if !one.samples.is_empty() {
            let exemplars = exemplars.take().unwrap_or_default();
            let (labels, metadata) = (one.labels.clone(), one.metadata.clone());
            sent.push(Seen { labels, samples: one.samples, exemplars, metadata, ..Seen::default() });
        }
        let histograms: Vec<Vec<u8>> = histograms;
        if !histograms.is_empty() {
            let exemplars = exemplars.take().unwrap_or_default();
            let (labels, metadata) = (one.labels, one.metadata);
            sent.push(Seen { labels, histograms, times, exemplars, metadata, ..Seen::default() });
        }
    }
    (sent, left_out)
}

/// Decodes a request that we encoded, as a receiver that follows the specification.
fn read(message: &[u8], context: &str) -> Vec<Seen> {
    let request = Request::decode(message).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(request.symbols.first().map(String::as_str), Some(""), "{context}");
    let symbols: HashSet<_> = request.symbols.iter().collect();
    assert_eq!(symbols.len(), request.symbols.len(), "{context}: a symbol is a duplicate");
    let exemplars = request.timeseries.iter().flat_map(|series| &series.exemplars);
    let references = request.timeseries.iter().flat_map(|series| &series.labels_refs);
    let mut used: HashSet<_> =
        references.chain(exemplars.flat_map(|exemplar| &exemplar.labels_refs)).copied().collect();
    let metadata = request.timeseries.iter().filter_map(|series| series.metadata);
    used.extend(metadata.flat_map(|metadata| [metadata.help_ref, metadata.unit_ref]));
    for reference in 1..request.symbols.len() {
        assert!(
            used.contains(&u32::try_from(reference).expect("few symbols")),
            "{context}: nothing refers to symbol {reference}"
        );
    }
    for series in &request.timeseries {
        assert!(series.samples.is_empty() != series.histograms.is_empty(), "{context}: samples or histograms");
        assert_eq!(series.created_timestamp, 0, "{context}: of an earlier revision");
    }
    of_request(&request).unwrap_or_else(|| panic!("{context}: a reference has no symbol"))
}

fn written(builder: &RequestBuilder) -> Vec<u8> {
    let mut message = Vec::new();
    builder.put_message(&mut message);
    assert_eq!(message.len(), builder.message_len());
    message
}

#[track_caller]
fn check(builder: &RequestBuilder, from: Vec<Seen>, context: &str) -> Vec<Seen> {
    let (expected, left_out) = expected(from);
    let seen = read(&written(builder), context);
    assert_eq!(seen, expected, "{context}");
    assert_eq!(builder.len(), expected.len(), "{context}");
    assert_eq!(builder.exemplars_left_out(), left_out, "{context}");
    let sum = |of: fn(&Seen) -> usize| expected.iter().map(of).sum::<usize>() as u64;
    let (samples, histograms) = (sum(|series| series.samples.len()), sum(|series| series.histograms.len()));
    let contents =
        Contents { samples, histograms, exemplars: sum(|series| series.exemplars.len()), ..Contents::default() };
    assert_eq!(*builder.contents(), contents, "{context}");
    expected
}

/// A message of 1.0 and one of 2.0, each encoded as 2.0; and several of them joined.
#[test]
fn what_goes_out_as_2_0_is_what_came_in() {
    let (mut builder, mut joined) = (RequestBuilder::default(), RequestBuilder::default());
    let mut all = Vec::new();
    joined.clear();
    for seed in 0..messages() {
        let mut random = SplitMix64::new(seed);
        let context = format!("seed {seed}");
        let (of_1_0, of_2_0) = (random.write_request(), random.request());
        let (arena, message) = (Arena::new(), of_1_0.encode_to_vec());
        let mut set = SeriesSet::new_in(&arena);
        remote_write::decode(&message, &DecodeLimits::default(), &mut set).expect("a message of 1.0");
        builder.clear();
        builder.add(&set);
        all.extend(check(&builder, of_write_request(&of_1_0), &context));
        joined.add_request(&written(&builder), builder.contents()).expect("our own request");
        drop(set);

        let message = of_2_0.encode_to_vec();
        let mut set = SeriesSet::new_in(&arena);
        let keep = Keep { start_timestamps: true, metadata: true };
        if decode_keeping(&message, keep, &DecodeLimits::default(), &mut set, None).is_ok() {
            builder.clear();
            builder.add(&set);
            let from = of_request(&of_2_0).expect("it was taken");
            all.extend(check(&builder, from, &context));
            joined.add_request(&written(&builder), builder.contents()).expect("our own request");
        }
        if seed % 8 == 7 {
            assert_eq!(read(&written(&joined), &context), all, "{context}");
            assert_eq!(joined.len(), all.len(), "{context}");
            let samples = all.iter().map(|series| series.samples.len()).sum::<usize>() as u64;
            assert_eq!(joined.contents().samples, samples, "{context}");
            all.clear();
            joined.clear();
        }
    }
}

/// Encodes a valid message of 1.0 as 2.0, checks it, and returns it.
pub(crate) fn check_sent(message: &[u8], context: &str) -> Option<Vec<u8>> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    remote_write::decode(message, &DecodeLimits::default(), &mut set).ok()?;
    let mut builder = RequestBuilder::default();
    builder.clear();
    builder.add(&set);
    let theirs = WriteRequest::decode(message).expect("both take it");
    check(&builder, of_write_request(&theirs), context);
    Some(written(&builder))
}

/// For mutated messages of 1.0 that are accepted: the library can decode the 2.0 request, and its content is right.
#[test]
fn what_goes_out_as_2_0_can_be_read_whatever_came_in() {
    for seed in 0..mutations() {
        let mut random = SplitMix64::new(seed);
        let mut message = random.write_request().encode_to_vec();
        random.mutate(&mut message);
        let Some(mut request) = check_sent(&message, &format!("seed {seed}")) else { continue };
        // A request that we did not encode is not joined, and none makes it panic.
        random.mutate(&mut request);
        let mut builder = RequestBuilder::default();
        builder.clear();
        let _ = builder.add_request(&request, &Contents::default());
    }
}
