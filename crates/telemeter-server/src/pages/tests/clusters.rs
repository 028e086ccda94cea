//! The list of clusters, and the page of one.

use super::*;

fn ids(body: &str) -> Vec<&str> {
    body.split("data-cluster=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
}

#[tokio::test]
async fn clusters_are_searched_filtered_and_sorted() {
    let pages = fleet();
    for (query, expected) in [
        ("", &["quiet-1", "quiet-2", "wrong", "steady-1", "steady-2", "fresh"][..]),
        ("?status=silent", &["quiet-1", "quiet-2"]),
        ("?status=refused", &["wrong"]),
        ("?status=new", &["fresh"]),
        ("?status=reporting", &["steady-1", "steady-2"]),
        ("?status=nonsense&search=quiet", &["quiet-1", "quiet-2"]),
        ("?search=EADY", &["steady-1", "steady-2"]),
        ("?search=4.16.9&sort=id", &["quiet-1", "steady-1", "wrong"]),
        ("?search=aws&sort=id&order=desc", &["wrong", "steady-1", "quiet-2", "fresh"]),
        ("?search=aws&status=silent", &["quiet-2"]),
        ("?sort=series&order=desc&search=steady", &["steady-1", "steady-2"]),
        ("?sort=version&order=desc&search=aws", &["fresh", "wrong", "steady-1", "quiet-2"]),
        ("?sort=refused&order=desc&search=wr", &["wrong"]),
        ("?search=nothing-like-it", &[]),
    ] {
        let body = pages.page(&format!("/clusters{query}")).await;
        assert_eq!(ids(&body), expected, "{query}");
    }
    let body = pages.page("/clusters?search=aws").await;
    let choices = words(between(&body, "aria-label=\"Status\">", "</nav>"));
    assert_eq!(choices, "All 4 Silent 1 Refused 1 New 1 Reporting 1");
    assert!(body.contains("href=\"/clusters?search=aws&#38;status=silent\" data-choice=\"silent\""), "{body}");
    assert_eq!(
        row(&body, "data-cluster=\"wrong\""),
        "wrong Refused 50 min ago 1 min ago identity 40 4 \u{2212}0.9 s 4.16.9 AWS"
    );
    assert!(pages.page("/clusters?search=nothing-like-it").await.contains("No cluster matches “nothing-like-it”"));
}

#[tokio::test]
async fn the_list_has_pages_and_is_there_as_csv_and_json() {
    let pages = TestPages::new();
    for cluster in 0..1250 {
        pages.report(&format!("cluster-{cluster:04}"), 10, ["4.16", "AWS"], NOW_MS - cluster * 100);
    }
    let first = pages.page("/clusters?sort=id&search=cluster").await;
    assert_eq!(ids(&first).len(), 100);
    assert!(first.contains("1–100 of 1,250") && words(&first).contains("Page 1 of 13"), "numbers have one form");
    assert!(first.contains("rel=\"next\" href=\"/clusters?search=cluster&#38;sort=id&#38;page=2\""), "{first}");
    let last = pages.page("/clusters?sort=id&page=13").await;
    assert_eq!((ids(&last).len(), ids(&last)[49]), (50, "cluster-1249"));
    for (name, lines) in [("CSV", 1251), ("JSON", 1)] {
        let link = first.split("<a href=\"").find(|part| part.contains(&format!(">{name}</a>"))).unwrap();
        let link = link.split_once('"').unwrap().0.replace("&#38;", "&");
        let (status, body) = pages.get(&link).await;
        assert_eq!((status, body.lines().count()), (StatusCode::OK, lines), "{link}");
        assert!(body.contains("cluster-0000") && body.contains("cluster-1249"));
    }
    // An order that the API does not know is not handed on to it.
    let body = pages.page("/clusters?sort=nonsense").await;
    assert!(body.contains("href=\"/api/v1/clusters?limit=0\""), "{body}");
}

#[tokio::test]
async fn a_list_that_is_not_whole_says_so() {
    let pages = TestPages::with(|config| config.fleet.max_clusters = 3);
    for cluster in 0..1003 {
        pages.report(&format!("c-{cluster}"), 1, ["", ""], NOW_MS);
    }
    for path in ["/", "/clusters"] {
        let text = words(&pages.page(path).await);
        assert!(
            text.contains("1,000 clusters were forgotten because there were more than --fleet-max-clusters"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_cluster_shows_its_state() {
    let pages = fleet();
    let body = pages.page("/clusters/wrong").await;
    let state = words(between(&body, "id=\"state\" data-status=\"refused\">", "</p>"));
    assert_eq!(
        state,
        "Refused 14 times in the last hour : the partition label or a required label is missing, or has a value that the \
         credentials do not allow (400)"
    );
    let facts = words(between(&body, "<dl class=\"facts\">", "</dl>"));
    for part in ["version 4.16.9", "provider AWS", "Client curl/8", "2026-11-13 08:12:09 UTC 9 d ago", "192.0.2.7"] {
        assert!(facts.contains(part), "{part}: {facts}");
    }
    let exchanges = between(&body, "id=\"exchanges\"", "</table>");
    assert_eq!(exchanges.matches("href=\"/refused?cluster=wrong&#38;reason=identity\"").count(), 14);
    assert_eq!(exchanges.matches(">accepted<").count(), 5);
    assert_eq!(between(&body, "<svg class=\"timeline\"", "</svg>").matches("class=\"bad\"").count(), 14);
    let limits = words(between(&body, "id=\"limits\"", "</table>"));
    for part in [
        "Upload, decompressed 3.9 KiB under 1 % of 500 KiB",
        "Uploads the next at once one every 4 min 30 s",
        "Requests at once 0 0 % of 128",
    ] {
        assert!(limits.contains(part), "{part}: {limits}");
    }
    assert!(words(between(&body, "id=\"refusals\"", "</table>")).ends_with("identity upload 14"));
    assert!(body.contains("the recent store holds nothing of this cluster"), "{body}");

    let body = pages.page("/clusters/quiet-2").await;
    let state = words(between(&body, "id=\"state\"", "</p>"));
    assert!(
        state.ends_with("Silent for 2 h 30 min : it reported every 4 min 30 s, the last time 2 h 30 min ago"),
        "{state}"
    );
}

#[tokio::test]
async fn a_cluster_shows_its_series_and_alerts() {
    let pages = fleet();
    let body = pages.page("/clusters/steady-1").await;
    let alerts = words(between(&body, "id=\"alerts\"", "</table>"));
    assert!(alerts.ends_with("Crash × 2 critical just now Watchdog none just now"), "{alerts}");
    for part in [
        "<b>job</b>x",
        "title=\"2.41496064e&#43;10\">24.1 G",
        "20 s ago",
        "gauge",
        "lowest 1, highest 24.1 G, last 24.1 G, 2 samples",
        "href=\"/federate?match%5B%5D=%7B_id%3D%22steady-1%22%7D\"",
        "href=\"/families/up\"",
    ] {
        assert!(body.contains(part) || body.contains(&part.replace("&#43;", "+")), "{part}: {body}");
    }
    assert!(!body.contains("<b>_id</b>"));
    // The store has seen it for as long as its first sample is old, and not for its whole window.
    assert!(words(&body).contains("samples a minute over the 4 min that were seen"), "{}", words(&body));
    let body = pages.page("/clusters/steady-1?search=ALERT").await;
    assert!(body.contains("<b>alertstate</b>") && !body.contains("<b>job</b>"));
    let body = pages.page(&format!("/clusters/steady-1?search={}", encoded("{job=~\"x+\"}"))).await;
    assert!(!body.contains("<b>alertstate</b>") && body.contains("<b>job</b>"));
    let (status, body) = pages.get("/clusters/steady-1?search=%7Bjob").await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("This is no selector"), "{body}");
}

#[tokio::test]
async fn an_unknown_cluster_has_a_page_with_its_refusals() {
    let pages = fleet();
    let (status, body) = pages.get("/clusters/nobody").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let text = words(&body);
    assert!(text.contains("this replica has never accepted a request of this cluster"), "{text}");
    assert!(
        text.contains("ask the other replicas or the store") && text.contains("Nobody who was refused lately"),
        "{text}"
    );
    let (status, body) = pages.get("/clusters/stranger").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let claims = words(between(&body, "id=\"refusals\"", "</table>"));
    assert!(claims.ends_with("authority_refused 401 authorize 192.0.2.7 3 just now"), "{claims}");
    assert!(body.contains("href=\"/refused?cluster=stranger&#38;reason=authority_refused\""));
}
