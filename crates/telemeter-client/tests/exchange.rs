//! Compares the upload that the client makes of a scrape byte for byte with `testdata/exchange/`; `UPDATE=1` rewrites
//! these files.

mod fake;

use std::path::PathBuf;

use fake::{FakeTelemeter, NOW_MS, config, prometheus, seen, uploaded};
use telemeter_auth::Secret;
use telemeter_client::{
    Worker,
    config::{AnonymizeSettings, Credential},
    metrics::Metrics,
};
use telemeter_http::clock::Clock;
use telemeter_test_support::golden;

/// The path of a file of the exchange.
fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/exchange", name].iter().collect()
}

#[tokio::test]
async fn a_scrape_becomes_this_upload() {
    let scraped = std::fs::read(path("scraped.txt")).expect("the scrape");
    let from = prometheus("text/plain; version=0.0.4; charset=utf-8", scraped).await;
    let to = FakeTelemeter::default().start().await;
    let mut config = config(&from, &to);
    config.matches = vec!["{__name__=~\".+\"}".to_owned()];
    config.labels = vec![("environment".to_owned(), "test".to_owned())];
    config.anonymize = Some(AnonymizeSettings {
        labels: vec!["instance".to_owned(), "namespace".to_owned()],
        salt: Credential::Value(Secret::from("a-unique-value")),
    });
    let (clock, _) = Clock::fixed(NOW_MS);
    let mut worker = Worker::new(&config, clock, Metrics::default()).expect("a worker");

    let report = worker.cycle().await.expect("a cycle");
    assert_eq!((report.scraped, report.kept), (20, 19), "the series of two days ago is left out");

    let upload = seen(&to, "/upload").await.remove(0);
    let text = uploaded(&upload);
    golden::check(path("client-upload.txt"), text);
    // Where the text is the same and the bytes differ, the encoding has changed.
    golden::check(path("client-upload.snappy-framed"), &upload.body);
}
