//! Captures what is logged on this thread, as fields.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use parking_lot::Mutex;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

/// The fields of one line, with `message` and those of its request's span.
pub(crate) type LoggedLine = BTreeMap<String, String>;

/// Captures what is logged on this thread until it is dropped.
pub(crate) struct LogCapture {
    lines: Arc<Mutex<Vec<LoggedLine>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl LogCapture {
    /// Lines at info and above.
    pub(crate) fn start() -> Self {
        Self::start_at(Level::INFO)
    }

    /// Lines at this level and above.
    pub(crate) fn start_at(level: Level) -> Self {
        let lines = Arc::<Mutex<Vec<LoggedLine>>>::default();
        let subscriber = tracing_subscriber::registry().with(KeepLines(lines.clone(), level));
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of our own code since the last call.
    pub(crate) fn take(&self) -> Vec<LoggedLine> {
        std::mem::take(&mut self.lines.lock())
    }

    /// The lines about requests that did not succeed, since the last call.
    pub(crate) fn refusals(&self) -> Vec<LoggedLine> {
        let is_refusal = |line: &LoggedLine| matches!(line["message"].as_str(), "request refused" | "request failed");
        self.take().into_iter().filter(is_refusal).collect()
    }
}

struct KeepLines(Arc<Mutex<Vec<LoggedLine>>>, Level);

#[derive(Default)]
struct LoggedFields(LoggedLine);

impl Visit for LoggedFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for KeepLines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = LoggedFields::default();
        attributes.record(&mut fields);
        context.span(id).expect("a new span").extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > self.1 || !event.metadata().target().starts_with("telemeter") {
            return;
        }
        let mut fields = LoggedFields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(id) =
                span.extensions().get::<LoggedFields>().and_then(|fields| fields.0.get("request_id").cloned())
            {
                fields.0.insert("request_id".to_owned(), id);
            }
        }
        event.record(&mut fields);
        self.0.lock().push(fields.0);
    }
}
