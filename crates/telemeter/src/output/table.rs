//! A result in rows and columns, which knows what each value is, and so how to write it.

use std::borrow::Cow;

use serde_json::{Map, Number, Value as Json};

use super::human;

/// What a value says beside its text. Shown as a colour, where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Somebody should look at it.
    Warning,
    /// It fails.
    Bad,
    /// A heading.
    Heading,
}

/// One column: its name, and what happens to it where there is little room.
#[derive(Clone, Debug)]
pub struct Column {
    pub(super) name: Cow<'static, str>,
    pub(super) is_number: bool,
    pub(super) wraps: bool,
    pub(super) is_optional: bool,
}

impl Column {
    /// Of texts, to the left.
    pub fn text(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), is_number: false, wraps: false, is_optional: false }
    }

    /// Of numbers, sizes or lengths of time, to the right.
    pub fn number(name: impl Into<Cow<'static, str>>) -> Self {
        Self { is_number: true, ..Self::text(name) }
    }

    /// Of times, shown as ages, to the left.
    pub fn time(name: impl Into<Cow<'static, str>>) -> Self {
        Self::text(name)
    }

    /// May be written over several lines, at blanks, where the terminal is narrow.
    #[must_use]
    pub fn wrapping(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// Left out where the terminal is too narrow; of several, the last one first.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }
}

/// One value, and its tone.
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
    fn of(content: Content) -> Self {
        Self { content, tone: Tone::Plain }
    }

    /// Not known, or never: `-` in a table, `null` in JSON, empty in CSV.
    pub fn none() -> Self {
        Self::of(Content::None)
    }

    /// Any text, also from outside.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text(text.into()))
    }

    /// How many.
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

    /// A length of time in seconds.
    pub fn seconds(seconds: f64) -> Self {
        Self::of(Content::Seconds(seconds))
    }

    /// A time, shown as an age; both in milliseconds since 1970.
    pub fn time(at_ms: i64, now_ms: i64) -> Self {
        Self::of(Content::Time { at_ms, now_ms })
    }

    /// The same in this tone.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// As people read it.
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

    fn json(&self) -> Json {
        let number = |value: f64| Number::from_f64(value).map_or(Json::Null, Json::Number);
        match &self.content {
            Content::None => Json::Null,
            Content::Text(text) => Json::String(text.clone()),
            Content::Count(value) | Content::Bytes(value) => Json::from(*value),
            Content::Number(value) | Content::Seconds(value) => number(*value),
            Content::Time { at_ms, .. } => Json::String(human::rfc3339(*at_ms)),
        }
    }

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
    /// Without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, with a value for each column; where there are fewer, the others are [`TableCell::none`].
    pub fn row(&mut self, values: impl IntoIterator<Item = TableCell>) {
        let mut row: Vec<_> = values.into_iter().collect();
        row.resize_with(self.columns.len(), TableCell::none);
        self.rows.push(row);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn json(&self) -> Json {
        let object = |row: &Vec<TableCell>| {
            let fields = self.columns.iter().zip(row).map(|(column, value)| (key(&column.name), value.json()));
            Json::Object(fields.collect::<Map<_, _>>())
        };
        Json::Array(self.rows.iter().map(object).collect())
    }

    /// A header line, then [`Self::csv_rows`].
    pub(super) fn csv(&self) -> String {
        let head: Vec<_> = self.columns.iter().map(|column| field(&key(&column.name))).collect();
        format!("{}\n{}", head.join(","), self.csv_rows())
    }

    /// Lines end with a line feed alone: what reads lines in a shell would keep the other.
    pub(super) fn csv_rows(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().map(TableCell::csv).collect::<Vec<_>>().join(","));
        rows.map(|line| line + "\n").collect()
    }
}

fn key(name: &str) -> String {
    name.replace(' ', "_")
}

/// A text as a field of CSV: in quotes where need be, and never a formula.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
