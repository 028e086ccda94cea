//! Tests the deployment of the cluster-monitoring-operator: its flags and mounts, a Prometheus that requires a client
//! certificate, and a server that is trusted only through the mounted bundle.

use std::time::Duration;

use super::certificates::CertificateAuthority;
use super::root::{ProcessStatus, Root};
use super::selectors::{Selected, selected};
use super::source::ScrapedSource;
use super::{BUNDLE, bytes};
use crate::PATIENCE;
use crate::gateway::{Ports, TOKEN};
use crate::process::{RunningProgram, free_port, local, until};
use crate::promql::http;
use crate::stores::ready;

/// The host name of the Prometheus in the operator's flags; below, one for the vendor's server. `/etc/hosts` has both.
const FROM: &str = "prometheus-k8s.openshift-monitoring.svc";
const TO: &str = "gateway.telemeter.example";
/// The contents of the service account's token file and of the salt file.
const ACCOUNT_TOKEN: &str = "the-token-of-the-service-account";
/// Cluster IDs for which the first cycle starts at once: its delay, up to a twentieth of the interval, depends on the
/// ID.
const CLUSTERS: [&str; 3] = [
    "00000000-0000-4000-8000-000000000297",
    "00000000-0000-4000-8000-000000001d31",
    "00000000-0000-4000-8000-000000002801",
];
/// The memory limit of the operator's container.
const MEMORY_LIMIT_KIB: u64 = 40 << 10;

/// The environment of the client: a Prometheus, a server in the same image, and the mounted files.
pub(super) struct Deployment {
    root: Root,
    source: ScrapedSource,
    server: RunningProgram,
    authority: RunningProgram,
    ports: Ports,
    client_port: u16,
    first_ca: CertificateAuthority,
    second_ca: CertificateAuthority,
    selected: Vec<Selected>,
}

impl Deployment {
    /// Starts all programs except the client.
    pub(super) async fn set_up(root: Root) -> Self {
        let [service_ca, metrics_ca, first_ca, second_ca] =
            ["service", "metrics-client", "first", "second"].map(CertificateAuthority::new);
        let selected = selected();
        let source = ScrapedSource::start(service_ca.server(FROM), metrics_ca.pem(), &selected).await;

        root.write("/etc/hosts", &format!("127.0.0.1 localhost {FROM} {TO}\n"));
        let (certificate, key) = metrics_ca.client("system:serviceaccount:openshift-monitoring:telemeter-client");
        root.mount("/etc/tls/private", &[("tls.crt", &certificate), ("tls.key", &key)]);
        root.mount("/etc/serving-certs-ca-bundle", &[("service-ca.crt", &service_ca.pem())]);
        root.mount("/var/run/secrets/kubernetes.io/serviceaccount", &[("token", ACCOUNT_TOKEN)]);
        root.mount("/etc/telemeter", &[("token", TOKEN), ("salt", "a-salt")]);
        root.mount(BUNDLE.0, &[(BUNDLE.1, &first_ca.pem())]);

        let (certificate, key) = first_ca.server(TO);
        root.mount("/etc/telemeter-server", &[("tls.crt", &certificate), ("tls.key", &key)]);
        // The whitelist of the vendor has the same selectors, so series that they do not match are not stored, whether
        // the client or the server drops them.
        let whitelist: String = selected.iter().map(|selected| format!("{}\n", selected.selector)).collect();
        root.mount("/etc/telemeter-rules", &[("whitelist", &whitelist)]);
        let tokens = root.mount("/etc/authority", &[("tokens.json", &format!(r#"[{{"token":"{TOKEN}"}}]"#))]);
        let authority_address = local(free_port());
        let authority = root.start(
            "authorization-server",
            "authority",
            &[authority_address.to_string(), format!("{tokens}/tokens.json")],
        );
        let ports = Ports::free();
        let server = root.start(
            "telemeter-server",
            "server",
            &[
                format!("--listen={}", local(ports.external)),
                format!("--listen-internal={}", local(ports.internal)),
                "--tls-crt=/etc/telemeter-server/tls.crt".to_owned(),
                "--tls-key=/etc/telemeter-server/tls.key".to_owned(),
                format!("--authorize=http://{authority_address}/"),
                "--whitelist-file=/etc/telemeter-rules/whitelist".to_owned(),
                "--recent-store=2h".to_owned(),
            ],
        );
        ready("the server in the image", &format!("http://{}/healthz/ready", local(ports.internal))).await;
        let client_port = free_port();
        Self { root, source, server, authority, ports, client_port, first_ca, second_ca, selected }
    }

    /// Starts the client with the operator's command, except for the ports and the vendor's address.
    fn client(&self, id: &str) -> RunningProgram {
        let mut arguments = vec![
            format!("--id={id}"),
            format!("--from=https://{FROM}:{}", self.source.port),
            "--tls-cert-file=/etc/tls/private/tls.crt".to_owned(),
            "--tls-private-key-file=/etc/tls/private/tls.key".to_owned(),
            "--from-ca-file=/etc/serving-certs-ca-bundle/service-ca.crt".to_owned(),
            "--from-token-file=/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned(),
            format!("--to=https://{TO}:{}/", self.ports.external),
            "--to-token-file=/etc/telemeter/token".to_owned(),
            format!("--listen=localhost:{}", self.client_port),
            "--anonymize-salt-file=/etc/telemeter/salt".to_owned(),
            "--anonymize-labels=".to_owned(),
        ];
        arguments.extend(self.selected.iter().map(|selected| format!("--match={}", selected.selector)));
        arguments.push("--limit-bytes=5242880".to_owned());
        self.root.start("telemeter-client", &format!("client-{id}"), &arguments)
    }

    pub(super) async fn works_as_it_is(&mut self) {
        let id = CLUSTERS[0];
        let client = self.client(id);
        let stored = self.arrived(id).await;
        self.holds_what_was_selected(&stored, id);

        let seen = self.source.seen().expect("it was scraped");
        let selectors: Vec<&String> = self.selected.iter().map(|selected| &selected.selector).collect();
        assert_eq!(seen.selectors.iter().collect::<Vec<_>>(), selectors, "what the source is asked for");
        assert_eq!(selectors.len(), 211);
        assert_eq!(seen.authorization, format!("Bearer {ACCOUNT_TOKEN}"));
        assert!(seen.certificate, "the source saw a client certificate");

        // These are the pages that the sidecars request, on 127.0.0.1 like kube-rbac-proxy and kubelet.
        let metrics = self.get("/metrics").await;
        for line in [format!("federate_samples {}", 2 * selectors.len()), "federate_requests_failed_total 0".to_owned()]
        {
            assert!(metrics.lines().any(|found| found == line), "no {line:?} in {metrics}");
        }
        assert_eq!(self.get("/healthz").await.trim(), "ok");
        self.reload().await;

        self.root.holds_it_in(&client);
        let peak = ProcessStatus::of(&client).peak_memory_kib();
        assert!(peak < MEMORY_LIMIT_KIB, "the client took {peak} KiB");
        // This is after the check of the memory, because a CPU profile needs much more memory than the limit.
        if self.root.has_mounts() {
            self.profiles_need_no_place_in_the_root().await;
        }
        let (status, after) = client.terminate().await;
        assert_eq!(status.code(), Some(0), "the client after SIGTERM");
        assert!(after < Duration::from_secs(5), "the client took {after:?} to end");
    }

    async fn profiles_need_no_place_in_the_root(&self) {
        let cpu = format!("http://{}/debug/pprof/profile?seconds=1", local(self.client_port));
        let heap = format!("http://{}/debug/pprof/heap", local(self.ports.internal));
        for url in [cpu, heap] {
            let profile = bytes(url).await;
            assert!(profile.is_ok(), "{profile:?}");
        }
    }

    pub(super) async fn trusts_a_new_bundle_after_a_reload(&mut self) {
        let (certificate, key) = self.second_ca.server(TO);
        self.root.mount("/etc/telemeter-server", &[("tls.crt", &certificate), ("tls.key", &key)]);
        let reload = http().post(format!("http://{}/-/reload", local(self.ports.internal))).send().await;
        assert_eq!(reload.expect("the server answers").status(), 200);

        // Only the bundle makes the client trust this server.
        let id = CLUSTERS[1];
        let client = self.client(id);
        until("a push that fails", PATIENCE, || async {
            let metrics = self.try_get("/metrics").await?;
            let failed = r#"metricsclient_http_requests_total{client="federate_to",status_code="error"}"#;
            let failed = |line: &str| line.starts_with(failed) && !line.ends_with(" 0");
            if metrics.lines().any(failed) { Ok(()) } else { Err("no failure".to_owned()) }
        })
        .await;
        assert_eq!(self.stored(id).await, Ok(String::new()));

        // The files change as in Kubernetes: new files in a new folder, and a link that now refers to it.
        self.root.mount(BUNDLE.0, &[(BUNDLE.1, &self.second_ca.pem())]);
        self.reload().await;

        let stored = self.arrived(id).await;
        self.holds_what_was_selected(&stored, id);
        client.terminate().await;
    }

    pub(super) async fn takes_a_bundle_that_is_mounted_as_one_file(&mut self) {
        let (folder, file) = BUNDLE;
        self.root.remove(folder);
        // The other authorities of a bundle must do no harm.
        let bundle = self.first_ca.pem() + &self.second_ca.pem();
        self.root.write(&format!("{folder}/{file}"), &bundle);
        let id = CLUSTERS[2];
        let client = self.client(id);
        self.arrived(id).await;
        client.terminate().await;
        for process in [&mut self.server, &mut self.authority] {
            process.assert_running();
        }
    }

    fn holds_what_was_selected(&self, stored: &str, id: &str) {
        let lines: Vec<&str> = stored.lines().filter(|line| !line.starts_with('#')).collect();
        for Selected { selector, series, .. } in &self.selected {
            // The added labels are sorted among the others.
            let (name, labels) = series.split_once('{').expect("a series has braces");
            let is_it = |line: &&&str| {
                let rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{'));
                rest.is_some_and(|rest| rest.contains(id) && labels.split(',').all(|label| rest.contains(label)))
            };
            assert_eq!(lines.iter().filter(is_it).count(), 1, "{selector}: {series}}} in\n{stored}");
        }
        assert_eq!(lines.len(), self.selected.len(), "more than what was selected:\n{stored}");
    }

    /// Waits until the server has the upload of the client `id`, and returns it in the text format.
    async fn arrived(&self, id: &str) -> String {
        until("an upload", PATIENCE, || async {
            let stored = self.stored(id).await?;
            if stored.is_empty() { Err("none yet".to_owned()) } else { Ok(stored) }
        })
        .await
    }

    async fn stored(&self, id: &str) -> Result<String, String> {
        let mut url = url::Url::parse(&format!("http://{}/federate", local(self.ports.internal))).expect("a URL");
        url.query_pairs_mut().append_pair("match[]", &format!(r#"{{_id="{id}"}}"#));
        String::from_utf8(bytes(url.into()).await?).map_err(|error| error.to_string())
    }

    async fn get(&self, path: &str) -> String {
        self.try_get(path).await.expect("the client answers")
    }

    async fn try_get(&self, path: &str) -> Result<String, String> {
        let bytes = bytes(format!("http://{}{path}", local(self.client_port))).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn reload(&self) {
        let answer = http().post(format!("http://{}/-/reload", local(self.client_port))).send().await;
        assert_eq!(answer.expect("the client answers").status(), 200, "/-/reload");
    }
}
