//! Compares the client with a recorded exchange, where its folder exists: `TELEMETER_RECORDED`, or next to the
//! checkout.

mod fake;

use std::io::Write as _;

use fake::{FakeTelemeter, NOW_MS, config, prometheus, recorded, rows, seen};
use telemeter_auth::Secret;
use telemeter_client::{
    Worker,
    config::{AnonymizeSettings, Credential},
    metrics::Metrics,
};
use telemeter_http::clock::Clock;

#[tokio::test]
async fn the_same_226_series_are_uploaded() {
    let Some(folder) = recorded() else {
        // This bypasses the capture of test output, so that the summary of `make test` shows it.
        let _ = writeln!(std::io::stderr(), "recorded upload: NOT CHECKED: TELEMETER_RECORDED names its folder");
        return;
    };
    let read = |name: &str| std::fs::read(folder.join(name)).expect("part of the recording");
    let from = prometheus("text/plain; version=0.0.4; charset=utf-8", read("scraped.txt")).await;
    let to = FakeTelemeter::default().start().await;
    let mut config = config(&from, &to);
    config.match_file = Some(folder.join("../matches.txt")).filter(|file| file.is_file());
    config.anonymize = Some(AnonymizeSettings {
        labels: vec!["instance".to_owned()],
        salt: Credential::Value(Secret::from("a-unique-value")),
    });
    let (clock, _) = Clock::fixed(NOW_MS + 5_000);
    let mut worker = Worker::new(&config, clock, Metrics::default()).expect("set up");

    let report = worker.cycle().await.expect("uploaded");
    assert_eq!((report.scraped, report.kept, report.uploaded), (232, 226, 226));

    let expected = rows(&read("client-upload.snappy-framed"));
    let ours = rows(&seen(&to, "/upload").await[0].body);
    assert_eq!(expected.len(), 226);
    for (ours, expected) in ours.iter().zip(&expected) {
        assert_eq!(ours, expected);
    }
    assert_eq!(ours.len(), expected.len());
}
