//! Tests `telemeter policy`: every command of docs/policy.md with its output, and more commands with their output in
//! `tests/golden/policy`. `UPDATE=1` rewrites both.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use telemeter_test_support::golden;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn examples() -> PathBuf {
    Path::new(ROOT).join("docs/examples/policy")
}

/// Runs a line of `sh` in the folder with the examples.
fn sh(script: &str) -> Output {
    let bin = Path::new(env!("CARGO_BIN_EXE_telemeter")).parent().expect("a folder");
    let path = std::env::join_paths(
        [bin.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    Command::new("sh")
        .args(["-euc", script])
        .current_dir(examples())
        .env("PATH", path.expect("a path"))
        .stdin(Stdio::null())
        .output()
        .expect("sh")
}

#[test]
fn every_command_of_the_page_prints_what_it_says() {
    let page = Path::new(ROOT).join("docs/policy.md");
    let text = fs::read_to_string(&page).expect("the page");
    let mut rewritten = String::new();
    let mut rest = text.as_str();
    let mut commands = 0;
    while let Some(at) = rest.find("\n```sh test") {
        let (before, block) = rest.split_at(at + 1);
        let (head, body) = block.split_once('\n').expect("a block");
        let (script, behind) = body.split_once("\n```\n").expect("the end of a block");
        let behind = behind.strip_prefix("\n```text\n").expect("what it prints");
        let (_, after) = behind.split_once("```\n").expect("the end of what it prints");
        let run = sh(script);
        let fails = head.ends_with("fails");
        assert_eq!(run.status.code(), Some(i32::from(fails)), "{script}\n{}", String::from_utf8_lossy(&run.stderr));
        assert!(run.stderr.is_empty(), "{script}\n{}", String::from_utf8_lossy(&run.stderr));
        let printed = String::from_utf8(run.stdout).expect("text");
        rewritten += &format!("{before}{head}\n{script}\n```\n\n```text\n{printed}```\n");
        rest = after;
        commands += 1;
    }
    rewritten += rest;
    assert!(commands >= 6, "the page shows only {commands} commands");
    golden::check(&page, &rewritten);
}

/// Compares the output of a command with a file, and checks its exit code.
fn golden(name: &str, script: &str, code: i32) {
    let run = sh(script);
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.status.code(), Some(code), "{script}\n{out}{err}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/policy/{name}"));
    golden::check(path, format!("{out}{err}"));
}

#[test]
fn check() {
    golden("check-together.txt", "telemeter policy check --together server.txt client.yaml", 0);
    golden("check-warning.txt", "telemeter policy check --together --fail-on-warning server.txt client.yaml", 1);
    golden("check.json", "telemeter policy check -o json broken.txt", 1);
    golden("check.csv", "telemeter policy check -o csv broken.txt", 1);
    golden(
        "check-flags.txt",
        "printf '%s\\n' 'telemeter-client --id x \\' \"  --match='{a=\\\"b\\\",c}'\" | telemeter policy check -",
        1,
    );
    golden("check-yaml.txt", "printf 'matches:\\n- |-\\n    {a=\"b\",\\n     c=d}\\n' | telemeter policy check -", 1);
    golden("check-missing.txt", "telemeter policy check no-such-file", 2);
    golden("check-twice.txt", "telemeter policy check - - < broken.txt", 2);
}

#[test]
fn explain() {
    golden("explain-all.txt", "telemeter policy explain client.yaml --all --dropped < metrics.txt", 0);
    golden("explain-fail.txt", "telemeter policy explain client.yaml --metrics metrics.txt --dropped --fail", 1);
    golden(
        "explain-changes.txt",
        "telemeter policy explain server.txt --metrics metrics.txt --rename , --anonymize-labels instance \
         --label region=eu --id c1 --elide-label prometheus_replica",
        0,
    );
    golden("explain.json", "grep '^ALERTS' metrics.txt | telemeter policy explain client.yaml -o json", 0);
    golden("explain-broken.txt", "telemeter policy explain broken.txt < metrics.txt", 1);
    golden("explain-no-metrics.txt", "telemeter policy explain client.yaml", 2);
    golden("explain-no-rules.txt", "echo up 1 | telemeter policy explain /dev/null", 0);
    golden("explain-bad-metrics.txt", "echo 'up{' | telemeter policy explain client.yaml", 2);
}

#[test]
fn diff() {
    golden("diff-series.json", "telemeter policy diff client.yaml server.txt -o json --metrics metrics.txt", 0);
    golden("diff-rules.csv", "telemeter policy diff client.yaml server.txt -o csv", 0);
    golden("diff-same.txt", "telemeter policy diff server.txt server.txt --rename , --fail < metrics.txt", 0);
    golden("diff-fail.txt", "telemeter policy diff client.yaml server.txt --fail", 1);
}

#[test]
fn export() {
    golden(
        "export-kinds.yaml",
        "telemeter policy export --write-relabel ../../../crates/telemeter/tests/policy/rules.txt \
        --rename a=b,b=a --label 'region=e$u' --elide-label prometheus_replica --id c1",
        0,
    );
    golden("export-hashed.txt", "telemeter policy export --write-relabel client.yaml --anonymize-labels instance", 1);
    golden("export-utf8.txt", "echo '{\"http.status\"=\"200\"}' | telemeter policy export --write-relabel -", 1);
    golden("export-nothing.txt", "telemeter policy export --write-relabel /dev/null", 1);
}

#[test]
fn report() {
    golden("report.json", "telemeter policy report -o json --fail metrics.txt", 1);
    golden("report.csv", "telemeter policy report -o csv < metrics.txt", 0);
    golden("report-no-match.txt", "telemeter policy report --from http://localhost:1", 2);
}

/// Uses a fake Prometheus that answers once; the metric's label contains the query of the request.
#[test]
fn a_live_prometheus_is_asked_for_the_selectors() {
    use std::io::{BufRead as _, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
        let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let body = "# TYPE shop_total untyped\nshop_total{pod=\"a\"} 1\n";
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("an answer");
        head
    });
    let run = sh(&format!(
        "telemeter policy report --from http://{address} --match shop_total --match '{{a=\"b c\"}}' --from-token secret -o json"
    ));
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{printed}{}", String::from_utf8_lossy(&run.stderr));
    let head = answering.join().expect("it answered").join("\n").to_ascii_lowercase();
    assert!(head.starts_with("get /federate?match%5b%5d=shop_total&match%5b%5d=%7ba%3d%22b+c%22%7d "), "{head}");
    assert!(head.contains("authorization: bearer secret"), "{head}");
    assert!(printed.contains("\"raw-counter\"") && printed.contains("names what runs in the cluster"), "{printed}");
}
