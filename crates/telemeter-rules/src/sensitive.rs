//! What may tell more of a cluster than its owner wants to tell: labels known by their name, values known by their form,
//! and metric names that break the form of a recording rule's.
//!
//! For warnings to people, never for a decision: a finding says "look at this", and no finding does not say "harmless".

#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use telemeter_wire::series::NAME_LABEL;

pub use value::Kind;

/// What a label of this name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
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

impl Reason {
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels that are sensitive whatever their value, and why.
pub const LABEL_NAMES: [(&str, Reason); 35] = [
    ("address", Reason::Address),
    ("boot_id", Reason::Hardware),
    ("configmap", Reason::Storage),
    ("container", Reason::Workload),
    ("container_id", Reason::Workload),
    ("created_by_name", Reason::Workload),
    ("daemonset", Reason::Workload),
    ("deployment", Reason::Workload),
    ("endpoint", Reason::Path),
    ("host_ip", Reason::Address),
    ("hostname", Reason::Machine),
    ("image", Reason::Image),
    ("image_id", Reason::Image),
    ("instance", Reason::Machine),
    ("machine_id", Reason::Hardware),
    ("namespace", Reason::Workload),
    ("node", Reason::Machine),
    ("nodename", Reason::Machine),
    ("owner_name", Reason::Workload),
    ("path", Reason::Path),
    ("persistentvolumeclaim", Reason::Storage),
    ("pod", Reason::Workload),
    ("pod_ip", Reason::Address),
    ("provider_id", Reason::Hardware),
    ("replicaset", Reason::Workload),
    ("secret", Reason::Storage),
    ("serial", Reason::Hardware),
    ("service", Reason::Workload),
    ("service_account", Reason::Workload),
    ("statefulset", Reason::Workload),
    ("system_uuid", Reason::Hardware),
    ("uid", Reason::Workload),
    ("username", Reason::Person),
    ("volumename", Reason::Storage),
    ("workload", Reason::Workload),
];

/// Why a label of this name is sensitive, also behind `exported_`; `None` for a name that tells nothing by itself.
#[must_use]
pub fn label_name(name: &str) -> Option<Reason> {
    let mut name = name;
    while let Some(own) = name.strip_prefix("exported_") {
        name = own;
    }
    let found = LABEL_NAMES.binary_search_by_key(&name, |(known, _)| known).ok()?;
    Some(LABEL_NAMES[found].1)
}

/// What the value of a label looks like, where that is sensitive; the first of [`Kind`] that is found in it.
#[must_use]
pub fn value(value: &str) -> Option<Kind> {
    value::kind(value, "")
}

/// As [`value()`], but for one UUID that may be told: the cluster's own. Empty: none.
#[must_use]
pub fn value_in_cluster(value: &str, cluster_id: &str) -> Option<Kind> {
    value::kind(value, cluster_id)
}

/// What a label tells that is sensitive: by its name, or else by its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// Its name says so.
    Name(Reason),
    /// Its value looks so.
    Value(Kind),
}

impl fmt::Display for Finding {
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
pub fn label(name: &str, value: &str, cluster_id: &str) -> Option<Finding> {
    if value.is_empty() || name == NAME_LABEL {
        return None;
    }
    label_name(name).map(Finding::Name).or_else(|| value_in_cluster(value, cluster_id).map(Finding::Value))
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
