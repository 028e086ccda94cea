//! Tests how native histograms are sent from the source to the server.

use telemeter_wire::{
    Arena, DecodeLimits, Label, MetricType, NativeHistogram, Points, SeriesSet, exposition::delimited,
    series::NAME_LABEL,
};

use super::{
    PROTOBUF, TEXT,
    fake::{FakeTelemeter, ID, NOW_MS, config, grant, header, plain, prometheus, seen, uploaded},
    worker,
};

/// A count of 4 and a sum of 2, all in the zero bucket, and an empty span.
const GOOD: &[u8] = &[0x08, 4, 0x11, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x38, 4, 0x62, 0];

fn scrape(histograms: &[(&str, MetricType, &[u8])]) -> Vec<u8> {
    let (arena, mut out) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    for &(name, kind, message) in histograms {
        let message = arena.text().alloc_slice_copy(message);
        let histogram = NativeHistogram { message, timestamp_ms: Some(NOW_MS) };
        set.push(&[Label::new(NAME_LABEL, name), Label::new("pod", "p1")], kind, Points::Histogram(histogram));
    }
    delimited::encode(&set, &mut out);
    out
}

/// A server that accepts native histograms, or one that does not say so.
fn granting(accepts: Option<&str>) -> FakeTelemeter {
    let server = FakeTelemeter::default();
    let grant = grant("granted", 86_400, &[("_id", ID)]);
    server.authorize(match accepts {
        Some(accepts) => grant.insert_header("telemeter-upload-accepts", accepts),
        None => grant,
    });
    server
}

#[tokio::test]
async fn a_native_histogram_is_uploaded_as_it_came() {
    let bad: &[u8] = &[0x08, 5, 0x38, 4];
    let scraped = scrape(&[
        ("h", MetricType::Histogram, GOOD),
        ("gauge", MetricType::GaugeHistogram, GOOD),
        ("bad", MetricType::Histogram, bad),
    ]);
    let from = prometheus(PROTOBUF, scraped).await;
    let to = granting(Some("native-histograms")).start().await;
    let mut config = config(&from, &to);
    config.renames = vec![("h".to_owned(), "renamed".to_owned())];
    let (mut worker, _) = worker(&config);
    let report = worker.cycle().await.expect("uploaded");
    assert_eq!((report.scraped, report.kept, report.left_out.invalid), (3, 2, 1));
    assert!(header(&seen(&from, "/federate").await[0], "accept").starts_with("application/vnd.google.protobuf;"));
    let uploads = seen(&to, "/upload").await;
    let (plain, arena) = (plain(&uploads[0].body), Arena::new());
    let mut set = SeriesSet::new_in(&arena);
    delimited::decode(&plain, &DecodeLimits::default(), &mut set).expect("families");
    let found: Vec<_> =
        set.iter().map(|series| (series.name(), series.label("_id"), series.kind, series.points)).collect();
    let points = Points::Histogram(NativeHistogram { message: GOOD, timestamp_ms: Some(NOW_MS) });
    assert_eq!(
        found,
        [("renamed", Some(ID), MetricType::Histogram, points), ("gauge", Some(ID), MetricType::GaugeHistogram, points)]
    );
}

#[tokio::test]
async fn names_of_any_characters_are_asked_for_where_the_server_takes_them() {
    for (accepts, escaping) in
        [(Some("native-histograms, utf8-names"), true), (Some("native-histograms"), false), (None, false)]
    {
        let from = prometheus(TEXT, format!("{{\"http.status\",\"k8s.pod\"=\"p\"}} 1 {NOW_MS}\n")).await;
        let to = granting(accepts).start().await;
        worker(&config(&from, &to)).0.cycle().await.expect("uploaded");
        let scrapes = seen(&from, "/federate").await;
        let accept = header(&scrapes[0], "accept");
        assert_eq!(accept.contains("escaping=allow-utf-8"), escaping, "{accept}");
        let first = accept.split(',').next().unwrap_or_default();
        assert!(!escaping || first.contains("encoding=delimited;escaping=allow-utf-8;q=0.8"), "{accept}");
        assert!(accept.contains("text/plain;version=0.0.4;q=0.3"), "for a source that knows no escaping: {accept}");
        let expected = format!("{{\"http.status\",_id=\"{ID}\",\"k8s.pod\"=\"p\"}} 1 {NOW_MS}\n");
        assert!(uploaded(&seen(&to, "/upload").await[0]).ends_with(&expected));
    }
}

/// A Go server answers an upload with 500 if it contains one native histogram.
#[tokio::test]
async fn to_a_server_that_does_not_know_them_go_their_sum_and_count() {
    for accepts in [None, Some("something-else")] {
        let from = prometheus(PROTOBUF, scrape(&[("h", MetricType::Histogram, GOOD)])).await;
        let to = granting(accepts).start().await;
        worker(&config(&from, &to)).0.cycle().await.expect("uploaded");
        let expected = format!(
            "# TYPE h_sum untyped\nh_sum{{_id=\"{ID}\",pod=\"p1\"}} 2 {NOW_MS}\n\
             # TYPE h_count untyped\nh_count{{_id=\"{ID}\",pod=\"p1\"}} 4 {NOW_MS}\n"
        );
        assert_eq!(uploaded(&seen(&to, "/upload").await[0]), expected);
    }
}
