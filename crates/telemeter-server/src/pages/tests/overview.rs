//! The overview.

use super::*;

#[tokio::test]
async fn the_overview_counts_clusters_by_status_and_links_to_them() {
    let pages = fleet();
    let body = pages.page("/").await;
    for (status, state, count) in
        [("silent", "bad", "2"), ("refused", "warn", "1"), ("new", "", "1"), ("reporting", "", "2")]
    {
        let link = format!("<a id=\"clusters-{status}\" class=\"{state}\" href=\"/clusters?status={status}\">");
        assert!(between(&body, &link, "</a>").contains(&format!("<strong>{count}</strong>")), "{status}: {body}");
    }
    assert!(between(&body, "id=\"clusters-total\"", "</a>").contains("<strong>6</strong>"));
    let lead = words(between(&body, "<p class=\"lead\">", "</p>"));
    assert_eq!(lead, "Replica replica-7 , telemeter 1.2.3 (abcdef) , up for 3 d");
    // Most frequent first, each a link to who it was.
    let refusals = between(&body, "id=\"refusals\"", "</table>");
    for (reason, route, count) in
        [("identity", "upload", "14"), ("authority_refused", "authorize", "3"), ("method", "receive", "1")]
    {
        let link = format!("href=\"/refused?reason={reason}&#38;route={route}\"");
        assert_eq!(
            words(between(refusals, &link, "</tr>").split_once('>').unwrap().1),
            format!("{reason} {route} {count}")
        );
    }
    let dropped = words(between(&body, "id=\"dropped\"", "</table>"));
    assert!(dropped.ends_with("container_memory_rss 2 go_goroutines 1"), "{dropped}");
    assert!(body.contains("href=\"/families/container_memory_rss\""));
    assert!(
        words(between(&body, "id=\"recent-store\"", "</p>")).contains("5 series of 2 clusters, 6 samples"),
        "{body}"
    );
}

#[tokio::test]
async fn the_overview_shows_the_services_that_the_server_depends_on() {
    let pages = TestPages::with(|config| {
        config.forward = Some(crate::config::ForwardSettings::new("http://127.0.0.1:9/".parse().unwrap()));
    });
    let card = |body: &str| words(between(body, "data-dependency=\"store\"", "</li>").split_once('>').unwrap().1);
    assert_eq!(card(&pages.page("/").await), "Store Not asked yet");
    let store = &pages.gateway().fleet.dependencies.store;
    store.available(Some(Duration::from_millis(12)), NOW_MS - 7_200_000);
    assert_eq!(card(&pages.page("/").await), "Store Answers in 12 ms since 2026-11-22 06:12:09 UTC , 2 h ago");
    store.unavailable("connection refused", NOW_MS - 60_000);
    let body = pages.page("/").await;
    assert!(body.contains("data-dependency=\"store\" data-state=\"bad\""));
    assert_eq!(card(&body), "Store Fails in 12 ms since 2026-11-22 08:11:09 UTC , 1 min ago connection refused");
    store.available(None, NOW_MS - 1000);
    assert!(card(&pages.page("/").await).ends_with("Last failure 1 min ago: connection refused"));
}

#[tokio::test]
async fn the_overview_has_the_last_hour_by_route() {
    let pages = TestPages::new();
    for second in (0..3600).rev() {
        let ms = NOW_MS - second * 1000;
        pages.gateway().fleet.tick(ms);
        if second % 2 == 0 {
            pages.report("a", 100, ["", ""], ms);
        }
        if second % 10 == 0 {
            pages.refuse(&RequestError::verified("a", identity()), ReportRoute::Upload, ms);
        }
    }
    let body = pages.page("/").await;
    let upload = row(&body, "data-route=\"upload\"");
    // To the second, a minute of these is not the same everywhere.
    assert!(upload.starts_with("upload /upload 0.5") && upload.ends_with(" 1,800 360"), "{upload}");
    let chart = between(&body, "<svg class=\"hour\"", "</svg>");
    assert!(
        chart.contains("Requests a second in the last hour: at most 0.") && chart.contains("line upload"),
        "{chart}"
    );
    assert!((60..=62).contains(&chart.matches("<rect").count()), "{chart}");
    assert!(chart.contains("upload 0.50"), "{chart}");
    let history = pages.json("/api/v1/history").await;
    let minutes = history["minutes"].as_array().unwrap();
    assert!((60..=61).contains(&minutes.len()));
    assert_eq!(minutes[30]["routes"]["upload"]["samples_per_second"], 50.0);
    assert_eq!(minutes[30]["routes"]["upload"]["refused_per_second"], 0.1);
}

#[tokio::test]
async fn an_empty_fleet_shows_how_to_begin() {
    let pages = TestPages::new();
    for path in ["/", "/clusters"] {
        let body = pages.page(path).await;
        assert!(body.contains("telemeter-client --id") && body.contains("/metrics/v1/receive"), "{body}");
    }
    for path in ["/refused", "/families"] {
        pages.page(path).await;
    }
}

#[tokio::test]
async fn a_later_page_shows_a_later_time() {
    let pages = fleet();
    assert!(pages.page("/").await.contains("08:12:09 UTC</time>"));
    pages.clock.set_ms(NOW_MS + 3_600_000);
    let body = pages.page("/").await;
    assert!(body.contains("09:12:09 UTC</time>"));
    assert!(between(&body, "id=\"clusters-silent\"", "</a>").contains("<strong>6</strong>"), "all are silent by now");
}
