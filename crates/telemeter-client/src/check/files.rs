//! Checks the files that the flags name: whether each can be read, and whether its content can be used.

use std::path::Path;

use telemeter_http::{
    check::{self, CheckStage, CheckStep, CheckSteps},
    client::{Outbound, OutboundConfig},
};

use crate::{
    config::{Config, Credential},
    credential,
    matches::Selectors,
    worker::{server_settings, source_settings},
};

/// Adds a step for each file. Returns whether all files can be used.
pub(super) fn check(config: &Config, steps: &mut CheckSteps<'_>) -> bool {
    let before = steps.len();
    let tokens = [(config.from.token.as_ref(), "--from-token-file"), (Some(&config.to.token), "--to-token-file")];
    for (credential, flag) in tokens {
        if let Some(credential @ Credential::File(path)) = credential {
            steps.add(with_content(flag, path, false, || credential::bearer(credential).map(drop)));
        }
    }
    if let Some(salt @ Credential::File(path)) = config.anonymize.as_ref().map(|anonymize| &anonymize.salt) {
        steps.add(with_content("--anonymize-salt-file", path, false, || credential::read(salt).map(drop)));
    }
    if let Some(path) = &config.match_file {
        steps.add(with_content("--match-file", path, true, || Selectors::read(config).map(drop)));
    }
    let (from, to) = (source_settings(config), server_settings(config));
    if let Some(path) = from.ca_file.clone() {
        steps.add(with_content("--from-ca-file", &path, true, || {
            check_single_file(OutboundConfig { identity: None, ..from.clone() })
        }));
    }
    if let Some(path) = to.ca_file.clone() {
        steps.add(with_content("--to-ca-file", &path, true, || check_single_file(to)));
    }
    if let Some(tls) = &config.from.identity {
        let pair = OutboundConfig { ca_file: None, ..from };
        steps.add(check::file("--tls-private-key-file", &tls.key_file, false));
        steps.add(with_content("--tls-cert-file", &tls.cert_file, true, || check_single_file(pair)));
    }
    if let Some(path) = &config.internal_token_file {
        steps.add(check::file("--internal-token-file", path, false));
    }
    if steps.len() == before {
        steps.add(CheckStep::passed(CheckStage::FILES, "the files that flags name", "none"));
    }
    !steps.has_failed(CheckStage::FILES)
}

/// Whether an outbound client can be made with these settings, in which one file is named.
fn check_single_file(settings: OutboundConfig) -> Result<(), telemeter_http::client::OutboundError> {
    Outbound::new(OutboundConfig { proxy: telemeter_http::client::ProxyUse::None, ..settings }, None).map(drop)
}

/// The step of one file: whether it can be read, and by `read` whether its content can be used.
fn with_content<E: std::fmt::Display>(
    flag: &str,
    path: &Path,
    is_large: bool,
    read: impl FnOnce() -> Result<(), E>,
) -> CheckStep {
    let step = check::file(flag, path, is_large);
    if !step.is_good() {
        return step;
    }
    match read() {
        Ok(()) => step,
        Err(error) => {
            let cause = format!("{error} ({})", step.found);
            CheckStep::failed(CheckStage::FILES, step.tried, cause).advise("put into the file what the flag asks for")
        }
    }
}
