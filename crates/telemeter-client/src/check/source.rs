//! Checks Prometheus: the connection, the scrape, and what it answered with.

use std::time::{Duration, Instant};

use telemeter_http::{
    check::{self, CheckStep, CheckSteps},
    client::Outbound,
    clock::Clock,
    duration::HumanDuration,
};

use telemeter_wire::UploadAccepts;

use super::SCRAPE;
use crate::{
    config::Config, explain, federate::FederateError, metrics::Metrics, outcome::CycleReport, pipeline::Packed,
    scraper::Scraper,
};

/// A Prometheus that scrapes has samples that are newer than this.
const STALE: Duration = Duration::from_secs(5 * 60);

/// Connects and scrapes. Returns how far the clock of Prometheus is ahead of this one, in milliseconds; negative where it is
/// behind; or why that is not known.
pub(super) async fn check(config: &Config, outbound: &Outbound, steps: &mut CheckSteps<'_>) -> Result<i64, String> {
    let tried = "--from: the scrape";
    if !check::connection(steps, outbound, "--from", &config.from.url).await {
        steps.add(CheckStep::skipped(SCRAPE, tried, "Prometheus was not reached"));
        return Err("not reached".to_owned());
    }
    let mut scraper = match Scraper::new(config, outbound.clone(), Metrics::default()) {
        Ok(scraper) => scraper,
        Err(error) => {
            steps.add(CheckStep::failed(SCRAPE, tried, error.to_string()));
            return Err("not scraped".to_owned());
        }
    };
    let (start, clock) = (Instant::now(), Clock::system());
    let before_ms = clock.now_ms();
    let scraped = scraper.scrape(&[], UploadAccepts::ALL, || clock.now_ms(), None).await;
    let head = scraper.head().cloned();
    let tried = format!("{tried} of {}", super::bare_url(&config.from.url));
    let step = match scraped {
        Ok(packed) => scrape_step(tried, &packed, head.as_ref().map(|head| head.content_type.as_str()), config, &clock),
        Err(error) => {
            let advice = scrape_advice(&error);
            CheckStep::failed(SCRAPE, tried, error.to_string()).advise(advice)
        }
    };
    steps.add(step.took_since(start));
    let date_ms = head.as_ref().and_then(|head| head.date_ms).ok_or("its answer has no Date")?;
    // The second time is read after the body has arrived, later than the `Date` was written.
    Ok(check::offset_ms(date_ms, before_ms, clock.now_ms()))
}

/// The step of a scrape that could be read: a warning or a failure where little of it can be uploaded.
fn scrape_step(
    tried: String,
    packed: &Packed,
    content_type: Option<&str>,
    config: &Config,
    clock: &Clock,
) -> CheckStep {
    let (bytes, limit) = (packed.scraped_bytes, config.limit_bytes);
    let share = bytes.saturating_mul(100) / limit.max(1);
    let newest_age_ms = packed.newest_ms.map(|newest_ms| clock.now_ms().saturating_sub(newest_ms));
    let age = newest_age_ms.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or(0)));
    let newest =
        age.map_or_else(|| "no sample has a time".to_owned(), |age| format!("the newest {} old", HumanDuration(age)));
    let left_out = explain::left_out_counts(&packed.left_out);
    let left_out = if left_out.is_empty() { String::new() } else { format!(" (without {left_out})") };
    let found = format!(
        "200 with {}: {} series in {bytes} bytes ({share} % of --limit-bytes), {newest}; {} would leave{left_out}",
        content_type.unwrap_or("no Content-Type"),
        packed.scraped,
        packed.kept,
    );
    let report = CycleReport {
        scraped: packed.scraped,
        kept: packed.kept,
        left_out: packed.left_out,
        newest_age_ms,
        ..CycleReport::default()
    };
    if packed.kept == 0 {
        let reason = explain::no_upload_reason(&report).unwrap_or_default();
        return CheckStep::failed(SCRAPE, tried, format!("{found}: {reason}"))
            .advise("see --match, --match-file and --from");
    }
    if age.is_some_and(|age| age > STALE) {
        return CheckStep::warned(SCRAPE, tried, found).advise("does Prometheus scrape at all? see its /targets");
    }
    if share >= 80 {
        return CheckStep::warned(SCRAPE, tried, found).advise("raise --limit-bytes before it is reached");
    }
    CheckStep::passed(SCRAPE, tried, found)
}

/// What to do about a scrape that failed.
fn scrape_advice(error: &FederateError) -> &'static str {
    match error {
        FederateError::Credential(_) => "see --from-token-file",
        FederateError::Unreachable(error) if error.is_not_http() => "write https:// in --from",
        FederateError::Unreachable(_) => "is Prometheus slow, or does a proxy stand before it? see its log",
        FederateError::TooLarge { .. } => "raise --limit-bytes, or name less with --match",
        FederateError::Refused(_) => {
            "is the token of --from-token-file, or the certificate, one that may read metrics?"
        }
        FederateError::NoMetrics { .. } => {
            "give the URL of a Prometheus as --from; without a path, its /federate is asked"
        }
        FederateError::Decode(_) => "does a proxy change what Prometheus answers?",
        _ => "see the log of Prometheus, and the path of --from",
    }
}
