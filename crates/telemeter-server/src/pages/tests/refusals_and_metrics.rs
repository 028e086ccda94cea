//! The pages of refusals and of metrics.

use super::*;

#[tokio::test]
async fn refusals_show_the_caller_the_reason_and_what_to_do() {
    let pages = fleet();
    let body = pages.page("/refused").await;
    for reason in [Reason::Identity, Reason::AuthorityRefused, Reason::Method] {
        let explained =
            row(between(&body, "id=\"reasons\"", "</table>"), &format!("data-reason=\"{}\"", reason.name()));
        for text in [refusals::explain(reason).meaning, refusals::explain(reason).action] {
            assert!(explained.contains(&text.replace('`', "")), "{explained}: {text}");
        }
    }
    let who = between(&body, "id=\"refused\"", "</table>");
    assert_eq!(
        words(who.split_once("</thead>").unwrap().1),
        "claims to be stranger 192.0.2.7 authorize authority_refused 401 3 2 min ago just now \
         wrong 192.0.2.7 upload identity 400 14 14 min ago 1 min ago \
         no cluster named 192.0.2.7 receive method 405 1 2 d ago 2 d ago"
    );
    assert!(who.contains("href=\"/clusters/wrong\"") && !who.contains("href=\"/clusters/stranger\""), "{who}");
    for (query, expected) in [
        ("reason=identity", &["identity"][..]),
        ("reason=nonsense", &["authority_refused", "identity", "method"]),
        ("route=authorize", &["authority_refused"]),
        ("since=3600", &["authority_refused", "identity"]),
        ("cluster=wrong", &["identity"]),
        ("search=RANGE", &["authority_refused"]),
        ("search=192.0.2", &["authority_refused", "identity", "method"]),
    ] {
        let body = pages.page(&format!("/refused?{query}")).await;
        let who = between(&body, "id=\"refused\"", "</table>");
        let reasons: Vec<_> = who.split("data-reason=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
        assert_eq!(reasons, expected, "{query}");
        let json = pages.json(&format!("/api/v1/refusals?{}", query.replace("reason=nonsense", ""))).await;
        assert_eq!(json["items"].as_array().unwrap().len(), expected.len(), "{query}: the API says the same");
    }
    let body = pages.page("/refused?search=nobody").await;
    assert!(body.contains("No refusal is like that"), "{body}");
    let json = pages.json("/api/v1/refusals").await;
    let reasons: Vec<_> = json["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["reason"].as_str().unwrap(), one["count"].as_u64()))
        .collect();
    assert_eq!(reasons, [("identity", Some(14)), ("authority_refused", Some(3)), ("method", Some(1))]);
}

#[tokio::test]
async fn metrics_show_which_rule_lets_them_in() {
    let pages = TestPages::with(|config| {
        config.rules.whitelist = [
            "alerts{severity=\"critical\"}",
            "alerts",
            "up{job=\"x\"}",
            "up",
            "up{job=\"z\"}",
            "{__name__=~\"a.*\",pod!=\"\"}",
            "{__name__=\"gone\"}",
        ]
        .map(str::to_owned)
        .into();
        config.rules.elide_labels = vec!["pod".to_owned()];
    });
    for cluster in ["a", "b"] {
        pages.push(cluster, "up", &[("job", "x")], 1.0, NOW_MS);
        pages.push(cluster, "up", &[("job", "y")], 1.0, NOW_MS);
    }
    pages.push("a", "alerts", &[("severity", "warning")], 1.0, NOW_MS);
    pages.push("a", "unruly", &[], 1.0, NOW_MS);
    let body = pages.page("/families?sort=series&order=desc").await;
    let metric = |name: &str| row(&body, &format!("data-metric=\"{name}\""));
    assert_eq!(metric("up"), "up 100 % 2 4 {__name__=\"up\",job=\"x\"}");
    assert_eq!(metric("alerts"), "alerts 50 % 1 1 {__name__=\"alerts\"}", "no series has the label of the rule before");
    assert_eq!(metric("unruly"), "unruly 50 % 1 1 no rule any more");
    assert!(body.find("data-metric=\"up\"") < body.find("data-metric=\"alerts\""));
    let unmatched = words(between(&body, "id=\"unmatched\"", "</ul>").split_once('>').unwrap().1);
    // Of a label that is taken off behind the whitelist, nothing is known: its rule counts by the rest.
    assert_eq!(
        unmatched,
        "{__name__=\"alerts\",severity=\"critical\"} {__name__=\"up\",job=\"z\"} {__name__=\"gone\"}"
    );
    let json = pages.json("/api/v1/metrics").await;
    assert_eq!(json["unmatched_rules"].as_array().unwrap().len(), 3);
    assert_eq!(json["items"][2]["rule"], "{__name__=\"up\",job=\"x\"}");

    let body = pages.page("/families/up").await;
    assert!(
        words(&body).contains("Gets through : 2 clusters (100 % of those held) send 4 series of it."),
        "{}",
        words(&body)
    );
    let rules = words(between(&body, "id=\"rules\"", "</table>").split_once("</thead>").unwrap().1);
    assert_eq!(rules, "{__name__=\"up\",job=\"x\"} 2 {__name__=\"up\"} 2 {__name__=\"up\",job=\"z\"} 0");
    let labels = words(between(&body, "id=\"labels\"", "</table>").split_once("</thead>").unwrap().1);
    assert!(["_id 2 4 a b job 2 4 x y", "_id 2 4 b a job 2 4 x y"].contains(&labels.as_str()), "{labels}");
    let senders = words(between(&body, "id=\"senders\"", "</table>").split_once("</thead>").unwrap().1);
    assert_eq!(senders, "a 2 b 2");
    assert!(
        words(&pages.page("/families/unruly").await)
            .contains("no rule any more: they came before the rules were changed 1")
    );
    let metric = pages.json("/api/v1/metrics/up").await;
    assert_eq!(
        (&metric["clusters"], &metric["series"], &metric["rules"][0]["series"]),
        (&2.into(), &4.into(), &2.into())
    );
    assert_eq!(pages.get("/api/v1/metrics/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_dropped_metric_shows_that_it_is_dropped() {
    let pages = fleet();
    let body = pages.page("/families/container_memory_rss").await;
    assert!(words(&body).contains("Dropped : 2 series of it were dropped since the start"), "{}", words(&body));
    assert!(
        words(between(&body, "id=\"rules\">", "</p>")).starts_with("None: no rule of the whitelist takes this name.")
    );
    let (status, body) = pages.get("/families/nobody_sends_this").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(words(&body).contains("No series of this metric is held"), "{body}");
    assert!(
        words(between(&body, "id=\"rules\"", "</table>")).ends_with("{__name__=\"nobody_sends_this\"} 0"),
        "{body}"
    );
}
