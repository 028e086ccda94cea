//! Reads the files and the standard input of the commands.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use telemeter_http::file;
use telemeter_policy::RuleFile;

use crate::failure::RunFailure;

/// Cap on metrics that are read.
pub(super) const METRICS_BYTES: usize = 256 << 20;

/// A file of rules; `-` is standard input.
pub(super) fn rules(path: &Path) -> Result<RuleFile, RunFailure> {
    if is_stdin(path) {
        let text = String::from_utf8(read_stdin(file::LARGE)?).map_err(|_| "standard input is not text in UTF-8")?;
        return Ok(RuleFile::parse("-", &text));
    }
    Ok(RuleFile::parse(&path.display().to_string(), &file::read_text(path, file::LARGE)?))
}

/// Metrics from a file or from standard input; `None` where neither is given.
pub(super) fn metrics(path: Option<&Path>) -> Result<Option<Vec<u8>>, RunFailure> {
    match path {
        Some(path) if !is_stdin(path) => Ok(Some(file::read(path, METRICS_BYTES)?)),
        Some(_) => Ok(Some(read_stdin(METRICS_BYTES)?)),
        None if io::stdin().is_terminal() => Ok(None),
        None => {
            let body = read_stdin(METRICS_BYTES)?;
            Ok((!body.is_empty()).then_some(body))
        }
    }
}

/// Metrics from a file or from standard input.
///
/// # Errors
/// Neither is given.
pub(super) fn needed_metrics(path: Option<&Path>) -> Result<Vec<u8>, RunFailure> {
    metrics(path)?.ok_or_else(|| {
        "no metrics: give --metrics FILE, or pipe them in, for example \
         curl -s http://localhost:9090/federate -G --data-urlencode 'match[]={__name__=\"up\"}' | telemeter policy ..."
            .into()
    })
}

/// Checks that standard input is given at most once, and that rules on it leave metrics a file.
pub(super) fn one_stdin(rules: &[&Path], metrics: Option<&Path>) -> Result<(), RunFailure> {
    let stdin = rules.iter().filter(|path| is_stdin(path)).count() + usize::from(metrics.is_some_and(is_stdin));
    if stdin > 1 {
        return Err("- (standard input) is given more than once".into());
    }
    if rules.iter().any(|path| is_stdin(path)) && metrics.is_none() {
        return Err("the rules are on standard input: give the metrics with --metrics FILE".into());
    }
    Ok(())
}

/// Whether the path is `-`, which means standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads standard input to its end; more than `cap_bytes` is an error.
fn read_stdin(cap_bytes: usize) -> Result<Vec<u8>, RunFailure> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(cap_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > cap_bytes {
        return Err(format!("standard input is too large: more than {cap_bytes} bytes").into());
    }
    Ok(bytes)
}
