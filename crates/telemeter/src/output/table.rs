//! A result in rows and columns, whose cells have types: a count, a size, a duration, a time.

use std::borrow::Cow;

use serde_json::{Map, Number, Value as Json};
use telemeter_http::date;

use super::human;

/// How good or bad a value is. Shown as a colour, where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// It needs attention.
    Warning,
    /// It failed.
    Bad,
    /// A heading.
    Heading,
}

/// One column: its name, its alignment, and whether it is wrapped or left out in a narrow terminal.
#[derive(Clone, Debug)]
pub struct Column {
    pub(super) name: Cow<'static, str>,
    pub(super) is_number: bool,
    pub(super) wraps: bool,
    pub(super) is_optional: bool,
}

impl Column {
    /// A column of texts, aligned to the left.
    pub fn text(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), is_number: false, wraps: false, is_optional: false }
    }

    /// A column of numbers, sizes or durations, aligned to the right.
    pub fn number(name: impl Into<Cow<'static, str>>) -> Self {
        Self { is_number: true, ..Self::text(name) }
    }

    /// A column of times, shown as ages, aligned to the left.
    pub fn time(name: impl Into<Cow<'static, str>>) -> Self {
        Self::text(name)
    }

    /// The same column, wrapped at blanks where the terminal is narrow.
    #[must_use]
    pub fn wrapping(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// The same column, left out where the terminal is too narrow; of several, the last one first.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }
}

/// One typed value, and its tone.
#[derive(Clone, Debug)]
pub struct TableCell {
    content: Content,
    pub(super) tone: Tone,
}

#[derive(Clone, Debug)]
enum Content {
    None,
    Text(String),
    Count(u64),
    Number(f64),
    Bytes(u64),
    Seconds(f64),
    Time { at_ms: i64, now_ms: i64 },
}

impl TableCell {
    /// A cell with this content, in the normal colour.
    fn of(content: Content) -> Self {
        Self { content, tone: Tone::Plain }
    }

    /// An unknown value, or never: `-` in a table, `null` in JSON, empty in CSV.
    pub fn none() -> Self {
        Self::of(Content::None)
    }

    /// A text, which may come from outside.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text(text.into()))
    }

    /// A count.
    pub fn count(number: u64) -> Self {
        Self::of(Content::Count(number))
    }

    /// A rate or a measured value.
    pub fn number(number: f64) -> Self {
        Self::of(Content::Number(number))
    }

    /// A size in bytes.
    pub fn bytes(bytes: u64) -> Self {
        Self::of(Content::Bytes(bytes))
    }

    /// A duration in seconds.
    pub fn seconds(seconds: f64) -> Self {
        Self::of(Content::Seconds(seconds))
    }

    /// A time, shown as an age; both in milliseconds since 1970.
    pub fn time(at_ms: i64, now_ms: i64) -> Self {
        Self::of(Content::Time { at_ms, now_ms })
    }

    /// The same cell in this tone.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// The text in a table.
    pub(super) fn shown(&self) -> String {
        match &self.content {
            Content::None => "-".to_owned(),
            Content::Text(text) => human::safe(text),
            Content::Count(number) => human::count(*number),
            Content::Number(number) => human::number(*number),
            Content::Bytes(bytes) => human::bytes(*bytes),
            Content::Seconds(seconds) if *seconds != 0.0 && seconds.abs() < 0.9995 => {
                format!("{}ms", human::number(seconds * 1000.0))
            }
            Content::Seconds(seconds) if seconds.abs() < 10.0 => format!("{}s", human::number(*seconds)),
            Content::Seconds(seconds) if *seconds < 0.0 => {
                format!("-{}", human::duration(seconds.abs().round() as u64))
            }
            Content::Seconds(seconds) => human::duration(seconds.round() as u64),
            Content::Time { at_ms, now_ms } => human::age(*at_ms, *now_ms),
        }
    }

    /// The value in JSON: a time as an RFC 3339 text; `null` for an empty cell and for a number that is infinite or NaN.
    fn json(&self) -> Json {
        let number = |value: f64| Number::from_f64(value).map_or(Json::Null, Json::Number);
        match &self.content {
            Content::None => Json::Null,
            Content::Text(text) => Json::String(text.clone()),
            Content::Count(value) | Content::Bytes(value) => Json::from(*value),
            Content::Number(value) | Content::Seconds(value) => number(*value),
            Content::Time { at_ms, .. } => Json::String(date::rfc3339(*at_ms)),
        }
    }

    /// The value as a CSV field; empty where the JSON value is `null`.
    fn csv(&self) -> String {
        match self.json() {
            Json::Null => String::new(),
            Json::String(text) => field(&text),
            other => other.to_string(),
        }
    }
}

/// A result in rows and columns.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<TableCell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, with a value for each column; where there are fewer, the others are [`TableCell::none`].
    pub fn row(&mut self, values: impl IntoIterator<Item = TableCell>) {
        let mut row: Vec<_> = values.into_iter().collect();
        row.resize_with(self.columns.len(), TableCell::none);
        self.rows.push(row);
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as an array of JSON objects, whose keys are the names of the columns.
    pub(super) fn json(&self) -> Json {
        let object = |row: &Vec<TableCell>| {
            let fields = self.columns.iter().zip(row).map(|(column, value)| (field_name(&column.name), value.json()));
            Json::Object(fields.collect::<Map<_, _>>())
        };
        Json::Array(self.rows.iter().map(object).collect())
    }

    /// A header line, then [`Self::csv_rows`].
    pub(super) fn csv(&self) -> String {
        let head: Vec<_> = self.columns.iter().map(|column| field(&field_name(&column.name))).collect();
        format!("{}\n{}", head.join(","), self.csv_rows())
    }

    /// The rows as CSV. Lines end with LF only: a shell that reads lines would keep a CR.
    pub(super) fn csv_rows(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().map(TableCell::csv).collect::<Vec<_>>().join(","));
        rows.map(|line| line + "\n").collect()
    }
}

/// The name of a column in JSON and CSV: blanks become `_`.
fn field_name(name: &str) -> String {
    name.replace(' ', "_")
}

/// A text as a field of CSV: in quotes where necessary, and never a formula.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
