//! The remote write that the server makes of an upload, byte for byte: `testdata/exchange/`, written anew with `UPDATE=1`.

mod support;

use std::{fmt::Write as _, path::PathBuf};

use support::{
    TestServer,
    body::{self, DELIMITED, TimeSeries},
};
use telemeter_test_support::golden;

/// The cluster that the client of the exchange belongs to.
const CLUSTER: &str = "00000000-0000-4000-8000-000000000001";
/// When the client of the exchange uploaded, in milliseconds since 1970.
const UPLOADED_MS: i64 = 1_795_330_870_734;

/// A file of the exchange.
fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/exchange", name].iter().collect()
}

/// A line for each series: its labels in the order in which they are sent, then the bits and the time of each sample.
fn lines(series: &[TimeSeries]) -> String {
    let mut lines = String::new();
    for series in series {
        let labels: Vec<_> = series.labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
        write!(lines, "{{{}}}", labels.join(",")).expect("room");
        for sample in &series.samples {
            write!(lines, " {:016x}@{}", sample.value.to_bits(), sample.timestamp).expect("room");
        }
        lines.push('\n');
    }
    lines
}

#[tokio::test]
async fn the_upload_becomes_this_remote_write() {
    let server = TestServer::with(|config| {
        config.rules.whitelist = vec!["{__name__!=\"nobody_allows_this\"}".to_owned()];
        config.rules.elide_labels = vec!["prometheus_replica".to_owned()];
        config.rules.labels = vec![("received_by".to_owned(), "gateway".to_owned())];
    })
    .await;
    server.clock.set_ms(UPLOADED_MS);
    let token = server.token(CLUSTER).await;
    let upload = std::fs::read(path("client-upload.snappy-framed")).expect("the upload");
    let answer = server.send(server.upload_of(&token, DELIMITED, upload).header("content-encoding", "snappy")).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let request = server.store.take().remove(0);
    let text = lines(&body::of_block(&request.body));
    assert_eq!(text.lines().count(), 18, "all of the upload but what the whitelist drops");
    golden::check(path("server-forward.txt"), text);
    // Where the series are the same and the bytes differ, the encoding has changed.
    golden::check(path("server-forward.snappy-block"), &request.body);
}
