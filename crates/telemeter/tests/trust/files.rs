//! Tests the flags with files of certificate authorities: the files are read again at a reload, and an invalid file
//! ends the start.

use super::*;

/// Tests `--forward-ca-file` in place of all three such flags of the server, which are read and reloaded in the same
/// way.
#[tokio::test]
async fn files_of_authorities_that_flags_name_are_read_again() {
    let files = TrustFiles::new();
    let store = serve(Router::new().fallback(|| async { StatusCode::OK }), Some(files.tls())).await;
    let file = files.folder.path().join("ca.pem");
    std::fs::copy(&files.bundle, &file).unwrap();
    let none = files.folder.path().join("none.pem");
    std::fs::write(&none, "").unwrap();
    let server = LoggedProgram::start(
        env!("CARGO_BIN_EXE_telemeter-server"),
        &none,
        &[
            "--listen=127.0.0.1:0".to_owned(),
            "--listen-internal=127.0.0.1:0".to_owned(),
            "--insecure-allow-any-cluster".to_owned(),
            "--ratelimit=0s".to_owned(),
            format!("--forward-url=https://localhost:{}/", store.port()),
            format!("--forward-ca-file={}", file.display()),
        ],
    );
    let (external, internal) = (server.address("external").await, server.address("internal").await);
    let from = serve(Router::new().route("/federate", get(async || scrape())), None).await;
    let tls_server = {
        let upload = post(async || StatusCode::OK);
        let grant =
            serde_json::json!({"version": 1, "token": "t", "expiresInSeconds": 5, "labels": {"_id": ID}}).to_string();
        let router = Router::new().route("/authorize", post(async || grant)).route("/upload", upload);
        serve(router, Some(files.tls())).await
    };
    let client = LoggedProgram::start(
        env!("CARGO_BIN_EXE_telemeter-client"),
        &none,
        &[
            format!("--from=http://{from}"),
            format!("--to=https://localhost:{}/", tls_server.port()),
            format!("--to-ca-file={}", file.display()),
            "--to-token=a".to_owned(),
            format!("--id={ID}"),
            "--interval=1s".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
        ],
    );
    let client_internal = client.address("address").await;
    let untrusted =
        format!("(CN=served): this certificate is neither in {} (--to-ca-file) nor among the system's", file.display());
    client.logs(&untrusted).await;
    let upload = async || {
        let url = format!("http://{external}/authorize?id={ID}");
        let answer = call(OutboundRequest::post(url.parse().unwrap()).with_bearer("t").unwrap()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let text = format!("# TYPE up gauge\nup{{_id=\"{ID}\"}} 1 {}\n", Clock::system().now_ms());
        let request = OutboundRequest::post(format!("http://{external}/upload").parse().unwrap())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
        call(request.with_bearer(answer["token"].as_str().unwrap()).unwrap().with_body(text)).await.status.as_u16()
    };
    assert_eq!(upload().await, 503, "{}", server.log());
    server.logs("(--forward-ca-file)").await;

    std::fs::copy(&files.cert, &file).unwrap();
    for internal in [internal, client_internal] {
        let (status, said) = reload(internal).await;
        assert_eq!(status, 200, "{said}");
    }
    assert_eq!(upload().await, 200, "{}", server.log());
    client.logs("metrics uploaded").await;

    std::fs::remove_file(&file).unwrap();
    for internal in [internal, client_internal] {
        let (status, said) = reload(internal).await;
        assert_eq!(status, 500, "{said}");
        assert!(said.contains("ca.pem cannot be read"), "{said}");
    }
}

/// The program prints one line that names the file, and exits at once with code 1.
#[test]
fn a_file_that_cannot_be_used_ends_the_start() {
    let files = TrustFiles::new();
    let encrypted = files
        .write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = files.write("other.key", &other.signing_key.serialize_pem());
    let (cert, key) = (files.cert.display().to_string(), files.key.display().to_string());
    let (token, pipe) = (files.write("token", "t"), files.folder.path().join("pipe").display().to_string());
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let tokens = files.write("tokens.json", "\u{feff}[{\"token\":\"a\"},1]");
    let decrypt = format!("decrypt it first (openssl pkey -in {encrypted} -out PLAIN)");
    let mismatch = format!("{other} is not the key of {cert}");

    let server = |flags: &[&str]| {
        let always = ["--listen=127.0.0.1:0", "--listen-internal=127.0.0.1:0", "--insecure-allow-any-cluster"];
        let flags = [&always[..], &["--forward-url=http://127.0.0.1:1/"], flags].concat();
        (env!("CARGO_BIN_EXE_telemeter-server"), flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
    };
    let client = |flags: &[&str]| {
        let flags =
            [&["--from=https://127.0.0.1:1/", "--to=https://127.0.0.1:1/", "--id=x", "--listen="], flags].concat();
        (env!("CARGO_BIN_EXE_telemeter-client"), flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
    };
    let token_file = format!("--to-token-file={token}");
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    let cases = [
        (server(&[&flag("tls-crt", &cert), &flag("tls-key", &encrypted)]), decrypt.as_str()),
        (server(&[&flag("internal-tls-crt", &cert), &flag("internal-tls-key", &encrypted)]), &decrypt),
        (server(&[&flag("shared-key", &encrypted)]), &decrypt),
        (server(&[&flag("tls-crt", &cert), &flag("tls-key", &other)]), &mismatch),
        (server(&[&flag("tls-crt", &key), &flag("tls-key", &key)]), "served.key holds no certificate in PEM"),
        (server(&[&flag("shared-key", &pipe)]), "pipe cannot be read: it is a pipe, not a file"),
        (server(&["--whitelist-file=/dev/zero"]), "/dev/zero cannot be read: it is a device, not a file"),
        (client(&[&token_file, &flag("tls-cert-file", &cert), &flag("tls-private-key-file", &encrypted)]), &decrypt),
        (client(&[&token_file, &flag("tls-cert-file", &cert), &flag("tls-private-key-file", &other)]), &mismatch),
        (
            client(&[&token_file, &flag("from-ca-file", &key)]),
            "served.key holds no certificate in PEM that can be used",
        ),
        (client(&[&token_file, &flag("from-ca-file", &pipe)]), "pipe cannot be read: it is a pipe, not a file"),
        (client(&[&flag("to-token-file", &pipe)]), "pipe cannot be read: it is a pipe, not a file"),
        (
            client(&[&token_file, &flag("from-token-file", "/tmp")]),
            "/tmp cannot be read: it is a directory, not a file",
        ),
        (client(&[&token_file, "--match-file=/dev/zero"]), "/dev/zero cannot be read: it is a device, not a file"),
        (
            client(&[&token_file, "--anonymize-labels=a", "--anonymize-salt-file=/dev/zero"]),
            "/dev/zero cannot be read: it is a device, not a file",
        ),
        (
            (env!("CARGO_BIN_EXE_authorization-server"), vec!["127.0.0.1:0".to_owned(), "/dev/zero".to_owned()]),
            "/dev/zero cannot be read: it is a device, not a file",
        ),
        // The text after the byte-order mark is read, and the position in the error is right.
        (
            (env!("CARGO_BIN_EXE_authorization-server"), vec!["127.0.0.1:0".to_owned(), tokens]),
            "tokens.json: bad list of tokens: line 1, column 16 is not part of a list",
        ),
    ];
    for ((program, arguments), expected) in cases {
        let mut running = LoggedProgram::start(program, Path::new("/dev/null"), &arguments);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "{arguments:?} still runs: {}", running.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(1), "{arguments:?}: {}", running.log());
        while !running.log().contains(expected) {
            assert!(start.elapsed() < PATIENCE, "{arguments:?}: {expected} is not in\n{}", running.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
