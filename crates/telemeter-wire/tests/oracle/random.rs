//! Random messages from a seed, and random mutations.

use prost::Message;

use super::messages::*;

/// `SplitMix64`: a small generator with the same results on every platform.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn many<T>(&mut self, most: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| make(self))
    }

    fn rarely<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(8) == 0).then(|| make(self))
    }

    fn text(&mut self) -> String {
        const WORDS: [&str; 8] = ["", "__name__", "up", "_id", "ALERTS", "ü", "a\"\\\n}", "\u{1f980}"];
        match self.below(20) {
            0 => "x".repeat(self.below(300) as usize),
            1..=8 => WORDS[self.below(8) as usize].to_owned(),
            _ => (0..self.below(12)).map(|_| char::from(b'a' + self.below(26) as u8)).collect(),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(6) {
            0 => 0.0,
            1 => f64::INFINITY,
            2 => f64::from_bits(self.next()),
            _ => self.below(1000) as f64 / 8.0,
        }
    }

    fn integer(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    /// A time, often one of the present.
    fn milliseconds(&mut self) -> i64 {
        if self.below(2) == 0 { self.integer() as i64 } else { self.below(1 << 42) as i64 }
    }

    fn remote_label(&mut self) -> RemoteLabel {
        RemoteLabel { name: self.text(), value: self.text() }
    }

    fn span(&mut self) -> Span {
        Span { offset: self.integer() as i32, length: self.integer() as u32 }
    }

    fn remote_histogram(&mut self) -> RemoteHistogram {
        use remote_histogram::{Count, ZeroCount};
        RemoteHistogram {
            count: self.maybe(|random| {
                if random.below(2) == 0 {
                    Count::CountInt(random.integer())
                } else {
                    Count::CountFloat(random.double())
                }
            }),
            sum: self.double(),
            schema: self.below(12) as i32 - 4,
            zero_threshold: self.double(),
            zero_count: self.maybe(|random| {
                if random.below(2) == 0 {
                    ZeroCount::ZeroCountInt(random.integer())
                } else {
                    ZeroCount::ZeroCountFloat(random.double())
                }
            }),
            negative_spans: self.many(2, Self::span),
            negative_deltas: self.many(3, |random| random.integer() as i64),
            negative_counts: self.many(2, Self::double),
            positive_spans: self.many(2, Self::span),
            positive_deltas: self.many(3, |random| random.integer() as i64),
            positive_counts: self.many(2, Self::double),
            reset_hint: self.below(4) as i32,
            timestamp: self.integer() as i64,
            custom_values: self.many(2, Self::double),
        }
    }

    pub(crate) fn write_request(&mut self) -> WriteRequest {
        WriteRequest {
            timeseries: self.many(4, |random| TimeSeries {
                labels: random.many(6, Self::remote_label),
                samples: random
                    .many(3, |random| RemoteSample { value: random.double(), timestamp: random.milliseconds() }),
                exemplars: random
                    .rarely(|random| {
                        random.many(2, |random| RemoteExemplar {
                            labels: random.many(2, Self::remote_label),
                            value: random.double(),
                            timestamp: random.integer() as i64,
                        })
                    })
                    .unwrap_or_default(),
                histograms: random.rarely(|random| random.many(2, Self::remote_histogram)).unwrap_or_default(),
            }),
            metadata: self.many(1, |random| MetricMetadata {
                r#type: random.below(9) as i32,
                metric_family_name: random.text(),
                help: random.text(),
                unit: random.text(),
            }),
        }
    }

    /// A request of remote write 2.0. Most have valid references; a few do not.
    pub(crate) fn request(&mut self) -> super::messages_v2::Request {
        use super::messages_v2::{Exemplar, Histogram, Metadata, Request, Sample, Series, Start};
        let mut symbols = vec![String::new()];
        symbols.extend(self.many(12, Self::text));
        self.rarely(|random| symbols.truncate(random.below(2) as usize));
        let len = symbols.len().max(1) as u64;
        let reference =
            move |random: &mut Self| if random.below(400) == 0 { random.integer() } else { random.below(len) } as u32;
        let pairs = move |random: &mut Self, most: u64| {
            let mut references: Vec<u32> =
                random.many(most, |random| [reference(random), reference(random)]).into_iter().flatten().collect();
            if random.below(200) == 0 {
                references.pop();
            }
            references
        };
        let start = |random: &mut Self| random.rarely(Self::milliseconds).unwrap_or_default();
        let timeseries = self.many(4, |random| Series {
            labels_refs: pairs(random, 6),
            samples: random.many(3, |random| Sample {
                value: random.double(),
                timestamp: random.milliseconds(),
                start_timestamp: start(random),
            }),
            histograms: random
                .rarely(|random| {
                    random.many(2, |random| Histogram {
                        of_1_0: random.remote_histogram(),
                        start: Start { start_timestamp: start(random) },
                    })
                })
                .unwrap_or_default(),
            exemplars: random
                .rarely(|random| {
                    random.many(2, |random| Exemplar {
                        labels_refs: pairs(random, 2),
                        value: random.double(),
                        timestamp: random.integer() as i64,
                    })
                })
                .unwrap_or_default(),
            metadata: random.maybe(|random| Metadata {
                r#type: random.below(9) as i32,
                help_ref: reference(random),
                unit_ref: reference(random),
            }),
            created_timestamp: start(random),
        });
        Request { symbols, timeseries }
    }

    fn label_pair(&mut self) -> LabelPair {
        LabelPair { name: self.maybe(Self::text), value: self.maybe(Self::text) }
    }

    fn timestamp(&mut self) -> Timestamp {
        Timestamp { seconds: self.integer() as i64, nanos: self.integer() as i32 }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            label: self.many(2, Self::label_pair),
            value: self.maybe(Self::double),
            timestamp: self.maybe(Self::timestamp),
        }
    }

    fn bucket(&mut self) -> Bucket {
        Bucket {
            cumulative_count: self.maybe(Self::integer),
            cumulative_count_float: self.rarely(Self::double),
            upper_bound: self.maybe(Self::double),
            exemplar: self.rarely(Self::exemplar),
        }
    }

    fn histogram(&mut self) -> Histogram {
        Histogram {
            sample_count: self.maybe(Self::integer),
            sample_count_float: self.rarely(Self::double),
            sample_sum: self.maybe(Self::double),
            bucket: self.many(3, Self::bucket),
            schema: self.rarely(|random| random.integer() as i32),
            zero_threshold: self.rarely(Self::double),
            zero_count: self.rarely(Self::integer),
            zero_count_float: self.rarely(Self::double),
            negative_span: self.many(1, Self::span),
            negative_delta: self.many(1, |random| random.integer() as i64),
            negative_count: self.many(1, Self::double),
            positive_span: self.many(1, Self::span),
            positive_delta: self.many(1, |random| random.integer() as i64),
            positive_count: self.many(1, Self::double),
            created_timestamp: self.rarely(Self::timestamp),
            exemplars: self.many(1, Self::exemplar),
        }
    }

    fn metric(&mut self, kind: u64) -> Metric {
        // Mostly the value of the family's type; sometimes another, or several.
        let shown =
            |random: &mut Self, wanted: u64| if wanted == kind { random.below(10) > 0 } else { random.below(30) == 0 };
        Metric {
            label: self.many(5, Self::label_pair),
            gauge: shown(self, 1).then(|| Gauge { value: self.maybe(Self::double) }),
            counter: shown(self, 0).then(|| Counter {
                value: self.maybe(Self::double),
                exemplar: self.rarely(Self::exemplar),
                created_timestamp: self.rarely(Self::timestamp),
            }),
            summary: shown(self, 2).then(|| Summary {
                sample_count: self.maybe(Self::integer),
                sample_sum: self.maybe(Self::double),
                quantile: self.many(3, |random| Quantile {
                    quantile: random.maybe(Self::double),
                    value: random.maybe(Self::double),
                }),
                created_timestamp: self.rarely(Self::timestamp),
            }),
            untyped: shown(self, 3).then(|| Gauge { value: self.maybe(Self::double) }),
            histogram: shown(self, if kind == 5 { 5 } else { 4 }).then(|| self.histogram()),
            timestamp_ms: self.maybe(Self::milliseconds),
        }
    }

    /// A delimited stream of families.
    pub(crate) fn families(&mut self) -> Vec<u8> {
        let families = self.many(3, |random| {
            let kind = random.below(6);
            MetricFamily {
                name: random.maybe(Self::text),
                help: random.rarely(Self::text),
                r#type: random.maybe(|_| kind as i32),
                metric: random.many(3, |random| random.metric(kind)),
                unit: random.rarely(Self::text),
            }
        });
        families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
    }

    /// Flips, drops, duplicates and moves a few bytes.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return bytes.push(self.next() as u8);
            }
            let at = self.below(bytes.len() as u64) as usize;
            match self.below(7) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, self.next() as u8),
                4 => bytes.truncate(at),
                5 => bytes[at] = bytes[at].wrapping_add(1),
                _ => {
                    let end = (at + 1 + self.below(20) as usize).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() as u64 + 1) as usize;
                    bytes.splice(to..to, copy);
                }
            }
        }
    }
}
