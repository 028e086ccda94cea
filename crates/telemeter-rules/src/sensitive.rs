//! What may tell more of a cluster than its owner wants to tell: labels known by their name, values known by their form,
//! and metric names that break the form of a recording rule's.
//!
//! For warnings to people, never for a decision: a finding says "look at this", and no finding does not say "harmless".

#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use telemeter_wire::series::NAME_LABEL;

pub use value::ValueKind;

/// What a label of this name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensitiveReason {
    /// Which machine, by its name or where it is reached (`instance`, `node`).
    Machine,
    /// An address in the network (`host_ip`).
    Address,
    /// An ID of a machine that stays with it (`machine_id`, `serial`).
    Hardware,
    /// What runs in the cluster, by its name (`namespace`, `pod`).
    Workload,
    /// Where something is configured or kept (`secret`, `persistentvolumeclaim`).
    Storage,
    /// Which image runs (`image`, `image_id`).
    Image,
    /// A place in a file system or behind a URL, or the port behind which it is (`path`, `endpoint`).
    Path,
    /// A person (`username`).
    Person,
}

impl SensitiveReason {
    /// The reason in words, to stand behind "it": `names a machine`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "names a machine",
            Self::Address => "is an address in the network",
            Self::Hardware => "identifies a machine for good",
            Self::Workload => "names what runs in the cluster",
            Self::Storage => "names what the cluster keeps",
            Self::Image => "names an image",
            Self::Path => "names a path or a port",
            Self::Person => "names a person",
        }
    }
}

impl fmt::Display for SensitiveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels that are sensitive whatever their value, and why.
pub const LABEL_NAMES: [(&str, SensitiveReason); 35] = [
    ("address", SensitiveReason::Address),
    ("boot_id", SensitiveReason::Hardware),
    ("configmap", SensitiveReason::Storage),
    ("container", SensitiveReason::Workload),
    ("container_id", SensitiveReason::Workload),
    ("created_by_name", SensitiveReason::Workload),
    ("daemonset", SensitiveReason::Workload),
    ("deployment", SensitiveReason::Workload),
    ("endpoint", SensitiveReason::Path),
    ("host_ip", SensitiveReason::Address),
    ("hostname", SensitiveReason::Machine),
    ("image", SensitiveReason::Image),
    ("image_id", SensitiveReason::Image),
    ("instance", SensitiveReason::Machine),
    ("machine_id", SensitiveReason::Hardware),
    ("namespace", SensitiveReason::Workload),
    ("node", SensitiveReason::Machine),
    ("nodename", SensitiveReason::Machine),
    ("owner_name", SensitiveReason::Workload),
    ("path", SensitiveReason::Path),
    ("persistentvolumeclaim", SensitiveReason::Storage),
    ("pod", SensitiveReason::Workload),
    ("pod_ip", SensitiveReason::Address),
    ("provider_id", SensitiveReason::Hardware),
    ("replicaset", SensitiveReason::Workload),
    ("secret", SensitiveReason::Storage),
    ("serial", SensitiveReason::Hardware),
    ("service", SensitiveReason::Workload),
    ("service_account", SensitiveReason::Workload),
    ("statefulset", SensitiveReason::Workload),
    ("system_uuid", SensitiveReason::Hardware),
    ("uid", SensitiveReason::Workload),
    ("username", SensitiveReason::Person),
    ("volumename", SensitiveReason::Storage),
    ("workload", SensitiveReason::Workload),
];

/// Why a label of this name is sensitive, also behind `exported_`; `None` for a name that tells nothing by itself.
#[must_use]
pub fn label_name(name: &str) -> Option<SensitiveReason> {
    let mut name = name;
    while let Some(own) = name.strip_prefix("exported_") {
        name = own;
    }
    let found = LABEL_NAMES.binary_search_by_key(&name, |(known, _)| known).ok()?;
    Some(LABEL_NAMES[found].1)
}

/// What the value of a label looks like, where that is sensitive; the first of [`ValueKind`] that is found in it.
#[must_use]
pub fn value(value: &str) -> Option<ValueKind> {
    value::kind(value, "")
}

/// As [`value()`], but for one UUID that may be told: the cluster's own. Empty: none.
#[must_use]
pub fn value_in_cluster(value: &str, cluster_id: &str) -> Option<ValueKind> {
    value::kind(value, cluster_id)
}

/// What a label tells that is sensitive: by its name, or else by its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensitiveLabel {
    /// Its name says so.
    Name(SensitiveReason),
    /// Its value looks so.
    Value(ValueKind),
}

impl fmt::Display for SensitiveLabel {
    /// To stand behind "it": `names a machine`, `looks like an IPv4 address`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(reason) => reason.fmt(f),
            Self::Value(kind) => write!(f, "looks like {kind}"),
        }
    }
}

/// What is sensitive about a label of this name and value, in the cluster of this ID (empty: of none). An empty value
/// and the metric name itself are not.
#[must_use]
pub fn label(name: &str, value: &str, cluster_id: &str) -> Option<SensitiveLabel> {
    if value.is_empty() || name == NAME_LABEL {
        return None;
    }
    label_name(name)
        .map(SensitiveLabel::Name)
        .or_else(|| value_in_cluster(value, cluster_id).map(SensitiveLabel::Value))
}

/// What is wrong with a metric name that has colons, as a recording rule's has: the form is `level:metric:operations`.
/// `None` for a name without colons, and for one of that form (`job:up:sum`, `code:requests_total:rate:sum`).
///
/// Source: <https://prometheus.io/docs/practices/rules/>.
#[must_use]
pub fn recording_rule_name(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        [_] => None,
        _ if parts.contains(&"") => Some("a part between its colons is empty; the form is level:metric:operations"),
        [_, _] => Some("it has two parts; the form is level:metric:operations"),
        _ => None,
    }
}
