//! `/federate` with names outside the first alphabet: written as the reader's `Accept` asks.

use super::*;

const SERIES: &str = "up{a=\"1\"} 1 T\n{\"http.status\",\"k8s.pod\"=\"a.b\"} 2 T\n";

/// A client whose source has these series; `T` is the time.
async fn client(series: &str) -> RunningClient {
    let from = prometheus(TEXT, series.replace('T', &NOW_MS.to_string())).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    let mut client = RunningClient::start(Config { interval: Duration::from_secs(30), ..config(&from, &to) }).await;
    client.cycle().await;
    client
}

/// The Content-Type of `/federate`, and its series without their types and times.
async fn federate(client: &RunningClient, accept: &[&str]) -> (String, String) {
    let browser = reqwest::Client::builder().build().expect("a client");
    let request =
        accept.iter().fold(browser.get(client.url("/federate")), |request, accept| request.header("accept", *accept));
    let answer = request.send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["vary"]), (200, &"accept".parse().expect("a header")));
    let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
    let text = answer.text().await.expect("text").replace(&format!(" {NOW_MS}"), "").replace(ID, "ID");
    let series = text.lines().filter(|line| !line.starts_with("# TYPE")).map(|line| format!("{line}\n"));
    (content_type, series.collect())
}

#[tokio::test]
async fn names_are_escaped_as_the_reader_asks() {
    let client = client(SERIES).await;
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let quoted = "{\"http.status\",_id=\"ID\",\"k8s.pod\"=\"a.b\"} 2";
    for (accept, escaping, line) in [
        (&[][..], "underscores", "http_status{_id=\"ID\",k8s_pod=\"a.b\"} 2"),
        (&["text/plain;version=0.0.4;q=0.3,*/*;q=0.2"], "underscores", "http_status{_id=\"ID\",k8s_pod=\"a.b\"} 2"),
        (&["text/plain;escaping=dots"], "dots", "http_dot_status{_id=\"ID\",k8s_dot_pod=\"a.b\"} 2"),
        (
            &["text/plain;escaping=values;q=0.9", "text/plain;q=0.1"],
            "values",
            "U__http_2e_status{_id=\"ID\",U__k8s_2e_pod=\"a.b\"} 2",
        ),
        (&["text/plain;escaping=allow-utf-8"], "allow-utf-8", quoted),
        (&[prometheus_3], "allow-utf-8", quoted),
    ] {
        let (content_type, series) = federate(&client, accept).await;
        assert_eq!(content_type, format!("{TEXT}; escaping={escaping}"), "{accept:?}");
        assert_eq!(series, format!("up{{_id=\"ID\",a=\"1\"}} 1\n{line}\n"), "{accept:?}");
    }
    client.end().await;
}

/// Different series stay different: as in the server's `/federate`.
#[tokio::test]
async fn no_two_series_become_one() {
    let first = client("{\"a.b\"} 1 T\na_b 2 T\nup{\"k.l\"=\"1\",k_l=\"2\"} 3 T\n").await;
    let (_, series) = federate(&first, &[]).await;
    let expected = "U__a_2e_b{_id=\"ID\"} 1\na_b{_id=\"ID\"} 2\nup{_id=\"ID\",U__k_2e_l=\"1\",k_l=\"2\"} 3\n";
    assert_eq!(series, expected);
    first.end().await;
    let second = client("{\"a.b\"} 1 T\na_b 2 T\nU__a_2e_b 3 T\n").await;
    let (_, series) = federate(&second, &[]).await;
    let note = "# 1 series are left out: under escaping=underscores, their names are those of others\n";
    assert_eq!(series, format!("a_b{{_id=\"ID\"}} 2\nU__a_2e_b{{_id=\"ID\"}} 3\n{note}"));
    second.end().await;
}
