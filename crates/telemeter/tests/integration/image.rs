//! Tests the image: the files that `scripts/image-root` creates, and the deployment of the cluster-monitoring-operator
//! in it. The client runs in a chroot, as a random user, read-only, with the operator's flags and mounts.
//!
//! The programs are those of this build, or those in the folder `IMAGE_PROGRAMS`.

mod certificates;
mod deployment;
mod mounts;
mod root;
mod selectors;
mod source;

use std::io::{Seek as _, Write as _};
use std::process::Command;

use deployment::Deployment;
use root::Root;

use crate::PATIENCE;
use crate::gateway::{Ports, TOKEN};
use crate::process::{free_port, local, until};
use crate::promql::http;
use crate::stores::ready;

/// Where the operator mounts the CA bundle: this folder, which contains the file as a link.
const BUNDLE: (&str, &str) = ("/etc/pki/ca-trust/extracted/pem", "tls-ca-bundle.pem");
/// The other paths of the same bundle.
const BUNDLE_LINKS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_holds_one_bundle_and_two_programs_whose_profiles_name_functions() {
    let root = Root::lay_out();
    one_bundle_has_all_well_known_names(&root);
    links_are_programs(&root);
    profiles_name_our_functions(&root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_deployment_runs_in_the_image() {
    let root = Root::lay_out();
    if let Err(reason) = root.can_be_entered() {
        root::not_checked("the operator's deployment in the image", &reason);
        let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!(ci && rustix::process::geteuid().is_root()), "CI, as root, has no reason to leave it out: {reason}");
        return;
    }
    let mut deployment = Deployment::set_up(root).await;
    deployment.works_as_it_is().await;
    deployment.trusts_a_new_bundle_after_a_reload().await;
    deployment.takes_a_bundle_that_is_mounted_as_one_file().await;
}

fn one_bundle_has_all_well_known_names(root: &Root) {
    let (folder, file) = BUNDLE;
    let bundle = root.path(&format!("{folder}/{file}"));
    let text = std::fs::read_to_string(&bundle).expect("the bundle is text");
    assert!(text.contains("-----BEGIN CERTIFICATE-----"), "{}: no certificate", bundle.display());
    let one = std::fs::canonicalize(&bundle).expect("the bundle is there");
    assert!(one.ends_with(bundle.strip_prefix(root.folder()).expect("below the root")), "{}: a link", bundle.display());
    for name in BUNDLE_LINKS {
        let link = std::fs::canonicalize(root.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(link, one, "{name}");
    }
}

/// Checks that one program has several names, and that the client is a program of its own.
fn links_are_programs(root: &Root) {
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(root.path("/usr/bin")).expect("it was laid out") {
        let entry = entry.expect("a folder can be listed");
        let name = entry.file_name().into_string().expect("our names are text");
        if !entry.file_type().expect("it is there").is_symlink() {
            programs.push(name);
            continue;
        }
        let help = Command::new(entry.path()).arg("--help").output().expect("it can be started");
        let usage = String::from_utf8_lossy(&help.stdout).into_owned();
        // `telemeter` itself would require a subcommand there.
        let is_it = usage.contains(&format!("Usage: {name} [OPTIONS]"));
        assert!(help.status.success() && is_it, "{name}: {usage}");
    }
    programs.sort();
    assert_eq!(programs, ["telemeter", "telemeter-client"], "what is in the image twice takes its place twice");
}

/// Tests profiles of both stripped programs while they work.
async fn profiles_name_our_functions(root: &Root) {
    let ports = Ports::free();
    let server = [
        format!("--listen={}", local(ports.external)),
        format!("--listen-internal={}", local(ports.internal)),
        "--insecure-allow-any-cluster".to_owned(),
        "--recent-store=2h".to_owned(),
    ];
    let client_port = free_port();
    let token = root.write("/etc/telemeter/token", TOKEN);
    let client = [
        "--id=00000000-0000-4000-8000-0000000000b0".to_owned(),
        format!("--listen={}", local(client_port)),
        // No program listens on this port.
        format!("--from=http://{}", local(1)),
        format!("--to=http://{}", local(ports.external)),
        format!("--to-token-file={}", token.display()),
    ];
    let _server = root.start_outside("telemeter-server", &server);
    let _client = root.start_outside("telemeter-client", &client);
    for (name, port) in [("telemeter-server", ports.internal), ("telemeter-client", client_port)] {
        let address = format!("http://{}", local(port));
        ready(name, &format!("{address}/healthz")).await;
        // A profile covers a short time, and the machine may give the program no CPU time in it.
        until("a CPU profile that names our functions", PATIENCE, || async {
            let busy = async {
                let http = reqwest::Client::builder().no_proxy().build().expect("the system has a CA bundle");
                loop {
                    let _busy = http.get(format!("{address}/metrics")).send().await;
                }
            };
            let profile = tokio::select! {
                profile = bytes(format!("{address}/debug/pprof/profile?seconds=1")) => profile?,
                () = busy => unreachable!("it goes on for ever"),
            };
            names_ours(&profile)
        })
        .await;
    }
    // There is one sample for each 512 KiB, and the pages above have allocated more.
    until("a heap profile that names our functions", PATIENCE, || async {
        names_ours(&unzip(&bytes(format!("http://{}/debug/pprof/heap", local(ports.internal))).await?))
    })
    .await;
}

async fn bytes(url: String) -> Result<Vec<u8>, String> {
    let answer = http().get(&url).send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    if status == 200 { Ok(body.into()) } else { Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&body))) }
}

fn unzip(zipped: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("there is a place for temporary files");
    file.write_all(zipped).and_then(|()| file.rewind()).expect("a temporary file can be written");
    let output = Command::new("gunzip").stdin(file).output().expect("gunzip is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Searches a profile for names of our functions: its string table contains names as plain text.
fn names_ours(profile: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(profile);
    let ours = ["telemeter_http::", "telemeter_server::", "telemeter_client::", "telemeter::"];
    if ours.iter().any(|name| text.contains(name)) { Ok(()) } else { Err(format!("{} bytes, no name", profile.len())) }
}
