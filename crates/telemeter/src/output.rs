//! The output of the subcommands that run once, for people and for scripts: tables, numbers, sizes and ages in one style.
//!
//! A subcommand flattens [`OutputFlags`] (`-o table|json|csv`) into its flags, fills a [`Table`] and hands it to the
//! [`Printer`] that it gets:
//!
//! ```
//! use telemeter::output::{Column, OutputFormat, Printer, Table, TableCell, Tone};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut table = Table::new([
//!     Column::text("cluster"),
//!     Column::text("status"),
//!     Column::number("series"),
//!     Column::time("last report"),
//!     Column::text("last refusal").wrapping(),
//!     Column::text("peer").optional(),
//! ]);
//! let now_ms = 1_795_657_923_000;
//! table.row([
//!     TableCell::text("c1"),
//!     TableCell::text("silent").tone(Tone::Bad),
//!     TableCell::count(1225),
//!     TableCell::time(now_ms - 11_520_000, now_ms),
//!     TableCell::none(),
//!     TableCell::text("192.0.2.7"),
//! ]);
//! let (mut printer, written) = Printer::to_memory(Some(80), false);
//! printer.print(OutputFormat::Table, &table)?;
//! assert_eq!(
//!     written.text(),
//!     "CLUSTER  STATUS  SERIES  LAST REPORT  LAST REFUSAL  PEER\n\
//!      c1       silent   1,225  3h 12m ago   -             192.0.2.7\n"
//! );
//! # Ok(()) }
//! ```
//!
//! - **As a table** ([`OutputFormat::Table`]): it fits the width of the terminal. Where the columns are too wide, those marked
//!   [`Column::optional`] are left out, the last one first; then those marked [`Column::wrapping`] are wrapped. An ID is never
//!   wrapped. Where standard output is no terminal, nothing is left out or wrapped. Colour ([`Tone`]) is for terminals, unless
//!   `NO_COLOR` is set.
//! - **As JSON**: an array with an object a row, keyed by the column's name with `_` for blanks. A subcommand whose
//!   result is more than rows prints a value of its own with [`Printer::json`].
//! - **As CSV**: every column, a header line first.
//!
//! JSON and CSV have numbers as numbers, sizes in bytes, durations in seconds, times as RFC 3339 in UTC. Text from outside is
//! safe to print: control characters are escaped in a table, and in CSV a text that a spreadsheet would read as a formula
//! starts with `'`, as in the server's own lists.
//!
//! [`human`] writes single numbers and ages for sentences ([`Printer::line`]).

pub mod human;
mod layout;
mod table;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Serialize;

pub use self::table::{Column, Table, TableCell, Tone};

/// The format of a result.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
}

/// The flag `-o` of each subcommand that prints.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct OutputFlags {
    /// How the result is written.
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        default_value = "table",
        ignore_case = true,
        value_name = "FORMAT"
    )]
    pub format: OutputFormat,
}

/// Writes results: for a terminal of some width, or for a file or pipe.
pub struct Printer {
    writer: Box<dyn Write + Send>,
    width: Option<u16>,
    is_terminal: bool,
    colour: bool,
}

impl Printer {
    /// A printer to standard output, which may be a terminal, a file or a pipe.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let width = is_terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        let width = width.map(|size| size.ws_col).filter(|columns| *columns > 0);
        let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { writer: Box::new(stdout), width, is_terminal, colour }
    }

    /// A printer to memory, for tests: as to a terminal of `width` columns, or as to a file where `width` is `None`.
    pub fn to_memory(width: Option<u16>, colour: bool) -> (Self, CapturedOutput) {
        let written = CapturedOutput::default();
        (Self { writer: Box::new(written.clone()), width, is_terminal: width.is_some(), colour }, written)
    }

    /// Whether it prints to a terminal, which can be redrawn.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes a table in this format.
    ///
    /// # Errors
    /// The output cannot be written, for example a closed pipe.
    pub fn print(&mut self, format: OutputFormat, table: &Table) -> io::Result<()> {
        let text = match format {
            OutputFormat::Table => layout::table(table, self.width, self.colour),
            OutputFormat::Csv => table.csv(),
            OutputFormat::Json => return self.json(&table.json()),
        };
        self.write(&text)
    }

    /// Writes a further part of a result: rows of CSV, with a header only before the `first` part; or JSON, an object a
    /// line. A table is written as by [`Self::print`].
    ///
    /// # Errors
    /// As for [`Self::print`].
    pub fn append(&mut self, format: OutputFormat, table: &Table, first: bool) -> io::Result<()> {
        match format {
            OutputFormat::Csv if !first => self.write(&table.csv_rows()),
            OutputFormat::Json => {
                let rows = table.json();
                let lines = rows.as_array().into_iter().flatten().map(|row| format!("{row}\n"));
                self.write(&lines.collect::<String>())
            }
            format => self.print(format, table),
        }
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// As for [`Self::print`].
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.write(&text)
    }

    /// Writes a line of text as it is. Pass text from outside through [`human::safe`] first.
    ///
    /// # Errors
    /// As for [`Self::print`].
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// `text` in the colour of `tone`, where this prints in colour.
    pub fn toned(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Heading => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Clears the terminal, to draw again; does nothing where there is none.
    ///
    /// # Errors
    /// As for [`Self::print`].
    pub fn clear(&mut self) -> io::Result<()> {
        if self.is_terminal { self.write("\x1b[H\x1b[2J\x1b[3J") } else { Ok(()) }
    }

    /// Writes the text and flushes it.
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

/// The text that a [`Printer`] has written to memory.
#[derive(Clone, Debug, Default)]
pub struct CapturedOutput(Arc<Mutex<Vec<u8>>>);

impl CapturedOutput {
    /// The text so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for CapturedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
