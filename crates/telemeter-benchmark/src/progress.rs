//! Shows the progress of a run: as a bar on a terminal, else as a line every five seconds.

use std::{io::Write, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::tally::UploadTally;

/// How often a bar is drawn.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where a benchmark writes its progress and its table.
pub struct ReportOutput<'w> {
    /// Gets the progress lines of a run without a terminal, and the table at the end.
    pub writer: &'w mut (dyn Write + Send),
    /// Whether progress is drawn as a bar, on the terminal that is stderr.
    pub terminal: bool,
}

/// The progress of one run.
pub(super) struct RunProgress {
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl RunProgress {
    /// `uploads`: how many uploads there will be; `None` for a run that a signal ends.
    pub(super) fn new(output: &ReportOutput<'_>, uploads: Option<u64>) -> Self {
        let bar = output.terminal.then(|| {
            let (bar, template) = match uploads {
                Some(uploads) => (ProgressBar::new(uploads), "{bar:32} {pos}/{len} {msg}"),
                None => (ProgressBar::new_spinner(), "{spinner} {elapsed} {msg}"),
            };
            bar.with_style(ProgressStyle::with_template(template).expect("a template that a test has drawn"))
        });
        Self { bar, next_line: Instant::now() + LINE_EVERY }
    }

    /// Shows the tally so far.
    pub(super) fn show(&mut self, tally: &UploadTally, output: &mut ReportOutput<'_>) -> std::io::Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_position(tally.total_sent() + tally.total_failed());
            bar.set_message(tally.line());
            bar.tick();
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            writeln!(output.writer, "{}", tally.line())?;
            output.writer.flush()?;
        }
        Ok(())
    }

    /// Removes the bar and writes the table.
    pub(super) fn end(self, tally: &UploadTally, output: &mut ReportOutput<'_>) -> std::io::Result<()> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        write!(output.writer, "{tally}")?;
        output.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_there_is_a_line_every_five_seconds_and_a_table() {
        let mut written = Vec::new();
        let mut output = ReportOutput { writer: &mut written, terminal: false };
        let mut progress = RunProgress::new(&output, None);
        for _ in 0..101 {
            progress.show(&UploadTally::default(), &mut output).expect("written");
            tokio::time::advance(TICK).await;
        }
        progress.end(&UploadTally::default(), &mut output).expect("written");
        let text = String::from_utf8(written).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with("0 sent, 0 failed")).count(), 4, "{text}");
        assert!(lines[4].starts_with("sent  "), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_terminal_only_the_table_is_written() {
        for uploads in [None, Some(10)] {
            let mut written = Vec::new();
            let mut output = ReportOutput { writer: &mut written, terminal: true };
            let mut progress = RunProgress::new(&output, uploads);
            tokio::time::advance(LINE_EVERY).await;
            progress.show(&UploadTally::default(), &mut output).expect("drawn");
            progress.end(&UploadTally::default(), &mut output).expect("written");
            assert!(written.starts_with(b"sent  "));
        }
    }
}
