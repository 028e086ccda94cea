//! Tables of labels and values: which are sensitive, and why.

use super::{
    LABEL_NAMES, SensitiveLabel, SensitiveReason, ValueKind, label, label_name, recording_rule_name, value,
    value_in_cluster,
};

#[test]
fn labels_known_by_their_name() {
    // The list that reviewers receive.
    let listed = "instance node nodename hostname host_ip pod_ip address machine_id system_uuid boot_id provider_id serial \
         namespace pod container container_id uid replicaset deployment statefulset daemonset service service_account \
         secret configmap persistentvolumeclaim volumename workload owner_name created_by_name image image_id path \
         endpoint username";
    for name in listed.split_whitespace() {
        let reason = label_name(name);
        assert!(reason.is_some(), "{name}");
        assert_eq!(label_name(&format!("exported_{name}")), reason, "{name}");
        assert_eq!(label_name(&format!("exported_exported_{name}")), reason, "{name}");
    }
    assert_eq!(listed.split_whitespace().count(), LABEL_NAMES.len());
    assert!(LABEL_NAMES.is_sorted(), "a binary search looks them up");
    for name in ["", "exported_", "job", "code", "le", "Pod", "pods", "prefix_pod", "pod_exported", "__name__", "_id"] {
        assert_eq!(label_name(name), None, "{name}");
    }
    assert_eq!(label_name("exported_instance"), Some(SensitiveReason::Machine));
}

#[test]
fn values_known_by_their_form() {
    let check = |kind: Option<ValueKind>, values: &[&str]| {
        for text in values {
            assert_eq!(value(text), kind, "{text}");
        }
    };
    check(
        Some(ValueKind::Ipv4),
        &[
            "10.0.0.1",
            "10.0.0.1:9100",
            "192.168.0.0/16",
            "node-10.0.0.1",
            "from 10.0.0.1, port 3",
            "255.255.255.255",
            "ip-10-0-131-5",
            "ip-10-0-131-5.ec2.internal",
            "ip-10-0-131-5:9100",
            "a/10.1.2.3/b",
            "addr=1.2.3.4",
            "10.0.0.1-eth0",
            "10.0.0.1.",
        ],
    );
    check(
        Some(ValueKind::Ipv6),
        &["fe80::1", "fe80::1%eth0", "2001:db8::/32", "[2001:db8::1]:9100", "2001:db8:0:0:0:0:0:1", "::ffff:10.0.0.1"],
    );
    check(
        Some(ValueKind::Mac),
        &["02:00:5e:10:00:01", "02-00-5E-10-00-01", "0200.5e10.0001", "02:00:5e:ff:fe:10:00:01"],
    );
    check(
        Some(ValueKind::Email),
        &["ada@example.com", "Ada <ada.l+x@mail.example.org>", "user:ada,mail:ada@example.com"],
    );
    check(
        Some(ValueKind::HostName),
        &[
            "db.example.com",
            "db.example.com.",
            "DB.Example.COM",
            "node-1.lan",
            "api.cluster1.example.de",
            "quay.io",
            "quay.io/team/app",
            "db.example.com:5432",
            "node-1:9100",
            "prometheus.monitoring.svc",
            "etcd-0.local",
            "kubernetes.default.svc.cluster.local",
            "master_0.corp",
        ],
    );
    check(
        Some(ValueKind::Url),
        &["https://example.com/a", "http://10.0.0.1", "aws:///us-east-1a/i-0", "docker-pullable://quay.io/a", "s3://b"],
    );
    check(
        Some(ValueKind::Path),
        &["/var/lib/kubelet", "/data", "/api/v1/query", "C:\\Users\\ada", "\\\\host\\share", "~/.ssh", "./x", "../x"],
    );
    check(
        Some(ValueKind::Jwt),
        &[
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
            "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
        ],
    );
    check(
        Some(ValueKind::Hex),
        &[
            "i-0123456789abcdef0",
            "d41d8cd98f00b204e9800998ecf8427e",
            "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "x 0123456789abcdef y",
            "01234567890123456789012345678901",
        ],
    );
    check(
        Some(ValueKind::Base64),
        &["q83vEjRWeJCrze8SNFZ4kKvN7xI0Vng=", "hqJ8K2/xP0+mZ7Tq9dVbN4sLw1RcYfGe", "aB3-dE6_gH9jK2mN5pQ8sT1v"],
    );
    check(
        Some(ValueKind::Uuid),
        &[
            "123e4567-e89b-42d3-a456-426614174000",
            "pvc-123e4567-e89b-42d3-a456-426614174000",
            "123E4567-E89B-42D3-A456-426614174000",
        ],
    );
    check(
        None,
        &[
            "",
            "up",
            "firing",
            "openshift-monitoring/k8s",
            "prometheus-k8s-0",
            "m5.large",
            "r5.2xlarge",
            "Standard_D4s_v3",
            "4.13.0",
            "v1.2.3.4",
            "4.14.0-0.nightly-2023-01-02-123456",
            "414.92.202310210434-0",
            "5.14.0-284.11.1.el9_2.x86_64",
            "advanced-cluster-management.v2.5.0",
            "127.0.0.1",
            "127.0.0.1:9090",
            "0.0.0.0",
            "::",
            "::1",
            "[::1]:80",
            "::ffff:127.0.0.1",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "12:30:45",
            "2024-05-01T12:30:45Z",
            "localhost",
            "localhost:9090",
            "redis:7",
            "clusterversions.config.openshift.io",
            "apps.openshift.io/v1",
            "metrics.k8s.io",
            "ebs.csi.aws.com",
            "kubernetes.io/aws-ebs",
            "1700000000000000000",
            "deadbeef",
            "5d4f8c7b9d",
            "/",
            "/metrics",
            "//",
            "code:apiserver_request_total:rate:sum",
            "256.1.1.1",
            "1.2.3.4.5",
            "01.2.3.4",
            "etcdHighNumberOfFailedGRPCRequests",
            "KubePersistentVolumeFillingUpSoon2x",
            "OpenShift-4-13-Release-Candidate-2",
            "GET",
            "2xx",
            "+Inf",
            "0.99",
            "a@b",
            "@",
            "user@",
            "://",
            "1://a",
            "eyJ",
            "00000000-0000-0000-0000-000000000000",
            "123e4567-e89b-42d3-a456-4266141740000",
            "é",
            "\u{1f600}:99",
            "..",
            ".",
            "-.com",
            ":9100",
            "us-east-1a",
            "hq8Zk2LmPq0d",
            "ip-10-0-1",
            "C:\\",
            "a.b.c",
            "wiki.description",
        ],
    );
}

#[test]
fn a_clusters_own_id_is_not_sensitive() {
    let own = "123e4567-e89b-42d3-a456-426614174000";
    assert_eq!(value(own), Some(ValueKind::Uuid));
    assert_eq!(value_in_cluster(own, own), None);
    assert_eq!(value_in_cluster(&own.to_uppercase(), own), None);
    assert_eq!(value_in_cluster("123e4567-e89b-42d3-a456-426614174001", own), Some(ValueKind::Uuid));
}

#[test]
fn no_text_makes_it_panic() {
    let pieces = [
        "10.0.0.1",
        "1",
        ".",
        ":",
        "::",
        "/",
        "@",
        "-",
        "é",
        "\u{1f600}",
        "ip-",
        "eyJ",
        "=",
        "[",
        "]",
        "\\",
        "a",
        "f",
        "://",
        "com",
        " ",
        "%",
    ];
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            let _ = value(&text);
        }
    }
}

#[test]
fn a_name_has_precedence_over_a_value_and_an_empty_value_is_not_sensitive() {
    assert_eq!(label("instance", "10.0.0.1", ""), Some(SensitiveLabel::Name(SensitiveReason::Machine)));
    assert_eq!(label("target", "10.0.0.1", ""), Some(SensitiveLabel::Value(ValueKind::Ipv4)));
    assert_eq!(label("instance", "", ""), None);
    assert_eq!(label("__name__", "quay.io", ""), None);
    assert_eq!(
        label("target", "10.0.0.1", "").map(|finding| finding.to_string()).as_deref(),
        Some("looks like an IPv4 address")
    );
}

#[test]
fn recording_rules_have_three_parts_or_more() {
    for name in ["up", "", "job:up:sum", "code:apiserver_request_total:rate:sum", "cluster:usage:x"] {
        assert_eq!(recording_rule_name(name), None, "{name}");
    }
    for name in ["count:up0", ":up:sum", "a::b", "a:b:", ":", "a:"] {
        assert!(recording_rule_name(name).is_some(), "{name}");
    }
}
