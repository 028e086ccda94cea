//! Fuzz targets: properties that hold for every input. Each function checks one input, and panics if a property is violated.
//!
//! For tests and for the programs below `fuzz/`, which search for such an input; not part of a normal build. `tests/oracle`
//! compares the decoders of remote write and delimited protobuf with those of a library; the programs run it, too.

mod seeds;
mod snappy;

use crate::{
    Arena, DecodeLimits, Error, Label, Points, SeriesSet, UploadCounts,
    exposition::{self, Escaping, ExpositionFormat, NameKind, Pieces, TextFamilies},
    remote_write::{
        self,
        v2::{self, Keep, RequestBuilder},
    },
    series::NAME_LABEL,
};

pub use snappy::{snappy_block, snappy_framed};

/// Each target: its name, its function, and its seeds.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    vec![
        ("text", text, seeds::text()),
        ("delimited", delimited, seeds::delimited()),
        ("pieces", pieces, seeds::pieces()),
        ("remote_write_1_0", remote_write_1_0, seeds::remote_write()),
        ("remote_write_2_0", remote_write_2_0, seeds::remote_write()),
        ("snappy_block", snappy_block, snappy::block_seeds()),
        ("snappy_framed", snappy_framed, snappy::framed_seeds()),
        ("wire_headers", headers, seeds::headers()),
    ]
}

/// Limits that a short input can reach.
const TIGHT: DecodeLimits = DecodeLimits {
    series: 12,
    labels: 40,
    text_bytes: 2000,
    symbols: 24,
    labels_per_series: 8,
    label_name_bytes: 24,
    label_value_bytes: 60,
};

/// Calls `read` with the set that `decode` fills, and with its error.
fn with_set<T>(
    decode: impl for<'a> FnOnce(&mut SeriesSet<'a>, &'a [u8]) -> Result<(), Error>,
    bytes: &[u8],
    read: impl FnOnce(&Result<(), Error>, &SeriesSet<'_>) -> T,
) -> T {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let result = decode(&mut set, bytes);
    read(&result, &set)
}

/// A series in the form in which it is compared: labels, samples (bits of the value, time), and the number of points of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    labels: Vec<(String, String)>,
    samples: Vec<(u64, Option<i64>)>,
    /// The message of a native histogram, and its time.
    histogram: Option<(Vec<u8>, Option<i64>)>,
}

fn plain(set: &SeriesSet<'_>) -> Vec<Plain> {
    let owned = |label: &Label<'_>| (label.name.to_owned(), label.value.to_owned());
    let plain = set.iter().map(|series| Plain {
        labels: series.labels.iter().map(owned).collect(),
        samples: series.samples().map(|sample| (canonical_bits(sample.value), sample.timestamp_ms)).collect(),
        histogram: match series.points {
            Points::Histogram(histogram) => Some((histogram.message.to_vec(), histogram.timestamp_ms)),
            _ => None,
        },
    });
    plain.collect()
}

/// One bit pattern for each number: the text format has only one NaN.
fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Checks that a decoded set is within the limits of decoding.
fn check_limits(set: &SeriesSet<'_>, limits: &DecodeLimits) {
    assert!(set.len() <= limits.series);
    let (mut labels, mut bytes) = (0, 0);
    for series in set.iter() {
        labels += series.labels.len();
        assert!(series.labels.len() <= limits.labels_per_series);
        for label in series.labels {
            assert!(label.name.len() <= limits.label_name_bytes, "{label:?}");
            assert!(label.value.len() <= limits.label_value_bytes, "{label:?}");
            bytes += label.name.len() + label.value.len();
        }
    }
    assert!(labels <= limits.labels, "{labels} labels");
    assert!(bytes <= limits.text_bytes, "{bytes} bytes");
}

/// The text format: the limits hold, a body in two parts is decoded like the whole, and the series are encoded as text, as
/// delimited protobuf and as remote write, and decoded the same.
pub fn text(body: &[u8]) {
    with_set(
        |set, body| exposition::decode(ExpositionFormat::Text, body, &TIGHT, set),
        body,
        |result, set| {
            if result.is_ok() {
                check_limits(set, &TIGHT);
            }
        },
    );
    let decode = |set: &mut SeriesSet<'_>| -> Vec<Plain> { plain(set) };
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let result = exposition::decode(ExpositionFormat::Text, body, &DecodeLimits::default(), &mut set);
    let expected = decode(&mut set);
    let cuts = body.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    for cut in cuts.take(3) {
        let (arena, mut families) = (Arena::new(), TextFamilies::default());
        let mut set = SeriesSet::new_in(&arena);
        let (one, other) = body.split_at(cut);
        let parts = [one, other].iter().try_for_each(|part| {
            exposition::decode_part(
                ExpositionFormat::Text,
                part,
                &DecodeLimits::default(),
                &mut set,
                &mut families,
                exposition::NativeHistograms::Keep,
            )
        });
        assert_eq!(parts, result, "cut at {cut}");
        assert_eq!(plain(&set), expected, "cut at {cut}");
    }
    if result.is_err() {
        return;
    }
    let mut text = Vec::new();
    exposition::text::encode(&set, &mut text);
    read_again(ExpositionFormat::Text, &text, &expected);
    let mut delimited = Vec::new();
    exposition::delimited::encode(&set, &mut delimited);
    read_again(ExpositionFormat::Delimited, &delimited, &expected);
    let mut sent = Vec::new();
    remote_write::encode(&set, &mut sent);
    let mut expected = expected;
    // Remote write has no sample without a time: it gets time zero.
    expected.iter_mut().flat_map(|series| &mut series.samples).for_each(|(_, time)| *time = Some(time.unwrap_or(0)));
    with_set(
        |set, message| remote_write::decode(message, &DecodeLimits::default(), set).map(|_| ()),
        &sent,
        |result, set| {
            assert_eq!(*result, Ok(()));
            assert_eq!(plain(set), expected);
        },
    );
}

/// Checks that encoded series are decoded as they were.
fn read_again(format: ExpositionFormat, body: &[u8], expected: &[Plain]) {
    with_set(
        |set, body| exposition::decode(format, body, &DecodeLimits::default(), set),
        body,
        |result, set| {
            assert_eq!(*result, Ok(()), "{}", body.escape_ascii());
            assert_eq!(plain(set), expected, "{}", body.escape_ascii());
        },
    );
}

/// A body that is cut into the smallest possible pieces as it arrives: it is decoded like the whole. The first byte of the input
/// is the format and the number of bytes that arrive at once.
pub fn pieces(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let format = if first & 1 == 0 { ExpositionFormat::Text } else { ExpositionFormat::Delimited };
    let (at_once, piece_bytes) = (usize::from(first >> 3) + 1, 1 << (first >> 1 & 3));
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let whole = exposition::decode(format, body, &DecodeLimits::default(), &mut set).map(|()| plain(&set));

    let (mut families, mut found, mut buffer) = (TextFamilies::default(), Vec::new(), Vec::new());
    let mut decode = |piece: &[u8]| {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let native = exposition::NativeHistograms::Keep;
        exposition::decode_part(format, piece, &DecodeLimits::default(), &mut set, &mut families, native)?;
        found.extend(plain(&set));
        Ok(())
    };
    let mut pieces = Pieces::new(format, piece_bytes, &mut buffer);
    let arrived = body.chunks(at_once).try_for_each(|part| pieces.push(part, &mut decode));
    let cut = arrived.and_then(|()| pieces.finish(&mut decode)).map(|()| found);
    match (cut, whole) {
        // Fields that no piece needs are skipped there, and may be invalid. And a name may come too late.
        (Ok(_), Err(_)) if format == ExpositionFormat::Delimited => {}
        (Err(Error::Protobuf(late)), Ok(_)) if late.contains("behind its metrics") => {}
        (Err(cut), Err(whole)) if format == ExpositionFormat::Delimited => drop((cut, whole)),
        (cut, whole) => assert_eq!(cut, whole, "{}", body.escape_ascii()),
    }
}

/// Delimited protobuf: the limits hold, and decoded series are encoded and decoded the same.
pub fn delimited(body: &[u8]) {
    with_set(
        |set, body| exposition::decode(ExpositionFormat::Delimited, body, &TIGHT, set),
        body,
        |result, set| {
            if result.is_ok() {
                check_limits(set, &TIGHT);
            }
        },
    );
    with_set(
        |set, body| exposition::decode(ExpositionFormat::Delimited, body, &DecodeLimits::default(), set),
        body,
        |result, set| {
            let mut expected = plain(set);
            // This format cannot express a name among the labels, or a metric without a value.
            let is_name = |(name, _): &(String, String)| name == NAME_LABEL;
            let is_plain = |series: &Plain| series.labels.iter().position(is_name) == Some(0);
            let names = |series: &Plain| series.labels.iter().filter(|label| is_name(label)).count();
            if result.is_err() || !expected.iter().all(|series| is_plain(series) && names(series) == 1) {
                return;
            }
            expected.retain(|series| !series.samples.is_empty() || series.histogram.is_some());
            let mut written = Vec::new();
            exposition::delimited::encode(set, &mut written);
            read_again(ExpositionFormat::Delimited, &written, &expected);
            // A store reads what is sent of it, and a histogram whose parts belong together or not is looked at.
            let mut sent = Vec::new();
            remote_write::encode(set, &mut sent);
            let arena = Arena::new();
            assert!(remote_write::decode(&sent, &DecodeLimits::default(), &mut SeriesSet::new_in(&arena)).is_ok());
            set.iter().for_each(|series| {
                if let Points::Histogram(histogram) = series.points {
                    let _ = histogram.check();
                }
            });
        },
    );
}

/// Remote write 1.0: the limits hold, and a message that was decoded and encoded once is from then on decoded and encoded
/// without a change.
pub fn remote_write_1_0(message: &[u8]) {
    check_message(message, |message, limits, set| remote_write::decode(message, limits, set).map(|_| ()));
}

/// Remote write 2.0: as [`remote_write_1_0`]; the same for 2.0 with start timestamps; and where a request is accepted in part,
/// each series is accepted or refused.
pub fn remote_write_2_0(message: &[u8]) {
    check_message(message, |message, limits, set| v2::decode(message, limits, set).map(|_| ()));
    let (arena, other) = (Arena::new(), Arena::new());
    let (mut set, mut part) = (SeriesSet::new_in(&arena), SeriesSet::new_in(&other));
    let whole = v2::decode(message, &DecodeLimits::default(), &mut set);
    let mut refused = 0;
    let taken = v2::decode_partial(message, &DecodeLimits::default(), &mut part, &mut |_| refused += 1);
    match (whole, taken) {
        (Ok(whole), taken) => {
            assert_eq!((taken, refused), (Ok(whole), 0));
            assert_eq!(plain(&part), plain(&set));
        }
        (Err(Error::Reference(_)), Ok(_)) => assert!(refused > 0),
        (Err(_), Ok(_)) => panic!("taken in part, and not for a reference"),
        (Err(_), Err(_)) => {}
    }
    if let Some(written) = written_as_2_0(message) {
        assert_eq!(written_as_2_0(&written).as_ref(), Some(&written));
    }
    // Only requests that we encoded are joined; no other one makes it panic.
    let mut joined = RequestBuilder::default();
    joined.clear();
    let _ = joined.add_request(message, &v2::Contents::default());
}

/// The request that is encoded from a request that was accepted.
fn written_as_2_0(message: &[u8]) -> Option<Vec<u8>> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    v2::decode_keeping(
        message,
        Keep { start_timestamps: true, metadata: true },
        &DecodeLimits::default(),
        &mut set,
        None,
    )
    .ok()?;
    let (mut request, mut out) = (RequestBuilder::default(), Vec::new());
    request.clear();
    request.add(&set);
    request.put_message(&mut out);
    Some(out)
}

fn check_message(
    message: &[u8],
    decode: impl for<'a> Fn(&'a [u8], &DecodeLimits, &mut SeriesSet<'a>) -> Result<(), Error> + Copy,
) {
    with_set(
        |set, message| decode(message, &TIGHT, set),
        message,
        |result, set| {
            if result.is_ok() {
                check_limits(set, &TIGHT);
            }
        },
    );
    let (mut sent, mut layout) = (Vec::new(), remote_write::Layout::default());
    let taken = with_set(
        |set, message| decode(message, &DecodeLimits::default(), set),
        message,
        |result, set| {
            if result.is_err() {
                return None;
            }
            remote_write::encode_placed(set, &mut sent, &mut layout);
            // The positions of each series are those of its labels and points.
            assert_eq!(layout.len(), set.len());
            for (placed, series) in layout.series(&sent).zip(set.iter()) {
                let mut labels = Vec::new();
                remote_write::read_labels(placed.labels, &mut labels).expect("our own labels");
                assert_eq!(labels, series.labels);
                let bits = |sample: crate::Sample| (sample.value.to_bits(), sample.timestamp_ms);
                assert!(placed.samples().map(bits).eq(series.samples().map(bits)));
            }
            // No series of a 2.0 message can be copied, and a request without series is not sent.
            if remote_write::is_unchanged(set) && !set.is_empty() {
                assert_eq!(sent, message, "said to be unchanged");
            }
            Some(plain(set))
        },
    );
    let Some(expected) = taken else { return };
    with_set(
        |set, message| remote_write::decode(message, &DecodeLimits::default(), set).map(|_| ()),
        &sent,
        |result, set| {
            assert_eq!(*result, Ok(()), "our own message");
            assert_eq!(plain(set), expected);
            let mut again = Vec::new();
            remote_write::encode(set, &mut again);
            assert_eq!(again, sent);
        },
    );
}

/// Values of headers: a scrape accepts every Content-Type that an upload accepts; an escaped name needs no escaping; parsed
/// counts of an upload are written and parsed the same.
pub fn headers(value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    if let Ok(format) = ExpositionFormat::of(Some(text))
        && !text.split(';').skip(1).any(|part| !part.trim().is_empty() && !part.contains('='))
    {
        let letters_alone = text.to_ascii_lowercase() == text.replace("MetricFamily", "metricfamily");
        assert!(!letters_alone || ExpositionFormat::of_scrape(Some(text)).0 == format);
    }
    let escaping = Escaping::accepted(text);
    for named in [NameKind::Metric, NameKind::Label] {
        let escaped = escaping.escape(text, named);
        if !matches!(escaping, Escaping::AllowUtf8) && !text.is_empty() {
            assert!(exposition::is_known_name(&escaped, named), "{escaped:?}");
        }
    }
    if let Some(counts) = UploadCounts::parse(text) {
        assert_eq!(UploadCounts::parse(&counts.to_string()), Some(counts));
    }
    let shown = crate::excerpt(value);
    assert!(shown.len() <= 131 && !shown.contains(char::is_control), "{shown}");
}

#[cfg(test)]
mod tests;
