//! Tests which series of a scrape are uploaded: those that the selectors match and that are valid.

use telemeter_client::{CycleReport, LeftOut};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::{
    TEXT,
    fake::{FakeTelemeter, ID, NOW_MS, config, prometheus, seen, uploaded},
    worker,
};

/// Returns what a client with these selectors uploads of `body`, without the `# TYPE` lines; no lines where it uploads
/// nothing.
async fn filtered(matches: &[&str], leave_out: bool, body: &str) -> (CycleReport, Vec<String>) {
    let (from, to) = (prometheus(TEXT, body).await, FakeTelemeter::default().start().await);
    let mut config = config(&from, &to);
    config.matches = matches.iter().map(|text| (*text).to_owned()).collect();
    config.leave_out_unrequested = leave_out;
    let (mut worker, _) = worker(&config);
    let report = worker.cycle().await.expect("a cycle");
    let uploads = seen(&to, "/upload").await;
    let text = uploads.first().map(uploaded).unwrap_or_default();
    (report, text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_uploaded_whatever_the_source_answers() {
    // The body is like that of a proxy that drops the query, or of the `/metrics` of a program: it has many series that
    // no selector matches.
    let body = format!(
        "# TYPE ALERTS untyped\nALERTS{{alertname=\"a\"}} 1 {NOW_MS}\n\
         # TYPE h histogram\nh_bucket{{le=\"+Inf\"}} 1 {NOW_MS}\nh_sum 1 {NOW_MS}\nh_count 1 {NOW_MS}\n\
         # TYPE secret gauge\nsecret{{user=\"me\"}} 1 {NOW_MS}\n\
         # TYPE up gauge\nup{{job=\"a\"}} 1 {NOW_MS}\nup{{job=\"b\"}} 1 {NOW_MS}\n"
    );
    // Selectors match the scraped names: `ALERTS` is renamed to `alerts` only after that.
    let asked = ["ALERTS", "{__name__=\"up\",job!=\"b\"}", "h_sum"];
    let (report, lines) = filtered(&asked, true, &body).await;
    let expected = [
        format!("alerts{{_id=\"{ID}\",alertname=\"a\"}} 1 {NOW_MS}"),
        format!("h_sum{{_id=\"{ID}\"}} 1 {NOW_MS}"),
        format!("up{{_id=\"{ID}\",job=\"a\"}} 1 {NOW_MS}"),
    ];
    assert_eq!(lines, expected);
    assert_eq!((report.scraped, report.kept, report.left_out.unrequested, report.left_out.total()), (7, 3, 4, 4));

    let (report, lines) = filtered(&["alerts"], true, &body).await;
    assert_eq!(
        (report.uploaded, report.left_out.unrequested, lines.len()),
        (0, 7, 0),
        "nothing is called alerts there"
    );

    // Without `--match`, all series are uploaded, and those that no selector matches are counted.
    let (report, lines) = filtered(&["{__name__=\"up\"}"], false, &body).await;
    assert_eq!((report.uploaded, lines.len()), (7, 7));
    assert_eq!((report.left_out.unrequested, report.left_out.unrequested_uploaded), (0, 5));
    // A client that cannot parse a selector cannot tell which series it matches.
    let (report, lines) = filtered(&["up", "{job=a}"], true, &body).await;
    assert_eq!((report.uploaded, lines.len(), report.left_out.unrequested), (7, 7, 0));
}

#[tokio::test]
async fn a_scrape_that_is_refused_for_a_selector_names_it() {
    let (from, to) = (MockServer::start().await, FakeTelemeter::default().start().await);
    let refusal = ResponseTemplate::new(400).set_body_string("1:6: parse error");
    Mock::given(method("GET")).and(path("/federate")).respond_with(refusal).mount(&from).await;
    let mut config = config(&from, &to);
    config.matches = vec!["up".to_owned(), "{job=a}".to_owned()];
    let error = worker(&config).0.cycle().await.expect_err("refused").to_string();
    assert!(error.contains("(400): 1:6: parse error; --match {job=^a} cannot be read at column 6"), "{error}");
}

#[tokio::test]
async fn what_is_not_uploaded_is_counted_by_why() {
    let long_ago = NOW_MS - 30 * 3_600_000;
    let too_long = "x".repeat(300);
    let body =
        format!("up 1\nup{{a=\"1\"}} 1 {long_ago}\nup{{a=\"2\"}} 1 {NOW_MS}\n{too_long} 1 {NOW_MS}\ndown 1 {NOW_MS}\n");
    let (report, lines) = filtered(&["up", &too_long], true, &body).await;
    let LeftOut { unrequested, untimed, outdated, invalid, .. } = report.left_out;
    assert_eq!((unrequested, untimed, outdated, invalid, lines.len()), (1, 1, 1, 1, 1));

    let (report, _) = filtered(&["up"], true, &format!("up 1 {long_ago}\n")).await;
    assert_eq!((report.uploaded, report.left_out.outdated, report.newest_age_ms), (0, 1, Some(108_000_000)));
}
