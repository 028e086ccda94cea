//! Checks that the log, the counter, the registry and the JSON say the same of a request that did not succeed.

use super::log::LoggedLine;

/// The cluster of the request, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RefusedCaller {
    Nobody,
    Claimed(&'static str),
    Verified(&'static str),
}

/// What is expected of one refusal.
pub(crate) struct ExpectedRefusal {
    pub(crate) route: &'static str,
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) of: RefusedCaller,
    /// Part of the cause in the log.
    pub(crate) cause: &'static str,
}

impl ExpectedRefusal {
    /// The series of the counter.
    pub(crate) fn counter(&self) -> String {
        format!("telemeter_refused_requests_total{{handler=\"{}\",reason=\"{}\"}}", self.route, self.reason)
    }

    /// Checks one refusal: the `lines` of the log about it, its counter, and the JSON API, which `get` reads.
    pub(crate) async fn check(
        &self,
        lines: &[LoggedLine],
        counted: f64,
        get: impl AsyncFn(String) -> serde_json::Value,
    ) {
        let Self { route, status, reason, of, cause } = *self;
        let what = format!("{route}, {reason}, {of:?}");
        let [line] = lines else { panic!("{what}: one line: {lines:?}") };
        let field = |name: &str| line.get(name).map(String::as_str);
        assert_eq!((field("route"), field("reason")), (Some(route), Some(reason)), "{line:?}");
        assert_eq!(field("status"), Some(status.to_string().as_str()), "{what}: {line:?}");
        assert_eq!(field("peer"), Some("127.0.0.1"), "{what}: {line:?}");
        assert!(field("cause").expect("a cause").contains(cause), "{what}: {line:?}");
        assert!(field("user_agent").is_some() && field("request_id").is_some_and(|id| !id.is_empty()), "{line:?}");
        let (cluster, claimed) = match of {
            RefusedCaller::Nobody => (None, None),
            RefusedCaller::Claimed(cluster) => (None, Some(cluster)),
            RefusedCaller::Verified(cluster) => (Some(cluster), None),
        };
        assert_eq!((field("cluster"), field("claimed_cluster")), (cluster, claimed), "{what}: {line:?}");

        assert!(counted >= 1.0, "{what}: the counter");

        let list =
            format!("/api/v1/refusals?reason={reason}&route={route}&cluster={}", cluster.or(claimed).unwrap_or(""));
        let answer = get(list).await;
        let mut items = answer["items"].as_array().expect("a list").iter();
        let item =
            items.find(|item| item["verified"] == cluster.is_some()).unwrap_or_else(|| panic!("{what}: {answer}"));
        let text = |value: Option<&str>| value.map_or(serde_json::Value::Null, Into::into);
        assert_eq!((&item["cluster"], &item["claimed_cluster"]), (&text(cluster), &text(claimed)), "{what}: {item}");
        assert_eq!((&item["status"], &item["peer"]), (&status.into(), &"127.0.0.1".into()), "{what}: {item}");
        let explanation =
            telemeter_server::refusals::explain(telemeter_fleet::Reason::from_name(reason).expect("a reason"));
        assert_eq!((&item["meaning"], &item["action"]), (&explanation.meaning.into(), &explanation.action.into()));

        if let Some(cluster) = cluster {
            let answer = get(format!("/api/v1/clusters/{cluster}")).await;
            assert_eq!(
                (&answer["status"], &answer["last_refusal"]["reason"]),
                (&"refused".into(), &reason.into()),
                "{answer}"
            );
            assert_eq!(answer["last_refusal"]["status"], status, "{answer}");
            assert_eq!(answer["exchanges"][0]["outcome"], reason, "{answer}");
            assert!(answer["state"].as_str().expect("words").contains(&format!("({status})")), "{answer}");
        }
    }
}
