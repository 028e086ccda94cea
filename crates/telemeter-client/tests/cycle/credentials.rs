//! Tests how the client authenticates: access tokens, token files, and passwords in URLs.

use std::time::Duration;

use telemeter_client::{CycleError, config::Credential, token::TokenError, upload::UploadError};
use wiremock::{MockServer, ResponseTemplate};

use super::{
    TEXT,
    fake::{FakeTelemeter, ID, NOW_MS, config, grant, header, prometheus, seen, uploaded},
    worker,
};

#[tokio::test]
async fn a_grant_is_kept_until_15_seconds_before_its_end() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.authorize(grant("first", 100, &[("_id", ID)]));
    let (mut worker, clock) = worker(&config(&from, &to));
    for (later, tokens) in [(0, "Bearer first"), (84, "Bearer first"), (1, "Bearer granted")] {
        clock.advance(Duration::from_secs(later));
        worker.cycle().await.expect("uploaded");
        let uploads = seen(&to, "/upload").await;
        assert_eq!(header(uploads.last().expect("one"), "authorization"), tokens, "{later} s later");
    }
    assert_eq!(seen(&to, "/authorize").await.len(), 2);
}

#[tokio::test]
async fn a_401_on_upload_asks_once_for_another_grant() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.authorize(grant("old", 86_400, &[("_id", ID)]));
    server.upload(ResponseTemplate::new(401));
    let (mut worker, _) = worker(&config(&from, &to));
    worker.cycle().await.expect("uploaded under the second grant");
    let tokens = |uploads: &[wiremock::Request]| -> Vec<String> {
        uploads.iter().map(|upload| header(upload, "authorization").to_owned()).collect()
    };
    assert_eq!(tokens(&seen(&to, "/upload").await), ["Bearer old", "Bearer granted"]);
    assert_eq!(seen(&from, "/federate").await.len(), 1, "the same labels: the same upload");

    // A second 401 ends the cycle.
    server.upload(ResponseTemplate::new(401).set_body_string("no"));
    server.upload(ResponseTemplate::new(401).set_body_string("still no"));
    let error = worker.cycle().await.expect_err("refused twice");
    assert!(matches!(error, CycleError::Upload(UploadError::Unauthorized(_))), "{error:?}");
    assert!(error.to_string().contains("(401): still no; asked http"), "{error}");
    assert_eq!(seen(&to, "/upload").await.len(), 4);
    assert_eq!(seen(&to, "/authorize").await.len(), 3);
}

#[tokio::test]
async fn another_grant_with_other_labels_scrapes_again() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.authorize(grant("old", 86_400, &[("_id", ID), ("plan", "gold")]));
    server.upload(ResponseTemplate::new(401));
    worker(&config(&from, &to)).0.cycle().await.expect("uploaded");
    let uploads = seen(&to, "/upload").await;
    assert!(uploaded(&uploads[0]).contains("plan=\"gold\""));
    assert!(!uploaded(&uploads[1]).contains("plan="));
    assert_eq!(seen(&from, "/federate").await.len(), 2);
}

#[tokio::test]
async fn token_files_are_read_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from_token, to_token) = (folder.path().join("from"), folder.path().join("to"));
    let write = |from: &str, to: &str| {
        std::fs::write(&from_token, from).expect("written");
        std::fs::write(&to_token, to).expect("written");
    };
    write("from-1\n", "to-1\n");
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    let mut config = config(&from, &to);
    config.from.token = Some(Credential::File(from_token.clone()));
    config.to.token = Credential::File(to_token.clone());
    // The lifetimes of these tokens are too short for them to be cached.
    server.authorize(grant("a", 10, &[("_id", ID)]));
    server.authorize(grant("b", 10, &[("_id", ID)]));
    let (mut worker, _) = worker(&config);
    worker.cycle().await.expect("uploaded");
    write("from-2\n", "to-2\n");
    worker.cycle().await.expect("uploaded");
    let bearers = async |server: &MockServer, route: &str| -> Vec<String> {
        seen(server, route).await.iter().map(|request| header(request, "authorization").to_owned()).collect()
    };
    assert_eq!(bearers(&from, "/federate").await, ["Bearer from-1", "Bearer from-2"]);
    assert_eq!(bearers(&to, "/authorize").await, ["Bearer to-1", "Bearer to-2"]);

    std::fs::remove_file(&to_token).expect("removed");
    let error = worker.cycle().await.expect_err("no token");
    assert!(matches!(error, CycleError::Token(TokenError::Credential(_))), "{error:?}");
    assert!(error.to_string().contains(&to_token.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_grant_ends_though_the_wall_clock_is_set_back() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.authorize(grant("a", 300, &[("_id", ID)]));
    server.authorize(grant("b", 300, &[("_id", ID)]));
    let (mut worker, clock) = worker(&config(&from, &to));
    for (seconds, exchanges) in [(0, 1), (100, 1), (201, 2)] {
        clock.advance(Duration::from_secs(seconds));
        clock.set_ms(NOW_MS);
        worker.cycle().await.expect("uploaded");
        assert_eq!(seen(&to, "/authorize").await.len(), exchanges, "{seconds} s later");
    }
}

#[tokio::test]
async fn a_password_in_the_url_is_basic_authentication() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let to = FakeTelemeter::default().start().await;
    let mut config = config(&from, &to);
    config.from.url.set_username("me").expect("a user");
    config.from.url.set_password(Some("secret")).expect("a password");
    worker(&config).0.cycle().await.expect("uploaded");
    assert_eq!(header(&seen(&from, "/federate").await[0], "authorization"), "Basic bWU6c2VjcmV0");
}
