//! What a made-up cluster sends.

use telemeter_wire::{Arena, Label, MetricType, Points, Sample, SeriesSet};

/// A made-up cluster.
pub(crate) struct DemoCluster {
    pub(crate) number: u64,
    pub(crate) id: String,
    version: &'static str,
    provider: (&'static str, &'static str, &'static str),
    workers: u64,
}

impl DemoCluster {
    pub(crate) fn new(number: u64) -> Self {
        let part = |at, bits: u32| (noise(number, at, 1) * 2_f64.powi(bits.cast_signed())) as u64;
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            part(1, 32),
            part(2, 16),
            part(3, 12),
            part(4, 12),
            part(5, 48)
        );
        let versions = ["4.14.38", "4.15.22", "4.16.9", "4.16.11", "4.17.2"];
        let providers = [
            ("AWS", "us-east-1", "m6i.xlarge"),
            ("GCP", "europe-west1", "n2-standard-4"),
            ("Azure", "westeurope", "Standard_D8s_v3"),
            ("VSphere", "", ""),
        ];
        Self {
            number,
            id,
            version: versions[part(6, 8) as usize % 5],
            provider: providers[part(7, 8) as usize % 4],
            workers: 3 + part(8, 4),
        }
    }

    /// Its version and its provider.
    pub(crate) const fn labels(&self) -> [&'static str; 2] {
        [self.version, self.provider.0]
    }

    /// What it sends, the `push`th time, into `set`.
    pub(crate) fn series<'a>(&self, arena: &'a Arena, set: &mut SeriesSet<'a>, push: i64, ms: i64) {
        let mut series = |name: &str, labels: &[(&str, &str)], value: f64| {
            let text = |text: &str| -> &'a str { arena.text().alloc_str(text) };
            let mut all = vec![Label::new("__name__", text(name)), Label::new("_id", text(&self.id))];
            all.extend(labels.iter().map(|(name, value)| Label::new(text(name), text(value))));
            all.sort_unstable();
            let kind = if name.ends_with("_total") { MetricType::Counter } else { MetricType::Gauge };
            set.push(&all, kind, Points::Sample(Sample { value, timestamp_ms: Some(ms) }));
        };
        let time = push as u64;
        let wave = ((push as f64) / 4.0 + self.number as f64).sin();
        let wobble = |at| noise(self.number, at, time);
        let (provider, region, machine) = self.provider;
        let cores = (self.workers * 4) as f64;
        series(
            "cluster_version",
            &[("type", "current"), ("version", self.version), ("image", "quay.io/openshift-release-dev/ocp-release")],
            1.7e9,
        );
        series("cluster_version", &[("type", "initial"), ("version", "4.14.1")], 1.69e9);
        series("cluster_version_available_updates", &[("channel", "stable-4.17"), ("upstream", "<default>")], 3.0);
        series("cluster_infrastructure_provider", &[("type", provider), ("region", region)], 1.0);
        series("cluster_installer", &[("type", "openshift-install"), ("invoker", "user"), ("version", "4.14.1")], 1.0);
        series(
            "cluster:capacity_cpu_cores:sum",
            &[("label_node_role_kubernetes_io", "master"), ("label_beta_kubernetes_io_instance_type", machine)],
            12.0,
        );
        series("cluster:capacity_cpu_cores:sum", &[("label_beta_kubernetes_io_instance_type", machine)], cores);
        series(
            "cluster:capacity_memory_bytes:sum",
            &[("label_beta_kubernetes_io_instance_type", machine)],
            cores * 4.294_967_296e9,
        );
        series("cluster:cpu_usage_cores:sum", &[], cores * (0.45 + 0.15 * wave + 0.08 * wobble(20)));
        series(
            "cluster:memory_usage_bytes:sum",
            &[],
            (cores * 4.29e9 * (0.6 + 0.05 * wave + 0.02 * wobble(21))).round(),
        );
        series(
            "cluster:node_instance_type_count:sum",
            &[("label_beta_kubernetes_io_instance_type", machine)],
            self.workers as f64,
        );
        series("cluster:telemetry_selected_series:count", &[], 640.0 + (wobble(22) * 9.0).floor());
        series("count:up0", &[], (wobble(23) * 1.3).floor());
        series("count:up1", &[], 190.0 + self.workers as f64 * 6.0);
        for code in ["200", "201", "404", "409", "500"] {
            let rate = if code == "200" {
                90.0 + 30.0 * wave + 20.0 * wobble(30)
            } else {
                3.0 * wobble(code.len() as u64 + 31)
            };
            series("code:apiserver_request_total:rate:sum", &[("code", code), ("apiserver", "kube-apiserver")], rate);
        }
        for resource in ["pods", "secrets", "configmaps", "events"] {
            let objects =
                400.0 + 90.0 * resource.len() as f64 + time as f64 * wobble(40).floor() + (60.0 * wobble(41)).floor();
            series(
                "instance:etcd_object_counts:sum",
                &[("instance", "10.0.0.5:9979"), ("resource", resource)],
                objects,
            );
        }
        series("process_cpu_seconds_total", &[("job", "telemeter-client")], 2.41 * time as f64 + wobble(42));
        for name in OPERATORS {
            let is_up = !(self.number % 9 == 4 && name == "image-registry" && push > 18);
            series("cluster_operator_up", &[("name", name), ("version", self.version)], f64::from(u8::from(is_up)));
            for condition in ["Available", "Degraded", "Progressing"] {
                let is = (condition == "Available") == is_up && condition != "Progressing";
                let reason = if is_up { "AsExpected" } else { "StorageUnavailable" };
                series(
                    "cluster_operator_conditions",
                    &[("name", name), ("condition", condition), ("reason", reason)],
                    f64::from(u8::from(is)),
                );
            }
        }
        series(
            "alerts",
            &[
                ("alertname", "Watchdog"),
                ("alertstate", "firing"),
                ("severity", "none"),
                ("namespace", "openshift-monitoring"),
            ],
            1.0,
        );
        for at in 0..(wobble(50) * 3.0 + noise(self.number, 51, time / 7) * 12.0) as usize {
            let name = ["KubePodCrashLooping", "KubeJobFailed", "TargetDown", "CPUThrottlingHigh"][at % 4];
            let pod = format!("worker-{at}");
            let labels = [("alertname", name), ("alertstate", "firing"), ("severity", "warning"), ("pod", &pod)];
            series("alerts", &labels, 1.0);
        }
        if self.number % 9 == 4 && push > 18 {
            series(
                "alerts",
                &[
                    ("alertname", "ClusterOperatorDown"),
                    ("alertstate", "firing"),
                    ("severity", "critical"),
                    ("namespace", "openshift-cluster-version"),
                    ("name", "image-registry"),
                ],
                1.0,
            );
        }
        if provider == "VSphere" {
            series("ceph_cluster_total_bytes", &[], 6.597_069_766_656e12);
            series("ceph_cluster_total_used_raw_bytes", &[], (2.1e12 + 3e9 * time as f64 + 9e9 * wobble(60)).round());
            series("ceph_health_status", &[], 0.0);
            series("job:kube_pv:count", &[], 61.0 + (wobble(61) * 4.0).floor());
        }
        if self.number.is_multiple_of(5) {
            series(
                "cnv:vmi_status_running:count",
                &[("os", "linux"), ("workload", "server")],
                20.0 + (wave * 6.0).round(),
            );
        }
        let grown = if self.number.is_multiple_of(3) && push > 12 { 4 } else { 0 };
        for node in 0..self.workers + 3 + grown {
            let instance = format!("10.0.{}.{}:9100", 128 + self.number % 100, 10 + node);
            series(
                "up",
                &[("job", "node-exporter"), ("instance", &instance), ("namespace", "openshift-monitoring")],
                1.0,
            );
            series(
                "up",
                &[("job", "kubelet"), ("instance", &instance.replace("9100", "10250")), ("namespace", "kube-system")],
                1.0,
            );
        }
        // What the whitelist of the demonstration drops.
        series("workqueue_depth", &[("name", "deployment")], (wobble(70) * 5.0).floor());
        for pod in 0..self.workers {
            let pod = format!("router-{pod}");
            series("container_memory_rss", &[("namespace", "openshift-ingress"), ("pod", &pod)], 2.1e8 * wobble(71));
        }
        if self.number % 4 == 1 {
            for le in ["0.1", "0.5", "1", "5", "+Inf"] {
                series("apiserver_request_duration_seconds_bucket", &[("le", le), ("verb", "GET")], time as f64 * 91.0);
            }
        }
        if self.number % 7 == 2 {
            series("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")], time as f64 * 200.0);
        }
    }
}

const OPERATORS: [&str; 14] = [
    "authentication",
    "cloud-credential",
    "console",
    "dns",
    "etcd",
    "image-registry",
    "ingress",
    "insights",
    "kube-apiserver",
    "machine-config",
    "monitoring",
    "network",
    "node-tuning",
    "storage",
];

/// A number from 0 to 1 that looks like chance and is the same each time.
pub(crate) fn noise(a: u64, b: u64, c: u64) -> f64 {
    let mut x = (a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(c.wrapping_mul(0x1656_67b1_9e37_79f9));
    for _ in 0..2 {
        x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
    ((x ^ (x >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
}
