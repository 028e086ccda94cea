//! What one cluster sends, in each format, and the rules that are applied to it. Both benches use it.

use std::{collections::HashMap, fmt::Write as _};

use telemeter_rules::{StepCounts, canonical::Canonical};
use telemeter_wire::{
    Arena, DecodeLimits, Label, Points, Sample, SeriesSet,
    exposition::{delimited, text},
    remote_write, snappy,
};

/// The cluster.
pub(crate) const CLUSTER: &str = "00000000-0000-4000-8000-000000000001";

/// The bodies of one cluster.
#[allow(dead_code, reason = "each bench needs some of them")]
pub(crate) struct BenchBodies {
    /// How many series.
    pub(crate) series: usize,
    /// Delimited families, and these as framed snappy: an upload.
    pub(crate) families: Vec<u8>,
    /// The same, compressed.
    pub(crate) upload: Vec<u8>,
    /// A remote-write request, and it as a snappy block.
    pub(crate) message: Vec<u8>,
    /// The same, compressed.
    pub(crate) receive: Vec<u8>,
    /// The same series as a request of remote write 2.0, in a snappy block.
    pub(crate) receive_v2: Vec<u8>,
}

impl BenchBodies {
    /// These metrics, as of `now_ms`.
    pub(crate) fn new(sample: &str, now_ms: i64) -> Self {
        Self::copies(sample, &[], now_ms)
    }

    /// These metrics as often as there are copies, each with another value of one label more.
    pub(crate) fn copies(sample: &str, copies: &[String], now_ms: i64) -> Self {
        let (canonical, arena) = (Canonical::new(), Arena::new());
        let mut set = SeriesSet::new_in(&arena);
        let copies: Vec<Option<&String>> = match copies {
            [] => vec![None],
            copies => copies.iter().map(Some).collect(),
        };
        for copy in copies {
            let mut before = set.len();
            text::decode(sample.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text exposition");
            set.retain_mut(|series| {
                if before > 0 {
                    before -= 1;
                    return true;
                }
                if let Points::Sample(sample) = series.points() {
                    series.set_points(Points::Sample(Sample { timestamp_ms: Some(now_ms), ..sample }));
                }
                if let Some(copy) = copy {
                    series.push_label(Label::new("copy", copy));
                }
                series.push_label(Label::new("_id", CLUSTER));
                true
            });
        }
        let (mut families, mut upload, mut message, mut receive) = (vec![], vec![], vec![], vec![]);
        let mut encoder = snappy::Encoder::new();
        delimited::encode(&set, &mut families);
        encoder.framed(&families, &mut upload);
        telemeter_rules::run(&mut set, &[&canonical], &mut StepCounts::default()).expect("series");
        remote_write::encode(&set, &mut message);
        encoder.block(&message, &mut receive);
        let mut receive_v2 = vec![];
        encoder.block(&in_v2(&set), &mut receive_v2);
        Self { series: set.len(), families, upload, message, receive, receive_v2 }
    }
}

/// These series as `io.prometheus.write.v2.Request`.
fn in_v2(set: &SeriesSet<'_>) -> Vec<u8> {
    let (mut symbols, mut known, mut message) = (vec![""], HashMap::from([("", 0)]), vec![]);
    let mut timeseries = vec![];
    for series in set.iter() {
        let mut references = vec![];
        for text in series.labels.iter().flat_map(|label| [label.name, label.value]) {
            let reference = *known.entry(text).or_insert_with(|| {
                symbols.push(text);
                symbols.len() as u64 - 1
            });
            put_varint(&mut references, reference);
        }
        let mut one = vec![];
        put_bytes(&mut one, 1, &references);
        for sample in series.samples() {
            let mut field = vec![1 << 3 | 1];
            field.extend_from_slice(&sample.value.to_le_bytes());
            field.push(2 << 3);
            put_varint(&mut field, sample.timestamp_ms.unwrap_or(0) as u64);
            put_bytes(&mut one, 2, &field);
        }
        put_bytes(&mut timeseries, 5, &one);
    }
    symbols.iter().for_each(|symbol| put_bytes(&mut message, 4, symbol.as_bytes()));
    message.extend_from_slice(&timeseries);
    message
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `TELEMETER_SAMPLE`, or made-up metrics of the size that clusters really send: 232 series in 26 families.
pub(crate) fn sample() -> String {
    if let Ok(file) = std::env::var("TELEMETER_SAMPLE") {
        return std::fs::read_to_string(file).expect("TELEMETER_SAMPLE can be read");
    }
    let mut text = String::new();
    for index in 0..232 {
        let (family, operator) = (index / 9, index % 9);
        let _ = writeln!(
            text,
            "cluster_operator_conditions_{family}{{condition=\"Available\",endpoint=\"metrics\",instance=\"10.0.150.196:9099\",\
             job=\"cluster-version-operator\",name=\"operator-{operator}\",namespace=\"openshift-cluster-version\",\
             pod=\"cluster-version-operator-5cb5f8c9db-st825\",service=\"cluster-version-operator\",\
             prometheus=\"openshift-monitoring/k8s\",prometheus_replica=\"prometheus-k8s-0\"}} {index}"
        );
    }
    text
}

/// `TELEMETER_RULES`, or as many selectors as a production whitelist has, 217, of which the made-up metrics match some.
pub(crate) fn rules() -> String {
    if let Ok(file) = std::env::var("TELEMETER_RULES") {
        return std::fs::read_to_string(file).expect("TELEMETER_RULES can be read");
    }
    let families: String =
        (0..26).map(|family| format!("{{__name__=\"cluster_operator_conditions_{family}\"}}\n")).collect();
    let others: String =
        (0..191).map(|other| format!("{{__name__=\"cluster:usage_{other}:sum\",type=~\"a|b|c\"}}\n")).collect();
    families + &others
}
