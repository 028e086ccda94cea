//! Tests what the quickstart scrapes, and which series it sends.

use super::*;

/// Starts a server that answers each request with `metrics`, where `NOW` is replaced by the time in milliseconds;
/// returns its address and the requests.
fn fake_prometheus(metrics: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).unwrap();
            let line = String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            if sender.send(line).is_err() {
                return;
            }
            let body = metrics.replace("NOW", shell("date +%s000").trim_end());
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
            write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    (url, asked)
}

#[test]
fn a_prometheus_of_ones_own() {
    let (url, asked) = fake_prometheus(
        "# TYPE up untyped\nup{job=\"mine\"} 1 NOW\nnodes{zone=\"a\"} 3 NOW\nold 1 1000000000000\nwithout_time 1\n",
    );
    let mut quickstart = Quickstart::start(&[&format!("--from={url}"), "--match=up", "--match={__name__=~\"n.*\"}"]);
    quickstart.line(&["scraped 4 series, kept 2, stored 2 in "]);
    quickstart.line(&["  client ", &format!("scrapes {url}/federate")]);
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("GET /federate?match%5B%5D=up&match%5B%5D="), "{asked}");
    let up = quickstart.paste(&["curl ", "/federate?match[]=up"]);
    assert!(up.contains("job=\"mine\""), "{up}");
    let page = get(&format!("{}/clusters/{}", quickstart.address("pages"), quickstart.cluster()));
    assert!(page.contains("nodes") && !page.contains("without_time"), "{page}");
    quickstart.end("TERM");
}

#[test]
fn what_leaves_is_chosen_renamed_labelled_and_anonymized() {
    let (url, asked) = fake_prometheus(
        "up{instance=\"secret-host\"} 1 NOW\nold_name{zone=\"a\"} 3 NOW\nunasked{instance=\"b\"} 1 NOW\n",
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("matches");
    fs::write(&file, "# chosen\n{__name__=\"old_name\"}\n").unwrap();
    let data = format!("--data-dir={}", directory.path().join("data").display());
    let run = |more: &[&str]| {
        let flags = [
            &format!("--from={url}"),
            &format!("--match-file={}", file.display()),
            "--rename=old_name=new_name",
            "--label=stage=test",
            "--anonymize-labels=instance",
            &data,
        ];
        let mut quickstart = Quickstart::start(&[&flags[..], more].concat());
        quickstart.line(&["stored "]);
        let asked = asked.recv().unwrap();
        let sent = quickstart.paste(&["curl ", "/federate", "-sS http://"]);
        quickstart.end("TERM");
        (asked, sent)
    };
    // Only the selectors of the file are requested where `--match` has none.
    let (question, sent) = run(&[]);
    assert!(question.starts_with("GET /federate?match%5B%5D=%7B__name__%3D%22old_name%22%7D "), "{question}");
    assert!(sent.contains("new_name{") && sent.contains("stage=\"test\"") && !sent.contains("old_name"), "{sent}");
    assert!(!sent.contains("up{") && !sent.contains("unasked"), "{sent}");
    while asked.try_recv().is_ok() {}
    let hash = |sent: String| {
        assert!(sent.contains("up{") && sent.contains("new_name{") && !sent.contains("secret-host"), "{sent}");
        let value = sent.split("instance=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(value.len(), 12, "{sent}");
        value
    };
    let first = hash(run(&["--match=up"]).1);
    assert_eq!(hash(run(&["--match=up"]).1), first, "the salt is kept");
}

#[test]
fn a_cycle_that_fails_says_why_and_what_to_do() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut quickstart = Quickstart::start(&[&format!("--from=http://{gone}")]);
    quickstart.line(&["failed: Prometheus was not reached", "is --from right", "next try in 1m"]);
    quickstart.end("TERM");
}
