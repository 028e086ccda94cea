//! The metric names of the series that we send about the fleet: no cluster can send series of these names.

/// The beginning of the name of each series about one cluster.
pub const PREFIX: &str = "telemeter_cluster_";
/// The series of refusals of callers that were not verified.
pub const UNVERIFIED: &str = "telemeter_unverified_refused_total";

/// Whether a store could read a metric name as one of these: stores put `_` for each character that a name may not hold.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let begins = |with: &str| {
        let mut name = name.chars();
        let same = |have: char, want: char| have == want || want == '_' && !have.is_ascii_alphanumeric() && have != ':';
        with.chars().all(|want| name.next().is_some_and(|have| same(have, want))).then_some(name)
    };
    begins(PREFIX).is_some() || begins(UNVERIFIED).is_some_and(|mut rest| rest.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_and_what_a_store_could_read_as_one() {
        for name in [
            "telemeter_cluster_series",
            "telemeter_cluster_",
            "telemeter_cluster_anything",
            "telemeter.cluster.series",
            "telemeter-cluster_info",
            "telemeterücluster_info",
            "telemeter_unverified_refused_total",
            "telemeter.unverified.refused.total",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "",
            "telemeter_clusters",
            "telemeter_cluster",
            "xtelemeter_cluster_series",
            "telemeter:cluster:series",
            "telemeter_unverified_refused_total_more",
            "telemeter_unverified_refused",
            "cluster_version",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
