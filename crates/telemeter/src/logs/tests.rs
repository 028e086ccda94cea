#![allow(clippy::unwrap_used)]
use std::{io, sync::Arc};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use parking_lot::Mutex;
use tracing::{debug, error, info, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::*;
use crate::traces;

#[derive(Clone, Default)]
struct TestOutput(Arc<Mutex<Vec<u8>>>);

impl Write for TestOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const INFO: Config = Config { level: Level::Info, format: LogFormat::Logfmt, verbose: false };

/// What `events` log; the number behind the caller's file is cut off.
fn logged(config: Config, events: impl FnOnce()) -> Vec<String> {
    let out = TestOutput::default();
    let traces = traces::off();
    let subscriber = tracing_subscriber::registry().with(traces.layer()).with(layer(
        config,
        Clock::fixed(1_795_335_128_123).0,
        out.clone(),
    ));
    tracing::subscriber::with_default(subscriber, events);
    let text = String::from_utf8(out.0.lock().clone()).unwrap();
    text.lines()
        .map(|line| {
            let (before, after) = line.split_once("tests.rs:").expect("a caller");
            format!("{before}tests.rs{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        })
        .collect()
}

#[test]
fn a_line_for_people_is_a_sentence() {
    let out = TestOutput::default();
    let config = Config { format: LogFormat::Text, ..INFO };
    let subscriber = tracing_subscriber::registry().with(layer(config, Clock::fixed(1_795_335_128_123).0, out.clone()));
    tracing::subscriber::with_default(subscriber, || {
        warn!(bytes = 12, "two\nwords");
        error!(cause = "it is \"full\"", next = %"1m", "not uploaded");
        info!("serving");
    });
    let text = String::from_utf8(out.0.lock().clone()).unwrap();
    let sentences: Vec<_> = text.lines().map(|line| line.strip_prefix("08:12:08 ").expect("a time")).collect();
    assert_eq!(
        sentences,
        ["warning: two\\nwords (bytes 12)", "error: not uploaded: it is \"full\" (next 1m)", "serving"]
    );
}

#[test]
fn a_line_of_logfmt() {
    let lines = logged(INFO, || info!(bytes = 12, ratio = 0.5, ok = true, name = "a b", error = %"x\ny", "two words"));
    let expected = r#"ts=2026-11-22T08:12:08.123Z level=info caller=tests.rs msg="two words" bytes=12 ratio=0.5 ok=true name="a b" error="x\ny""#;
    assert_eq!(lines, [expected]);
}

#[test]
fn a_line_of_json() {
    let lines = logged(Config { format: LogFormat::Json, ..INFO }, || warn!(bytes = 12, bad = f64::NAN, "two\nwords"));
    let expected = r#"{"ts":"2026-11-22T08:12:08.123Z","level":"warn","caller":"tests.rs","msg":"two\nwords","bytes":12,"bad":"NaN"}"#;
    assert_eq!(lines, [expected]);
}

#[test]
fn an_error_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot forward")]
    struct OuterError(#[source] io::Error);
    let error = OuterError(io::Error::other("refused"));
    let lines = logged(INFO, || error!(error = &error as &dyn std::error::Error, "failed"));
    assert!(lines[0].ends_with(r#"msg=failed error="cannot forward: refused""#), "{lines:?}");
}

#[test]
fn levels() {
    let all = || {
        error!("e");
        warn!("w");
        info!("i");
        debug!("d");
    };
    for (level, count) in [(Level::Error, 1), (Level::Warn, 2), (Level::Info, 3), (Level::Debug, 4)] {
        let lines = logged(Config { level, ..INFO }, all);
        let names: Vec<_> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(names, ["level=error", "level=warn", "level=info", "level=debug"][..count]);
    }
}

#[test]
fn libraries_and_round_trips() {
    let all = || {
        warn!(target: "opentelemetry_sdk", "quiet");
        error!(target: "opentelemetry_sdk", "otel");
        info!(target: "hyper::proto", "quiet");
        warn!(target: "hyper::proto", "hyper");
        debug!(target: "telemeter_http::client::dump", "trip");
        debug!(target: "telemeter_http::listen", "quiet");
    };
    let messages = |config| -> Vec<String> {
        logged(config, all).iter().map(|line| line.split("msg=").nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(messages(INFO), ["otel", "hyper"]);
    assert_eq!(messages(Config { verbose: true, ..INFO }), ["otel", "hyper", "trip"]);
    assert_eq!(messages(Config { level: Level::Error, verbose: true, ..INFO }), ["otel", "trip"]);
}

#[test]
fn request_and_trace_ids() {
    let parent = SpanContext::new(
        TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap(),
        SpanId::from_hex("b7ad6b7169203331").unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let lines = logged(Config { level: Level::Error, ..INFO }, || {
        let span = info_span!("request", request_id = tracing::field::Empty);
        span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent)).unwrap();
        span.record("request_id", "abc-1");
        span.in_scope(|| info_span!("inner").in_scope(|| error!("in")));
        error!("out");
    });
    assert!(lines[0].ends_with("msg=in trace_id=0af7651916cd43dd8448eb211c80319c request_id=abc-1"), "{lines:?}");
    assert!(lines[1].ends_with("msg=out"), "{lines:?}");
}

#[test]
fn the_fine_spans_of_libraries_are_not_opened() {
    for level in [Level::Error, Level::Info, Level::Debug] {
        let config = Config { level, ..INFO };
        let lines = logged(config, || {
            let fine = tracing::trace_span!(target: "h2::server", "handshake");
            assert!(fine.is_disabled(), "{level:?}");
            let ours = info_span!("request", request_id = "r1");
            let _in = ours.enter();
            error!("told");
        });
        assert!(lines[0].contains("request_id=r1"), "{lines:?}");
    }
}
