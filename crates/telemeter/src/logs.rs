//! The log: one line for each event on stderr, as logfmt or JSON with the same keys, or as plain text.
//!
//! The keys are `ts level caller msg`, then `trace_id` and `request_id` where they are known, then the fields of the event.

mod line;
mod plain;
mod writer;

use std::{io::Write, sync::Arc, time::Duration};

use opentelemetry::trace::TraceContextExt as _;
use parking_lot::Mutex;
use telemeter_http::{clock::Clock, date, metrics::DroppedLogLines};
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
pub use self::writer::LogWriter;
use crate::{failure::RunFailure, traces::Traces};

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lowest level that is logged.
    pub level: Level,
    /// The format of a line.
    pub format: LogFormat,
    /// Log outbound requests and their answers, whatever `level` is.
    pub verbose: bool,
}

/// The level of a line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed in this program.
    Error,
    /// Something is wrong, and the program goes on.
    Warn,
    /// What an operator wants to know while all is well.
    Info,
    /// What helps to find a fault.
    Debug,
}

/// The format of a line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value`, quoted where necessary.
    Logfmt,
    /// One JSON object.
    Json,
    /// The time and a plain sentence, for people.
    Text,
}

/// The target of events about outbound requests, which are logged at debug.
const ROUND_TRIPS: &str = "telemeter_http::client";
/// The field of a request's span that each line of the request repeats.
const REQUEST_ID: &str = "request_id";
/// How long a panic waits until its line is written: its thread may have other requests to serve.
const AT_PANIC: Duration = Duration::from_millis(100);

/// Sets up the log of the process: events and panics go to stderr, spans to `traces`. Lines are dropped, and counted in
/// `dropped`, while the reader of stderr is too slow. [`LogWriter::flush`] writes the last lines at the end.
///
/// # Errors
/// The log is set up already, or the system starts no thread.
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
        // The process may end now.
        at_panic.flush(AT_PANIC);
    }));
    Ok(writer)
}

/// The line that is written in place of `lines` dropped ones.
fn dropped_notice(format: LogFormat, clock: &Clock, lines: u64) -> String {
    if format == LogFormat::Text {
        return plain::dropped(clock.now_ms(), lines);
    }
    let mut line = LineWriter::new(format);
    line.text("ts", &date::rfc3339_ms(clock.now_ms()));
    line.text("level", "warn");
    line.text("caller", "logs.rs");
    line.text("msg", "log lines were dropped here: the log was read too slowly");
    line.bare("dropped", lines);
    line.finish(LineWriter::rest(format))
}

/// The tracing layer that writes a line for each event to `out`, with the time of `clock`.
pub fn layer<S>(config: Config, clock: Clock, out: impl Write + Send + 'static) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let targets = level_filter(config);
    let hint = targets.clone().into_iter().map(|(_, level)| level).fold(LevelFilter::INFO, LevelFilter::max);
    // Spans up to info pass at every level, because lines repeat their request ID. Libraries open many spans of lower levels.
    let filter = FilterFn::new(move |meta: &Metadata<'_>| {
        meta.is_span() && *meta.level() <= tracing::Level::INFO || targets.would_enable(meta.target(), meta.level())
    });
    Logging { format: config.format, clock, out: Arc::new(Mutex::new(out)) }
        .with_filter(filter.with_max_level_hint(hint))
}

/// Which log lines are written, by the module that they come from: those of telemeter from the configured level on,
/// those of libraries from `warn` on, those of OpenTelemetry only errors. `verbose` adds a line for each HTTP request
/// and response.
fn level_filter(config: Config) -> Targets {
    let level = match config.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Libraries log from warn on; OpenTelemetry from error on, because it would warn for each span.
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

/// The request ID of a span, stored in its extensions.
struct SpanRequestId(String);

impl<S, W> Layer<S> for Logging<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut visitor = FindRequestId(None);
        attributes.record(&mut visitor);
        visitor.store_in_span(id, &context);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let mut visitor = FindRequestId(None);
        values.record(&mut visitor);
        visitor.store_in_span(id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let meta = event.metadata();
        if self.format == LogFormat::Text {
            let line = plain::of_event(self.clock.now_ms(), meta.level(), event);
            // Nothing can be done about a closed stderr.
            let _ = self.out.lock().write_all(line.as_bytes());
            return;
        }
        let mut line = LineWriter::new(self.format);
        line.text("ts", &date::rfc3339_ms(self.clock.now_ms()));
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
        // Nothing can be done about a closed stderr.
        let _ = self.out.lock().write_all(line.as_bytes());
    }
}

/// The name of the level in a log line. `trace` has the name of `debug`.
fn level_name(level: &tracing::Level) -> &'static str {
    match *level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        _ => "debug",
    }
}

/// Reads the request ID from the fields of a span.
struct FindRequestId(Option<String>);

impl FindRequestId {
    /// Stores the request ID in the span where later log lines find it; does nothing where none was found.
    fn store_in_span<S: Subscriber + for<'a> LookupSpan<'a>>(self, id: &span::Id, context: &Context<'_, S>) {
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

/// Writes the fields of an event to the end of its line, and its message to a text of its own.
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
