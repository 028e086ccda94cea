//! The steps of a check: what was tried, how long it took, how it ended, and advice. The steps that both programs share
//! are here: a connection, a file, a clock.

use std::path::Path;
use std::time::{Duration, Instant};

use http::header;
use url::Url;

use crate::client::{ConnectStage, Outbound, OutboundRequest};
use crate::clock::{Clock, http_date_ms};
use crate::duration::HumanDuration;
use crate::file;

/// The clock difference above which a step warns.
const CLOCK_NOTICED: Duration = Duration::from_secs(60);
/// The clock difference above which a step fails: samples that are so far ahead are refused.
const CLOCK_WRONG: Duration = Duration::from_secs(10 * 60);
/// The cap on a response of which only the headers are needed.
const ANSWER_BYTES: usize = 256 * 1024;

/// The stage of a check that a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckStage {
    /// Its name, one word such as `tls`.
    pub name: &'static str,
    /// The exit code of the program where this is the first stage that fails.
    pub exit_code: u8,
}

impl CheckStage {
    /// The combination of the flags.
    pub const FLAGS: Self = Self { name: "flags", exit_code: 10 };
    /// The files that the flags name.
    pub const FILES: Self = Self { name: "files", exit_code: 11 };
    /// The lookup of a name's addresses.
    pub const LOOKUP: Self = Self { name: "lookup", exit_code: 12 };
    /// The choice of a proxy, and its connection to the target.
    pub const PROXY: Self = Self { name: "proxy", exit_code: 13 };
    /// The TCP connection to one of the addresses.
    pub const CONNECT: Self = Self { name: "connect", exit_code: 14 };
    /// The TLS handshake.
    pub const TLS: Self = Self { name: "tls", exit_code: 15 };
    /// The difference between our clock and those of others.
    pub const CLOCK: Self = Self { name: "clock", exit_code: 16 };
}

impl From<ConnectStage> for CheckStage {
    fn from(stage: ConnectStage) -> Self {
        match stage {
            ConnectStage::Lookup => Self::LOOKUP,
            ConnectStage::Proxy => Self::PROXY,
            ConnectStage::Connect => Self::CONNECT,
            ConnectStage::Tls => Self::TLS,
        }
    }
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// The step succeeded.
    Passed,
    /// The step succeeded, with a result that needs attention.
    Warned,
    /// The step failed.
    Failed,
    /// The step was not tried, because of an earlier step.
    Skipped,
}

/// One step of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStep {
    /// The stage that it belongs to.
    pub stage: CheckStage,
    /// The description of what was tried, with the flag that it comes from: `--to: looking up store.example`. It
    /// contains no secret.
    pub tried: String,
    /// The time that it took.
    pub took: Duration,
    /// Its outcome.
    pub outcome: StepOutcome,
    /// The result, or the cause of the failure.
    pub found: String,
    /// Advice on what to do; may be empty.
    pub advice: String,
}

impl CheckStep {
    fn new(stage: CheckStage, tried: impl Into<String>, outcome: StepOutcome, found: impl Into<String>) -> Self {
        let (tried, found) = (tried.into(), found.into());
        Self { stage, tried, took: Duration::ZERO, outcome, found, advice: String::new() }
    }

    /// A step that succeeded.
    pub fn passed(stage: CheckStage, tried: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(stage, tried, StepOutcome::Passed, found)
    }

    /// A step that succeeded, with a result that needs attention.
    pub fn warned(stage: CheckStage, tried: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(stage, tried, StepOutcome::Warned, found)
    }

    /// A step that failed.
    pub fn failed(stage: CheckStage, tried: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::new(stage, tried, StepOutcome::Failed, cause)
    }

    /// A step that was not tried.
    pub fn skipped(stage: CheckStage, tried: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(stage, tried, StepOutcome::Skipped, why)
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// Sets the time that it took: from `start` until now.
    #[must_use]
    pub fn took_since(self, start: Instant) -> Self {
        Self { took: start.elapsed(), ..self }
    }

    /// Whether the steps that depend on it can be tried.
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, StepOutcome::Passed | StepOutcome::Warned)
    }
}

/// The steps so far, each of which is shown when it ends.
pub struct CheckSteps<'s> {
    all: Vec<CheckStep>,
    show: Box<dyn FnMut(&CheckStep) + 's>,
}

impl<'s> CheckSteps<'s> {
    /// Starts an empty list; `show` is called with each step.
    pub fn new(show: impl FnMut(&CheckStep) + 's) -> Self {
        Self { all: Vec::new(), show: Box::new(show) }
    }

    /// Adds a step; returns whether the steps that depend on it can be tried.
    pub fn add(&mut self, step: CheckStep) -> bool {
        (self.show)(&step);
        let is_good = step.is_good();
        self.all.push(step);
        is_good
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are no steps yet.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a step of this stage failed.
    pub fn has_failed(&self, stage: CheckStage) -> bool {
        self.all.iter().any(|step| step.stage == stage && step.outcome == StepOutcome::Failed)
    }

    /// All steps, in order.
    pub fn into_all(self) -> Vec<CheckStep> {
        self.all
    }
}

/// The exit code of a program after these steps: 0, or the code of the first step that failed.
pub fn exit_code(steps: &[CheckStep]) -> u8 {
    steps.iter().find(|step| step.outcome == StepOutcome::Failed).map_or(0, |step| step.stage.exit_code)
}

/// Makes a connection to the URL of `flag` as a request would, and adds its steps: path, name lookup, TCP, proxy, TLS.
/// Returns whether it succeeded.
pub async fn connection(steps: &mut CheckSteps<'_>, outbound: &Outbound, flag: &str, url: &Url) -> bool {
    let start = Instant::now();
    let probe = match outbound.probe(url).await {
        Ok(probe) => probe,
        Err(error) => {
            return steps.add(
                CheckStep::failed(CheckStage::PROXY, format!("{flag}: the way there"), error.to_string())
                    .took_since(start),
            );
        }
    };
    steps.add(CheckStep::passed(CheckStage::PROXY, format!("{flag}: the way there"), probe.route));
    let mut is_good = true;
    for step in probe.steps {
        let tried = format!("{flag}: {}", step.tried);
        let step_of = match step.outcome {
            // A certificate that expires soon is recognized by the text of `Validity::flaw`.
            Ok(found) if found.contains(", which expires soon") => CheckStep::warned(step.stage.into(), tried, found),
            Ok(found) => CheckStep::passed(step.stage.into(), tried, found),
            Err(failure) => CheckStep::failed(step.stage.into(), tried, failure.cause).advise(failure.advice),
        };
        is_good = steps.add(CheckStep { took: step.took, ..step_of });
    }
    is_good
}

/// Checks the file of a flag: whether it can be read, and its size and form. `is_large` is for bundles and lists, and
/// not for tokens and keys.
pub fn file(flag: &str, path: &Path, is_large: bool) -> CheckStep {
    let (start, tried) = (Instant::now(), format!("{flag} {}", path.display()));
    match file::describe(path, if is_large { file::LARGE } else { file::SMALL }) {
        Err(error) => {
            let advice = if error.is_missing() {
                "is the path right, and is the file mounted?"
            } else {
                "may this user read it, and is it a file in UTF-8?"
            };
            CheckStep::failed(CheckStage::FILES, tried, error.to_string()).advise(advice).took_since(start)
        }
        Ok(described) => CheckStep::passed(CheckStage::FILES, tried, described.to_string()).took_since(start),
    }
}

/// The time that another program's clock is ahead of ours, in milliseconds, from the `Date` of one of its responses.
///
/// # Errors
/// The reason why there is no response, or no `Date`.
pub async fn clock_offset(outbound: &Outbound, url: &Url) -> Result<i64, String> {
    // Every HTTP server responds to this path, with any status.
    let (mut url, clock) = (url.clone(), Clock::system());
    url.set_path("/");
    url.set_query(None);
    let before_ms = clock.now_ms();
    let answer = outbound.send(OutboundRequest::get(url), ANSWER_BYTES).await.map_err(|error| error.to_string())?;
    let date = answer.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let date_ms = date.and_then(http_date_ms).ok_or("its answer has no Date")?;
    Ok(offset_ms(date_ms, before_ms, clock.now_ms()))
}

/// The distance of a date, which is exact to the second, from the interval between a request and its response, in
/// milliseconds; 0 inside it.
pub fn offset_ms(date_ms: i64, before_ms: i64, after_ms: i64) -> i64 {
    if date_ms + 1000 < before_ms {
        date_ms + 1000 - before_ms
    } else if date_ms > after_ms {
        date_ms - after_ms
    } else {
        0
    }
}

/// Compares our clock with others, each with its name and the milliseconds that it is ahead of ours. A difference over
/// one minute is a warning, one over ten minutes a failure; where no other clock is known, the step is skipped. The
/// advice is to set our clock where all others differ from it in the same direction, else to set the other one.
pub fn clock(others: &[(&str, Result<i64, String>)]) -> CheckStep {
    let tried =
        format!("this clock against {}", others.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and "));
    let known: Vec<_> = others.iter().filter_map(|(name, ahead)| Some((*name, *ahead.as_ref().ok()?))).collect();
    if known.is_empty() {
        let why: Vec<_> = others.iter().filter_map(|(name, ahead)| Some((name, ahead.as_ref().err()?))).collect();
        let why: Vec<_> = why.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        return CheckStep::skipped(CheckStage::CLOCK, tried, why.join("; "));
    }
    let distance = |ms: i64| Duration::from_millis(ms.unsigned_abs());
    let is_off = |ms: i64| distance(ms) > CLOCK_NOTICED;
    let descriptions: Vec<_> = known
        .iter()
        .map(|(name, ahead)| match *ahead {
            ahead if !is_off(ahead) => format!("that of {name} agrees"),
            ahead if ahead > 0 => format!("that of {name} is {} ahead of it", HumanDuration(distance(ahead))),
            ahead => format!("that of {name} is {} behind it", HumanDuration(distance(ahead))),
        })
        .collect();
    let off: Vec<_> = known.iter().filter(|(_, ahead)| is_off(*ahead)).collect();
    let found = descriptions.join(", ");
    let Some((first, _)) = off.first() else { return CheckStep::passed(CheckStage::CLOCK, tried, found) };
    // Where all other clocks differ from ours in the same direction, ours is wrong.
    let is_ours = off.len() == known.len() && off.iter().all(|(_, ahead)| (*ahead > 0) == (off[0].1 > 0));
    let advice = if is_ours {
        "set the clock of this machine (NTP)".to_owned()
    } else {
        format!("set the clock of the machine of {first} (NTP)")
    };
    let is_wrong = off.iter().any(|(_, ahead)| distance(*ahead) > CLOCK_WRONG);
    let step = if is_wrong { CheckStep::failed } else { CheckStep::warned }(CheckStage::CLOCK, tried, found);
    step.advise(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_exit_code() {
        let steps = |outcomes: &[(CheckStage, StepOutcome)]| -> Vec<CheckStep> {
            outcomes.iter().map(|(stage, outcome)| CheckStep::new(*stage, "", *outcome, "")).collect()
        };
        assert_eq!(exit_code(&[]), 0);
        assert_eq!(
            exit_code(&steps(&[(CheckStage::FILES, StepOutcome::Warned), (CheckStage::TLS, StepOutcome::Skipped)])),
            0
        );
        assert_eq!(
            exit_code(&steps(&[(CheckStage::TLS, StepOutcome::Failed), (CheckStage::FILES, StepOutcome::Failed)])),
            15
        );
    }

    #[test]
    fn whose_clock_is_off_and_by_how_much() {
        const HOUR_MS: i64 = 3_600_000;
        fn check(others: &[(&str, i64)], outcome: StepOutcome, found: &str, advice: &str) {
            let others: Vec<_> = others.iter().map(|(name, ahead)| (*name, Ok(*ahead))).collect();
            let step = clock(&others);
            assert_eq!((step.outcome, step.found.as_str(), step.advice.as_str()), (outcome, found, advice));
        }
        check(
            &[("--to", 0), ("--from", -59_000)],
            StepOutcome::Passed,
            "that of --to agrees, that of --from agrees",
            "",
        );
        check(
            &[("--to", HOUR_MS), ("--from", HOUR_MS)],
            StepOutcome::Failed,
            "that of --to is 1h ahead of it, that of --from is 1h ahead of it",
            "set the clock of this machine (NTP)",
        );
        check(
            &[("--to", 0), ("--from", -HOUR_MS)],
            StepOutcome::Failed,
            "that of --to agrees, that of --from is 1h behind it",
            "set the clock of the machine of --from (NTP)",
        );
        check(
            &[("--to", 120_000)],
            StepOutcome::Warned,
            "that of --to is 2m ahead of it",
            "set the clock of this machine (NTP)",
        );
        let step = clock(&[("--to", Err("no answer".to_owned()))]);
        assert_eq!((step.outcome, step.found.as_str()), (StepOutcome::Skipped, "--to: no answer"));
    }

    #[test]
    fn a_date_is_exact_to_the_second() {
        for (date_ms, expected) in [(10_000, 0), (11_000, 0), (9_000, 0), (8_000, -500), (13_000, 1_000)] {
            assert_eq!(offset_ms(date_ms, 9_500, 12_000), expected, "{date_ms}");
        }
    }
}
