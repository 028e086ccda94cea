//! Tests that a program does not stop when the reader of its log stops reading.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// More log lines than fit into a pipe (64 KiB) and the program's own buffer (256 KiB).
const REQUESTS: usize = 4000;

struct PipedServer(Child);

impl Drop for PipedServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pipe_that_nobody_reads_stops_no_request() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_telemeter-server"));
    server.args(["--listen=127.0.0.1:0", "--listen-internal=127.0.0.1:0", "--authorize=http://127.0.0.1:1/"]);
    server
        .args(["--recent-store=5m", "--log-refusals-per-second=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut server = PipedServer(server.spawn().unwrap());
    let mut log = BufReader::new(server.0.stderr.take().unwrap());
    let (external, internal) = addresses(&mut log);

    // Each request is refused, and each refusal writes a line to the log.
    let mut connection = BufReader::new(connect(&external));
    for number in 0..REQUESTS {
        let status = ask(&mut connection, "POST /upload");
        assert_eq!(status, 401, "request {number}");
    }
    assert_eq!(ask(&mut BufReader::new(connect(&internal)), "GET /healthz"), 200);
    let dropped = metric(&internal, "telemeter_log_dropped_lines_total");
    assert!(dropped > 0.0, "{REQUESTS} lines cannot all have found room");

    // The log is read again: one line says how many lines are missing, and all later lines are written.
    let reader = std::thread::spawn(move || {
        let mut lines = log.lines().map_while(Result::ok);
        let notice = lines.find(|line| line.contains("log lines were dropped here")).expect("the notice");
        let next = lines.find(|line| line.contains("request refused")).expect("a line behind it");
        (notice, next)
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !reader.is_finished() {
        assert!(std::time::Instant::now() < deadline, "the log does not go on");
        assert_eq!(ask(&mut connection, "POST /upload"), 401);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (notice, _next) = reader.join().unwrap();
    assert!(notice.starts_with("ts=") && notice.contains(" level=warn "), "{notice}");
    let missing: f64 = notice.rsplit_once(" dropped=").unwrap().1.parse().unwrap();
    // On a busy machine more lines may be dropped after this notice, so the metric may be larger.
    let dropped = metric(&internal, "telemeter_log_dropped_lines_total");
    assert!(missing > 0.0 && missing <= dropped, "{notice}, {dropped} in the metrics");
}

/// Reads the addresses of both listeners from the log line of the start.
fn addresses(log: &mut impl BufRead) -> (String, String) {
    let line = log.lines().map_while(Result::ok).find(|line| line.contains("msg=serving")).expect("it serves");
    let field = |name: &str| {
        let value = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
    };
    (field("external"), field("internal"))
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends a request without a body, and reads the answer to its end; returns its status.
fn ask(connection: &mut BufReader<TcpStream>, request: &str) -> u16 {
    exchange(connection, request).0
}

fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> (u16, String) {
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    connection.get_mut().write_all(head.as_bytes()).unwrap();
    let (mut status, mut bytes) = (0, 0);
    for (number, line) in connection.by_ref().lines().enumerate() {
        let line = line.unwrap();
        if number == 0 {
            status = line.split(' ').nth(1).unwrap().parse().unwrap();
        } else if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            bytes = length.trim().parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; bytes];
    connection.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}

fn metric(address: &str, name: &str) -> f64 {
    let (_, scrape) = exchange(&mut BufReader::new(connect(address)), "GET /metrics");
    let line = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}
