//! The results of a run: counts by status, throughput, latency.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use hdrhistogram::Histogram;

/// How one upload ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UploadFailure {
    /// The server answered with this status to `/authorize`.
    Authorize(u16),
    /// The server answered with this status to `/upload`.
    Upload(u16),
    /// No answer within the deadline.
    Timeout,
    /// No connection, or one that broke.
    Connection,
    /// An answer that could not be read, or metrics that could not be sent.
    Other,
}

impl Display for UploadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorize(status) => write!(f, "authorize {status}"),
            Self::Upload(status) => write!(f, "upload {status}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connection => f.write_str("connection"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// The uploads of one run. Its `Display` is the table that a run ends with.
#[derive(Clone, Debug)]
pub struct UploadTally {
    sent: u64,
    series: u64,
    bytes: u64,
    failed: BTreeMap<UploadFailure, u64>,
    micros: Histogram<u64>,
    ran: Duration,
}

impl Default for UploadTally {
    fn default() -> Self {
        let micros = Histogram::new_with_bounds(1, MAX_LATENCY.as_micros() as u64, 3)
            .expect("1 µs to 10 min in three digits is within what a histogram can hold");
        Self { sent: 0, series: 0, bytes: 0, failed: BTreeMap::new(), micros, ran: Duration::ZERO }
    }
}

/// Cap on a latency: a longer one is counted as this.
const MAX_LATENCY: Duration = Duration::from_secs(600);

impl UploadTally {
    /// Counts an upload that the server accepted.
    pub fn sent(&mut self, series: u64, bytes: u64, took: Duration) {
        self.sent += 1;
        self.series += series;
        self.bytes += bytes;
        self.micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Counts an upload that failed.
    pub fn failed(&mut self, failure: UploadFailure) {
        *self.failed.entry(failure).or_default() += 1;
    }

    /// Sets how long the run has lasted so far.
    pub fn set_elapsed(&mut self, ran: Duration) {
        self.ran = ran;
    }

    /// How many uploads the server accepted.
    #[must_use]
    pub fn total_sent(&self) -> u64 {
        self.sent
    }

    /// How many uploads failed.
    #[must_use]
    pub fn total_failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Adds the counts of another tally; the duration of the run stays.
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.series += other.series;
        self.bytes += other.bytes;
        for (failure, count) in &other.failed {
            *self.failed.entry(failure.clone()).or_default() += count;
        }
        self.micros.add(&other.micros).expect("histograms of one shape add up");
    }

    /// How long the run has lasted so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.ran
    }

    /// Failures by kind.
    pub(super) fn failures(&self) -> &BTreeMap<UploadFailure, u64> {
        &self.failed
    }

    /// The highest latency of an accepted upload; zero where none was accepted.
    pub(super) fn max_latency(&self) -> Duration {
        Duration::from_micros(self.micros.max())
    }

    /// Accepted uploads per second.
    pub(super) fn throughput(&self) -> f64 {
        self.per_second(self.sent)
    }

    /// The counts as one line, shown while the run lasts.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} sent, {} failed, {:.1}/s, p50 {}, p99 {}",
            self.sent,
            self.total_failed(),
            self.per_second(self.sent),
            ShownDuration(self.quantile(0.5)),
            ShownDuration(self.quantile(0.99)),
        )
    }

    /// The latency that this share of the uploads did not exceed: 0.99 is p99.
    pub(super) fn quantile(&self, quantile: f64) -> Duration {
        if self.micros.is_empty() {
            return Duration::ZERO;
        }
        Duration::from_micros(self.micros.value_at_quantile(quantile))
    }

    /// The number for each second of the run; 0 where it has not run yet.
    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.ran.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }
}

impl Display for UploadTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn Display| writeln!(f, "{name:<24}{:>16}", value.to_string());
        row("sent", &self.sent)?;
        row("failed", &self.total_failed())?;
        for (failure, count) in &self.failed {
            row(&format!("  {failure}"), count)?;
        }
        row("uploads a second", &format_args!("{:.1}", self.per_second(self.sent)))?;
        row("series a second", &format_args!("{:.0}", self.per_second(self.series)))?;
        row("bytes a second", &format_args!("{:.0}", self.per_second(self.bytes)))?;
        row("latency p50", &ShownDuration(self.quantile(0.5)))?;
        row("latency p90", &ShownDuration(self.quantile(0.9)))?;
        row("latency p99", &ShownDuration(self.quantile(0.99)))?;
        row("latency p99.9", &ShownDuration(self.quantile(0.999)))?;
        row("latency max", &ShownDuration(Duration::from_micros(self.micros.max())))
    }
}

/// A duration as a person reads it: `850 µs`, `12.3 ms`, `1.50 s`.
pub(super) struct ShownDuration(pub(super) Duration);

impl Display for ShownDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros() as f64;
        let text = match micros {
            _ if micros < 1_000.0 => format!("{micros:.0} µs"),
            _ if micros < 1_000_000.0 => format!("{:.1} ms", micros / 1_000.0),
            _ => format!("{:.2} s", micros / 1_000_000.0),
        };
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_counts_by_status_throughput_and_quantiles() {
        let mut tally = UploadTally::default();
        for millis in 1..=100 {
            tally.sent(10, 500, Duration::from_millis(millis));
        }
        tally.failed(UploadFailure::Upload(429));
        tally.failed(UploadFailure::Upload(429));
        tally.failed(UploadFailure::Authorize(401));
        tally.failed(UploadFailure::Timeout);
        tally.set_elapsed(Duration::from_secs(20));
        let expected = "\
sent                                 100
failed                                 4
  authorize 401                        1
  upload 429                           2
  timeout                              1
uploads a second                     5.0
series a second                       50
bytes a second                      2500
latency p50                      50.0 ms
latency p90                      90.0 ms
latency p99                      99.0 ms
latency p99.9                   100.0 ms
latency max                     100.0 ms
";
        assert_eq!(tally.to_string(), expected);
        assert_eq!((tally.total_sent(), tally.total_failed()), (100, 4));
        assert_eq!(tally.line(), "100 sent, 4 failed, 5.0/s, p50 50.0 ms, p99 99.0 ms");
    }

    #[test]
    fn an_empty_run_has_a_table_too() {
        assert!(UploadTally::default().to_string().contains("latency max                         0 µs\n"));
    }

    #[test]
    fn durations_are_shown_in_their_own_unit() {
        let shown = |micros| ShownDuration(Duration::from_micros(micros)).to_string();
        assert_eq!([shown(850), shown(12_340), shown(1_500_000)], ["850 µs", "12.3 ms", "1.50 s"]);
    }

    #[test]
    fn what_takes_for_ever_is_counted_as_the_longest() {
        let mut tally = UploadTally::default();
        tally.sent(1, 1, Duration::from_secs(100_000));
        assert!(tally.to_string().contains("latency max"));
        assert_eq!(tally.total_sent(), 1);
    }
}
