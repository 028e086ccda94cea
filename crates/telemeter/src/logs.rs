//! The log: one line an event on stderr, as logfmt or JSON, with the same keys.
//!
//! `ts level caller msg`, then `trace_id` and `request_id` where there are such, then what the event itself says.

mod line;
mod plain;
mod writer;

use std::{io::Write, sync::Arc, time::Duration};

use opentelemetry::trace::TraceContextExt as _;
use parking_lot::Mutex;
use telemeter_http::{clock::Clock, metrics::DroppedLogLines};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, Targets},
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use self::line::LineWriter;
pub(crate) use self::line::{must_escape, timestamp};
pub use self::writer::LogWriter;
use crate::{run::RunFailure, traces::Traces};

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The least urgent lines that are logged.
    pub level: Level,
    /// How a line is written.
    pub format: LogFormat,
    /// Log round trips to other programs even where `level` would not.
    pub verbose: bool,
}

/// How urgent a line is.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed that we answer for.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What an operator wants to know on a good day.
    Info,
    /// What one wants to know on a bad day.
    Debug,
}

/// How a line is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value`, quoted where need be.
    Logfmt,
    /// One JSON object.
    Json,
    /// The time and a plain sentence, for people.
    Text,
}

/// Where round trips are logged, at debug.
const ROUND_TRIPS: &str = "telemeter_http::client";
/// The field of a request's span that its lines repeat.
const REQUEST_ID: &str = "request_id";
/// How long a panic waits for its line to be written: it may come on a thread that serves others.
const AT_PANIC: Duration = Duration::from_millis(100);

/// Sends the process's events to stderr and its spans to `traces`, and panics to the log. Lines that nobody reads are
/// dropped and counted in `dropped`; what comes back writes out the last ones at the end.
///
/// # Errors
/// The process logs already, or the system gives no thread to write with.
pub fn init(config: Config, traces: &Traces, dropped: DroppedLogLines) -> Result<LogWriter, RunFailure> {
    let clock = Clock::system();
    let notice = {
        let clock = clock.clone();
        move |lines| dropped_notice(config.format, &clock, lines)
    };
    let writer = LogWriter::start(std::io::stderr(), writer::CAPACITY_BYTES, dropped, notice)?;
    tracing_subscriber::registry().with(traces.layer()).with(layer(config, clock, writer.clone())).try_init()?;
    let at_panic = writer.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("without words"));
        // It may be the last line of this process.
        at_panic.flush(AT_PANIC);
    }));
    Ok(writer)
}

/// The line that stands where `lines` others were dropped.
fn dropped_notice(format: LogFormat, clock: &Clock, lines: u64) -> String {
    if format == LogFormat::Text {
        return plain::dropped(clock.now_ms(), lines);
    }
    let mut line = LineWriter::new(format);
    line.text("ts", &timestamp(clock.now_ms()));
    line.text("level", "warn");
    line.text("caller", "logs.rs");
    line.text("msg", "log lines were dropped here: the log was read too slowly");
    line.bare("dropped", lines);
    line.finish(LineWriter::rest(format))
}

/// The layer that writes lines to `out`, with the time of `clock`.
pub fn layer<S>(config: Config, clock: Clock, out: impl Write + Send + 'static) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let targets = targets(config);
    let hint = targets.clone().into_iter().map(|(_, level)| level).fold(LevelFilter::INFO, LevelFilter::max);
    // Spans pass whatever is logged: a line repeats their request id. Libraries open others, and many, that are finer.
    let filter = FilterFn::new(move |meta: &Metadata<'_>| {
        meta.is_span() && *meta.level() <= tracing::Level::INFO || targets.would_enable(meta.target(), meta.level())
    });
    Logging { format: config.format, clock, out: Arc::new(Mutex::new(out)) }
        .with_filter(filter.with_max_level_hint(hint))
}

fn targets(config: Config) -> Targets {
    let level = match config.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Libraries speak of what is theirs only where it goes wrong; OpenTelemetry else warns once a span.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("opentelemetry", LevelFilter::ERROR)
        .with_target("telemeter", level);
    if config.verbose { targets.with_target(ROUND_TRIPS, LevelFilter::DEBUG) } else { targets }
}

struct Logging<W> {
    format: LogFormat,
    clock: Clock,
    out: Arc<Mutex<W>>,
}

/// The request id of a span, kept beside it.
struct SpanRequestId(String);

impl<S, W> Layer<S> for Logging<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut found = FindRequestId(None);
        attributes.record(&mut found);
        found.keep(id, &context);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let mut found = FindRequestId(None);
        values.record(&mut found);
        found.keep(id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let meta = event.metadata();
        if self.format == LogFormat::Text {
            let line = plain::of_event(self.clock.now_ms(), meta.level(), event);
            // Nobody can be told that stderr is gone.
            let _ = self.out.lock().write_all(line.as_bytes());
            return;
        }
        let mut line = LineWriter::new(self.format);
        line.text("ts", &timestamp(self.clock.now_ms()));
        line.text("level", level_name(meta.level()));
        match (meta.file(), meta.line()) {
            (Some(file), Some(number)) => {
                let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
                line.text("caller", &format!("{file}:{number}"));
            }
            _ => line.text("caller", meta.target()),
        }
        let mut rest = LineWriter::rest(self.format);
        let mut message = String::new();
        event.record(&mut EventFields { message: &mut message, rest: &mut rest });
        line.text("msg", &message);
        opentelemetry::Context::map_current(|current| {
            let span = current.span().span_context().clone();
            if span.is_valid() {
                line.text("trace_id", &span.trace_id().to_string());
            }
        });
        let mut scope = context.event_scope(event).into_iter().flatten();
        if let Some(id) = scope.find_map(|span| span.extensions().get::<SpanRequestId>().map(|id| id.0.clone())) {
            line.text(REQUEST_ID, &id);
        }
        let line = line.finish(rest);
        // Nobody can be told that stderr is gone.
        let _ = self.out.lock().write_all(line.as_bytes());
    }
}

fn level_name(level: &tracing::Level) -> &'static str {
    match *level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        _ => "debug",
    }
}

struct FindRequestId(Option<String>);

impl FindRequestId {
    fn keep<S: Subscriber + for<'a> LookupSpan<'a>>(self, id: &span::Id, context: &Context<'_, S>) {
        if let (Some(found), Some(span)) = (self.0, context.span(id)) {
            span.extensions_mut().replace(SpanRequestId(found));
        }
    }
}

impl Visit for FindRequestId {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == REQUEST_ID {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == REQUEST_ID {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// Writes an event's fields into the rest of its line, and its message aside.
struct EventFields<'a> {
    message: &'a mut String,
    rest: &'a mut LineWriter,
}

impl Visit for EventFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.rest.text(field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let cause = error.to_string();
            // Some errors print their source already.
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            source = error.source();
        }
        self.record_str(field, &text);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.bare(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.bare(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.bare(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.rest.bare(field.name(), value);
        } else {
            self.rest.text(field.name(), &value.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
