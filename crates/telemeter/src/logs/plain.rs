//! A log line for people at a terminal: the time, the message as a sentence, then the other fields in brackets.
//!
//! `12:34:56 warning: no --shared-key: a key was generated`, `12:34:56 serving (external 127.0.0.1:9003)`.

use std::fmt::{self, Write as _};

use telemeter_http::{date, human};
use tracing::{
    Event,
    field::{Field, Visit},
};

/// The fields that hold a cause.
const CAUSES: [&str; 2] = ["error", "cause"];

/// The line of an event.
pub(super) fn of_event(unix_ms: i64, level: &tracing::Level, event: &Event<'_>) -> String {
    let mut parts = LineParts::default();
    event.record(&mut parts);
    format_line(unix_ms, level, &parts)
}

/// The line that is written in place of `lines` dropped ones.
pub(super) fn dropped(unix_ms: i64, lines: u64) -> String {
    let message = format!("{lines} lines of the log were dropped here: it was read too slowly");
    format_line(unix_ms, &tracing::Level::WARN, &LineParts { message, ..LineParts::default() })
}

/// The line, with its newline: the time of day, the level (none for `info`), the message, the cause, then the other
/// fields in brackets. Control characters are escaped.
fn format_line(unix_ms: i64, level: &tracing::Level, parts: &LineParts) -> String {
    let word = match *level {
        tracing::Level::ERROR => "error: ",
        tracing::Level::WARN => "warning: ",
        tracing::Level::INFO => "",
        _ => "debug: ",
    };
    let LineParts { message, cause, rest } = parts;
    let mut text = format!("{} {word}{message}", date::time_of_day(unix_ms));
    if !cause.is_empty() {
        let _ = write!(text, ": {cause}");
    }
    if !rest.is_empty() {
        let _ = write!(text, " ({rest})");
    }
    let mut safe = human::safe(&text);
    safe.push('\n');
    safe
}

#[derive(Default)]
struct LineParts {
    message: String,
    cause: String,
    rest: String,
}

impl LineParts {
    /// Appends a field to the part of the line that it belongs to: the message, the cause, or the other fields, each as
    /// its name and value.
    fn add_field(&mut self, field: &Field, value: impl fmt::Display) {
        let name = field.name();
        if name == "message" {
            let _ = write!(self.message, "{value}");
        } else if CAUSES.contains(&name) {
            let _ = write!(self.cause, "{value}");
        } else {
            let separator = if self.rest.is_empty() { "" } else { ", " };
            let _ = write!(self.rest, "{separator}{} {value}", name.strip_prefix("r#").unwrap_or(name));
        }
    }
}

impl Visit for LineParts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_field(field, format_args!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add_field(field, crate::failure::describe(value));
    }
}
