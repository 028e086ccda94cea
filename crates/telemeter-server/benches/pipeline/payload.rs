//! What one cluster sends, on either way in.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use telemeter_rules::{Report, canonical::Canonical};
use telemeter_wire::{
    Arena, Label, Limits, Points, Sample, SeriesSet,
    exposition::{delimited, text},
    remote_write, snappy,
};

pub(crate) const CLUSTER: &str = "00000000-0000-4000-8000-000000000001";
pub(crate) const TOKEN: &str = "a";

/// The bodies of one cluster.
pub(crate) struct Payload {
    pub(crate) series: usize,
    /// Framed snappy over delimited families.
    pub(crate) upload: Bytes,
    /// A snappy block over a remote-write request.
    pub(crate) receive: Bytes,
}

impl Payload {
    /// `TELEMETER_SAMPLE`, or made-up metrics of the same size, as of `now_ms`.
    pub(crate) fn new(now_ms: i64) -> Self {
        let sample = sample();
        let (mut encoder, mut plain, mut upload, mut receive) =
            (snappy::Encoder::new(), Vec::new(), Vec::new(), Vec::new());
        let (arena, canonical) = (Arena::new(), Canonical::new());
        let mut set = SeriesSet::new_in(&arena);
        text::decode(sample.as_bytes(), &Limits::default(), &mut set).expect("a text exposition");
        set.retain_mut(|series| {
            if let Points::Sample(sample) = series.points() {
                series.set_points(Points::Sample(Sample { timestamp_ms: Some(now_ms), ..sample }));
            }
            series.push_label(Label::new("_id", CLUSTER));
            true
        });
        delimited::encode(&set, &mut plain);
        encoder.framed(&plain, &mut upload);
        telemeter_rules::run(&mut set, &[&canonical], &mut Report::default()).expect("series");
        plain.clear();
        remote_write::encode(&set, &mut plain);
        encoder.block(&plain, &mut receive);
        Self { series: set.len(), upload: upload.into(), receive: receive.into() }
    }
}

/// The bearer of a remote write.
pub(crate) fn composite_token() -> String {
    BASE64_STANDARD.encode(format!(r#"{{"authorization_token":"{TOKEN}","cluster_id":"{CLUSTER}"}}"#))
}

fn sample() -> String {
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

/// `TELEMETER_RULES`, or 217 selectors of which the made-up metrics match some.
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
