//! Compares the decoders with those of a library: they accept the same random and mutated messages, with the same values.
//!
//! `ORACLE_MESSAGES` and `ORACLE_MUTATIONS` are the numbers of messages and mutations; `make fuzz` runs many. The fuzz targets
//! of `fuzz/` make the same comparisons.

mod messages;
mod messages_v2;
pub(crate) mod out_v2;
pub(crate) mod random;

use messages::{MetricFamily, WriteRequest};
use messages_v2::Request;
use prost::Message;
use random::SplitMix64;
use telemeter_wire::{
    Arena, DecodeLimits, Error, Label, Points, SeriesSet,
    exposition::{self, ExpositionFormat},
    remote_write, snappy,
};

/// No limits, as in the library.
pub(crate) const NO_LIMITS: DecodeLimits = DecodeLimits {
    series: usize::MAX,
    labels: usize::MAX,
    text_bytes: usize::MAX,
    symbols: usize::MAX,
    labels_per_series: usize::MAX,
    label_name_bytes: usize::MAX,
    label_value_bytes: usize::MAX,
};

fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |count| count.parse().expect("a number"))
}

fn messages() -> u64 {
    count("ORACLE_MESSAGES", 5_000)
}

fn mutations() -> u64 {
    count("ORACLE_MUTATIONS", 50_000)
}

/// Compares our decoder with the library's on one remote-write message.
pub(crate) fn check_write_request(message: &[u8], context: &str) {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let ours = remote_write::decode(message, &NO_LIMITS, &mut set);
    let theirs = WriteRequest::decode(message).map(WriteRequest::sorted);
    match (ours, theirs) {
        (Ok(metadata), Ok(mut theirs)) => {
            assert_eq!(metadata.entries, theirs.metadata.len(), "{context}");
            assert_eq!(set.len(), theirs.timeseries.len(), "{context}");
            for (ours, theirs) in set.iter().zip(&theirs.timeseries) {
                let labels: Vec<_> = theirs.labels.iter().map(|label| Label::new(&label.name, &label.value)).collect();
                assert_eq!(ours.labels, labels, "{context}");
                let samples: Vec<_> =
                    ours.samples().map(|sample| (sample.value.to_bits(), sample.timestamp_ms)).collect();
                let expected: Vec<_> =
                    theirs.samples.iter().map(|sample| (sample.value.to_bits(), Some(sample.timestamp))).collect();
                assert_eq!(samples, expected, "{context}");
                let times = theirs.samples.iter().map(|sample| sample.timestamp);
                let newest = times.chain(theirs.histograms.iter().map(|histogram| histogram.timestamp)).max();
                let Points::Encoded(encoded) = ours.points else { panic!("{context}: not encoded") };
                assert_eq!(encoded.newest_ms, newest, "{context}");
                assert_eq!(encoded.samples as usize, theirs.samples.len() + theirs.histograms.len(), "{context}");
            }
            // The encoded message is the same as the one that came, without metadata, whether it is spliced or encoded again.
            let mut sent = Vec::new();
            remote_write::encode(&set, &mut sent);
            theirs.metadata.clear();
            let sent = WriteRequest::decode(&sent[..]).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(sent.encode_to_vec(), theirs.encode_to_vec(), "{context}");
        }
        (Err(Error::Protobuf(_) | Error::NotUtf8(_)), Err(_)) => {}
        (ours, theirs) => panic!("{context}: ours {ours:?}, theirs {theirs:?}, of {message:02x?}"),
    }
}

/// Compares our decoder with the library's on one message of remote write 2.0: its conversion to 1.0 is the same.
pub(crate) fn check_request(message: &[u8], context: &str) {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let ours = remote_write::v2::decode(message, &NO_LIMITS, &mut set);
    let theirs = Request::decode(message);
    match (ours, theirs) {
        (Ok(contents), Ok(theirs)) => {
            let expected = theirs.in_1_0().unwrap_or_else(|| panic!("{context}: taken, of {message:02x?}")).sorted();
            let sum = |of: fn(&messages_v2::Series) -> usize| theirs.timeseries.iter().map(of).sum::<usize>() as u64;
            assert_eq!(contents.samples, sum(|series| series.samples.len()), "{context}");
            assert_eq!(contents.histograms, sum(|series| series.histograms.len()), "{context}");
            assert_eq!(contents.exemplars, sum(|series| series.exemplars.len()), "{context}");
            let mut sent = Vec::new();
            remote_write::encode(&set, &mut sent);
            let sent = WriteRequest::decode(&sent[..]).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(sent.encode_to_vec(), expected.encode_to_vec(), "{context}");
            for (ours, theirs) in set.iter().zip(&expected.timeseries) {
                let Points::Encoded(encoded) = ours.points else { panic!("{context}: not encoded") };
                let times = theirs.samples.iter().map(|sample| sample.timestamp);
                let newest = times.chain(theirs.histograms.iter().map(|histogram| histogram.timestamp)).max();
                assert_eq!(encoded.newest_ms, newest, "{context}");
                assert_eq!(encoded.samples as usize, theirs.samples.len() + theirs.histograms.len(), "{context}");
            }
        }
        (Err(Error::Reference(telemeter_wire::ReferenceError::NotUtf8 { .. })), Err(_)) => {}
        (Err(Error::Reference(error)), Ok(theirs)) => {
            // Symbols are required, even if no series refers to one.
            let without_symbols = theirs.symbols.is_empty() && !message.is_empty();
            assert!(without_symbols || theirs.in_1_0().is_none(), "{context}: {error}, of {message:02x?}");
        }
        // If there are two errors, either may be returned.
        (Err(Error::Protobuf(_) | Error::NotUtf8(_) | Error::Reference(_)), Err(_)) => {}
        (ours, theirs) => panic!("{context}: ours {ours:?}, theirs {theirs:?}, of {message:02x?}"),
    }
}

/// Decodes a delimited stream with the library.
fn library_families(mut body: &[u8]) -> Result<Vec<MetricFamily>, prost::DecodeError> {
    let mut families = Vec::new();
    while !body.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut body)?);
    }
    Ok(families)
}

pub(crate) fn check_families(body: &[u8], context: &str) {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let ours = exposition::decode(ExpositionFormat::Delimited, body, &NO_LIMITS, &mut set);
    match (ours, library_families(body)) {
        (Ok(()), Ok(families)) => {
            let expected: Vec<_> = families.iter().flat_map(messages::series_of).collect();
            let mut sent = Vec::new();
            remote_write::encode(&set, &mut sent);
            let sent = WriteRequest::decode(&sent[..]).unwrap_or_else(|error| panic!("{context}: {error}"));
            let ours: Vec<_> = set
                .iter()
                .zip(&sent.timeseries)
                .map(|(series, sent)| {
                    let labels =
                        series.labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
                    let sample = series.samples().next().map(|sample| (sample.value.to_bits(), sample.timestamp_ms));
                    let histogram = sent.histograms.first().map(Message::encode_to_vec);
                    messages::Flat { labels, kind: series.kind as i32, sample, histogram }
                })
                .collect();
            assert_eq!(ours, expected, "{context}");
            // The message that a client forwards means the same.
            let mut passed_on = Vec::new();
            exposition::delimited::encode(&set, &mut passed_on);
            let passed_on = library_families(&passed_on).unwrap_or_else(|error| panic!("{context}: {error}"));
            let passed_on: Vec<_> = passed_on.iter().flat_map(messages::series_of).collect();
            let histograms = |all: &[messages::Flat]| -> Vec<_> {
                all.iter().filter_map(|series| Some((series.kind, series.histogram.clone()?))).collect()
            };
            assert_eq!(histograms(&passed_on), histograms(&expected), "{context}");
        }
        (Err(Error::Protobuf("a metric type that does not exist")), Ok(families)) => {
            assert!(
                families.iter().any(|family| family.r#type.is_some_and(|kind| !(0..=5).contains(&kind))),
                "{context}"
            );
        }
        (Err(Error::Protobuf(_) | Error::NotUtf8(_)), Err(_)) => {}
        (ours, theirs) => panic!("{context}: ours {ours:?}, theirs {theirs:?}, of {body:02x?}"),
    }
}

#[test]
fn remote_write_agrees_with_the_library_on_random_messages() {
    for seed in 0..messages() {
        let message = SplitMix64::new(seed).write_request().encode_to_vec();
        check_write_request(&message, &format!("seed {seed}"));
    }
}

#[test]
fn remote_write_agrees_with_the_library_on_mutated_messages() {
    for seed in 0..mutations() {
        let mut random = SplitMix64::new(seed);
        let mut message = random.write_request().encode_to_vec();
        random.mutate(&mut message);
        check_write_request(&message, &format!("seed {seed}"));
    }
}

#[test]
fn remote_write_2_0_agrees_with_the_library_on_random_messages() {
    for seed in 0..messages() {
        let message = SplitMix64::new(seed).request().encode_to_vec();
        check_request(&message, &format!("seed {seed}"));
    }
}

#[test]
fn remote_write_2_0_agrees_with_the_library_on_mutated_messages() {
    for seed in 0..mutations() {
        let mut random = SplitMix64::new(seed);
        let mut message = random.request().encode_to_vec();
        random.mutate(&mut message);
        check_request(&message, &format!("seed {seed}"));
    }
}

/// Series that are sent as 1.0 and as 2.0 reach the store as the same message.
#[test]
fn both_versions_are_equal_in_what_the_store_gets() {
    for seed in 0..messages() {
        let request = SplitMix64::new(seed).request();
        let Some(of_1_0) = request.in_1_0() else { continue };
        let (of_1_0, message) = (of_1_0.encode_to_vec(), request.encode_to_vec());
        let (arena, other) = (Arena::new(), Arena::new());
        let (mut one, mut two) = (SeriesSet::new_in(&arena), SeriesSet::new_in(&other));
        remote_write::decode(&of_1_0, &NO_LIMITS, &mut one).expect("a message of 1.0");
        if remote_write::v2::decode(&message, &NO_LIMITS, &mut two).is_err() {
            assert!(request.symbols.is_empty(), "seed {seed}");
            continue;
        }
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        remote_write::encode(&one, &mut expected);
        remote_write::encode(&two, &mut sent);
        let read = |message: &[u8]| WriteRequest::decode(message).expect("our own message").encode_to_vec();
        assert_eq!(read(&sent), read(&expected), "seed {seed}");
    }
}

#[test]
fn families_agree_with_the_library_on_random_messages() {
    for seed in 0..messages() {
        check_families(&SplitMix64::new(seed).families(), &format!("seed {seed}"));
    }
}

#[test]
fn families_agree_with_the_library_on_mutated_messages() {
    for seed in 0..mutations() {
        let mut random = SplitMix64::new(seed);
        let mut body = random.families();
        random.mutate(&mut body);
        check_families(&body, &format!("seed {seed}"));
    }
}

#[test]
fn no_mutated_text_or_snappy_makes_it_panic() {
    let (mut encoder, mut out) = (snappy::Encoder::new(), Vec::new());
    for seed in 0..mutations() {
        let mut random = SplitMix64::new(seed);
        let body = random.families();
        let arena = Arena::new();
        let mut text = Vec::new();
        {
            let mut set = SeriesSet::new_in(&arena);
            exposition::decode(ExpositionFormat::Delimited, &body, &NO_LIMITS, &mut set).expect("a body");
            exposition::text::encode(&set, &mut text);
        }
        random.mutate(&mut text);
        let mut set = SeriesSet::new_in(&arena);
        let _ = exposition::decode(ExpositionFormat::Text, &text, &NO_LIMITS, &mut set);
        for framed in [false, true] {
            let mut compressed = Vec::new();
            if framed {
                encoder.framed(&body, &mut compressed);
            } else {
                encoder.block(&body, &mut compressed);
            }
            random.mutate(&mut compressed);
            let decode = if framed { snappy::decode_framed } else { snappy::decode_block };
            if decode(&compressed, body.len() + 1000, &mut out).is_ok() {
                assert!(out.len() <= body.len() + 1000, "seed {seed}");
            }
        }
    }
}
