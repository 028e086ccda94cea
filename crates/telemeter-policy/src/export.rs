//! Exports a list as `write_relabel_configs`, for a Prometheus that sends remote write itself.

use std::fmt::Write as _;

use telemeter_rules::policy::relabel::{RelabelSteps, configs};

use crate::{change::ClientChanges, source::RuleFile};

/// A part of a Prometheus' configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The key `write_relabel_configs` with its list, in YAML.
    pub yaml: String,
    /// What relabelling cannot express, as sentences.
    pub inexpressible: Vec<String>,
}

/// Translates the rules and the changes into relabelling of the same effect. What relabelling cannot express is left out of
/// the list, and described.
#[must_use]
pub fn export(rules: &RuleFile, changes: &ClientChanges) -> Export {
    let selectors = rules.selectors();
    let sources: Vec<String> = rules.rules.iter().map(|rule| rules.at(rule.position)).collect();
    let steps = RelabelSteps {
        selectors: &selectors,
        sources: &sources,
        renames: &changes.renames,
        labels: &changes.labels,
        elided: &changes.elided,
        identity: &changes.identity,
    };
    let (configs, left_out) = configs(&steps);
    let mut inexpressible: Vec<String> = left_out
        .iter()
        .map(|one| format!("{}: {}: {}", sources[one.rule], rules.rules[one.rule].text, one.reason))
        .collect();
    if !changes.anonymized.labels.is_empty() {
        let labels = changes.anonymized.labels.join(", ");
        inexpressible.push(format!("relabelling cannot hash values with a salt: {labels} would be sent in clear"));
    }
    if selectors.is_empty() {
        inexpressible.push(format!("{} has no rules: nothing would be sent", rules.name));
    }
    let mut yaml = String::from("write_relabel_configs:\n");
    for config in configs {
        let _ = write!(yaml, "{config}");
    }
    Export { yaml, inexpressible }
}
