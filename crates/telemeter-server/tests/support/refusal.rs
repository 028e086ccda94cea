//! What is told of a request that did not succeed: in the log, by the counter, by the registry, in the JSON.

use super::log::LoggedLine;

/// Whose request it was.
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
    /// Stands in the log's cause.
    pub(crate) cause: &'static str,
}

impl ExpectedRefusal {
    /// The counter's series.
    pub(crate) fn counter(&self) -> String {
        format!("telemeter_refused_requests_total{{handler=\"{}\",reason=\"{}\"}}", self.route, self.reason)
    }

    /// Holds one refusal to what is expected: the `lines` of the log about it, what its counter says, and what the JSON API,
    /// which `get` asks, tells.
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
        let told = get(list).await;
        let mut items = told["items"].as_array().expect("a list").iter();
        let item = items.find(|item| item["verified"] == cluster.is_some()).unwrap_or_else(|| panic!("{what}: {told}"));
        let text = |value: Option<&str>| value.map_or(serde_json::Value::Null, Into::into);
        assert_eq!((&item["cluster"], &item["claimed_cluster"]), (&text(cluster), &text(claimed)), "{what}: {item}");
        assert_eq!((&item["status"], &item["peer"]), (&status.into(), &"127.0.0.1".into()), "{what}: {item}");
        let explanation =
            telemeter_server::refusals::explain(telemeter_fleet::Reason::from_name(reason).expect("a reason"));
        assert_eq!((&item["meaning"], &item["action"]), (&explanation.meaning.into(), &explanation.action.into()));

        if let Some(cluster) = cluster {
            let told = get(format!("/api/v1/clusters/{cluster}")).await;
            assert_eq!(
                (&told["status"], &told["last_refusal"]["reason"]),
                (&"refused".into(), &reason.into()),
                "{told}"
            );
            assert_eq!(told["last_refusal"]["status"], status, "{told}");
            assert_eq!(told["exchanges"][0]["outcome"], reason, "{told}");
            assert!(told["state"].as_str().expect("words").contains(&format!("({status})")), "{told}");
        }
    }
}
