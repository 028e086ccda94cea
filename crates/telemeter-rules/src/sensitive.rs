//! Detects sensitive data in series: labels known by their name, values known by their form, and metric names that look
//! like a recording rule's but do not have its form.
//!
//! The findings are warnings for people, not a basis for decisions: a finding means "look at this", and the absence of
//! findings does not mean "harmless".

#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use telemeter_wire::series::NAME_LABEL;

pub use value::ValueKind;

/// What a sensitive label identifies, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensitiveReason {
    /// A machine, by its name or its address (`instance`, `node`).
    Machine,
    /// An address in a network (`host_ip`).
    Address,
    /// A permanent ID of a machine (`machine_id`, `serial`).
    Hardware,
    /// A workload of the cluster, by its name (`namespace`, `pod`).
    Workload,
    /// An object that holds configuration or data (`secret`, `persistentvolumeclaim`).
    Storage,
    /// A container image (`image`, `image_id`).
    Image,
    /// A path in a file system or of a URL, or a port (`path`, `endpoint`).
    Path,
    /// A person (`username`).
    Person,
}

impl SensitiveReason {
    /// The reason as a predicate that follows "it": `names a machine`.
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

/// Names of labels that are sensitive whatever their value, sorted, each with the reason.
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

/// Why a label of this name is sensitive, also with the prefix `exported_`; `None` if it is not in [`LABEL_NAMES`].
#[must_use]
pub fn label_name(name: &str) -> Option<SensitiveReason> {
    let mut name = name;
    while let Some(original) = name.strip_prefix("exported_") {
        name = original;
    }
    let index = LABEL_NAMES.binary_search_by_key(&name, |(known, _)| known).ok()?;
    Some(LABEL_NAMES[index].1)
}

/// What the value of a label looks like, if that is sensitive: the kind of the first word that has one.
#[must_use]
pub fn value(value: &str) -> Option<ValueKind> {
    value::kind(value, "")
}

/// As [`value()`], but the UUID `cluster_id`, the cluster's own, is not sensitive. An empty `cluster_id` means none.
#[must_use]
pub fn value_in_cluster(value: &str, cluster_id: &str) -> Option<ValueKind> {
    value::kind(value, cluster_id)
}

/// Why a label is sensitive: by its name or, if not by that, by its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensitiveLabel {
    /// By its name.
    Name(SensitiveReason),
    /// By the form of its value.
    Value(ValueKind),
}

impl fmt::Display for SensitiveLabel {
    /// A predicate that follows "it": `names a machine`, `looks like an IPv4 address`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(reason) => reason.fmt(f),
            Self::Value(kind) => write!(f, "looks like {kind}"),
        }
    }
}

/// Why a label of this name and value is sensitive, in the cluster of this ID (empty: in no cluster). An empty value and
/// the metric name never are.
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
