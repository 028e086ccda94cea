//! Checks keys, certificates, rules, and the other files that the flags name.

use std::time::{Duration, Instant};

use telemeter_http::{
    check::{self, CheckStage, CheckStep, CheckSteps},
    client::Outbound,
    clock::Clock,
    tls::{CertificateFiles, EXPIRES_SOON, ListenerTls},
};

use super::{CERTIFICATE, KEYS, WHITELIST};
use crate::{config::Config, rules::ServerRules, serve::build};

const DAY_MS: i64 = 86_400_000;

/// Adds a step for the keys, for each certificate, for the whitelist, for the token of the internal listener, and for
/// each CA file that is given. Reads the files only, and connects to nothing.
pub(super) fn check(config: &Config, steps: &mut CheckSteps<'_>) {
    keys(config, steps);
    for (flag, tls) in [("--tls-crt", &config.tls), ("--internal-tls-crt", &config.internal_tls)] {
        if tls.is_empty() {
            steps.add(CheckStep::passed(CERTIFICATE, flag, "not given: that listener speaks plain HTTP"));
        }
        for files in tls {
            steps.add(certificate(flag, files, Clock::system().now_ms()));
        }
    }
    whitelist(config, steps);
    if let Some(path) = &config.internal_access.token_file {
        steps.add(check::file("--internal-token-file", path, false));
    }
    let files = &config.ca_files;
    for (flag, name, file) in [
        ("--authorize-ca-file", "authorize", &files.authorize),
        ("--forward-ca-file", "forward", &files.forward),
        ("--oidc-ca-file", "oauth", &files.oidc),
    ] {
        let Some(path) = file else { continue };
        let step = check::file(flag, path, true);
        // The file is read as the calls read it; proxies are a step of their own.
        let settings = build::outbound_settings(config, name, Duration::from_secs(1));
        let settings =
            telemeter_http::client::OutboundConfig { proxy: telemeter_http::client::ProxyUse::None, ..settings };
        steps.add(match Outbound::new(settings, None) {
            Err(error) if step.is_good() => CheckStep::failed(CheckStage::FILES, step.tried, error.to_string())
                .advise("put the authority's certificate into it, in PEM"),
            _ => step,
        });
    }
}

/// Adds the step for `--shared-key`: it fails where a key cannot be read, and warns where none is given.
fn keys(config: &Config, steps: &mut CheckSteps<'_>) {
    let start = Instant::now();
    let files: Vec<_> = config.shared_keys.iter().map(|file| file.display().to_string()).collect();
    let tried = format!("--shared-key {}", files.join(", "));
    let step = match build::keys(config) {
        Ok(Some(_)) => CheckStep::passed(KEYS, tried, format!("{} read; the first signs, all verify", files.len())),
        Ok(None) => {
            CheckStep::warned(KEYS, "--shared-key", "not given: a key is made at start, which no replica knows")
                .advise("give --shared-key where there are several replicas, or tokens are to outlive a restart")
        }
        Err(error) => CheckStep::failed(KEYS, tried, error).advise("give an EC or RSA private key, in PEM or DER"),
    };
    steps.add(step.took_since(start));
}

/// The step for one certificate and its key, of the flag `flag`. It fails where they cannot be loaded or the
/// certificate has expired, and warns where it expires soon ([`EXPIRES_SOON`]).
fn certificate(flag: &str, files: &CertificateFiles, now_ms: i64) -> CheckStep {
    let (start, tried) = (Instant::now(), format!("{flag} {}", files.cert_file.display()));
    let tls = match ListenerTls::load(&files.cert_file, &files.key_file) {
        Ok(tls) => tls,
        Err(error) => {
            let step = CheckStep::failed(CERTIFICATE, tried, error.to_string());
            return step.advise("give the certificate chain and its key, both in PEM").took_since(start);
        }
    };
    let step = match tls.expires_ms() {
        None => CheckStep::passed(CERTIFICATE, tried, "read, with its key"),
        Some(expires_ms) if expires_ms < now_ms => {
            let days = (now_ms - expires_ms) / DAY_MS;
            CheckStep::failed(CERTIFICATE, tried, format!("it expired {days} days ago")).advise("have it renewed")
        }
        Some(expires_ms) => {
            let left_ms = expires_ms - now_ms;
            let found = format!("read, with its key; {} days left", left_ms / DAY_MS);
            match left_ms < EXPIRES_SOON.as_millis() as i64 {
                true => CheckStep::warned(CERTIFICATE, tried, found).advise("have it renewed"),
                false => CheckStep::passed(CERTIFICATE, tried, found),
            }
        }
    };
    step.took_since(start)
}

/// Adds the step for the whitelist, from the flag and the file together. It fails where a rule is malformed, and warns
/// where there are no rules, or duplicates.
fn whitelist(config: &Config, steps: &mut CheckSteps<'_>) {
    let start = Instant::now();
    let tried = match &config.rules.whitelist_file {
        Some(file) => format!("--whitelist and --whitelist-file {}", file.display()),
        None => "--whitelist".to_owned(),
    };
    let step = match ServerRules::load(config) {
        Err(error) => CheckStep::failed(WHITELIST, tried, error).advise("mend the rule; each is checked at start, too"),
        Ok(rules) => match (rules.whitelist_len(), rules.whitelist_duplicates()) {
            (0, _) => {
                CheckStep::warned(WHITELIST, tried, "no rule: every metric passes").advise("give --whitelist-file")
            }
            (count, 0) => CheckStep::passed(WHITELIST, tried, format!("{count} rules")),
            (count, duplicates) => {
                let found = format!("{count} rules, {duplicates} of them duplicates of others");
                CheckStep::warned(WHITELIST, tried, found).advise("remove the duplicates")
            }
        },
    };
    steps.add(step.took_since(start));
}
