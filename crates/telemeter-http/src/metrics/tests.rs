use super::*;

fn registry() -> Registry {
    let mut registry = Registry::default();
    let duration = duration_histogram();
    duration.observe(0.3);
    registry.register("took_seconds", "How long\nit took", duration);
    let jobs = Counter::<u64>::default();
    jobs.inc();
    registry.register("jobs", "Jobs", jobs);
    registry
}

fn text(format: MetricsFormat) -> String {
    String::from_utf8(Exposition::new(registry()).encode(format).unwrap()).unwrap()
}

#[test]
fn all_that_a_process_exports() {
    let text = text(MetricsFormat::Text);
    for (name, kind) in [
        ("process_cpu_seconds_total", "counter"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
        ("process_virtual_memory_max_bytes", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_network_receive_bytes_total", "counter"),
        ("process_network_transmit_bytes_total", "counter"),
        ("promhttp_metric_handler_requests_total", "counter"),
        ("promhttp_metric_handler_requests_in_flight", "gauge"),
        ("took_seconds", "histogram"),
        ("jobs_total", "counter"),
    ] {
        assert!(text.contains(&format!("\n# TYPE {name} {kind}\n")), "{name} is not in\n{text}");
    }
    assert!(text.contains("promhttp_metric_handler_requests_total{code=\"200\"} 0\n"), "{text}");
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_start_time_seconds") > 1.7e9);
}

#[test]
fn text_is_escaped_and_has_no_end() {
    let text = text(MetricsFormat::Text);
    assert!(text.contains("# HELP took_seconds How long\\nit took.\n# TYPE took_seconds histogram\n"), "{text}");
    assert!(text.contains("took_seconds_bucket{le=\"1\"} 1\n"), "{text}");
    assert!(!text.contains("# EOF"));
}

#[test]
fn open_metrics_ends_as_it_must() {
    let text = text(MetricsFormat::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE jobs counter\njobs_total 1\n"), "{text}");
}

#[test]
fn protobuf_carries_the_native_histogram() {
    let body = Exposition::new(registry()).encode(MetricsFormat::Protobuf).unwrap();
    assert!(body.windows(10).any(|bytes| bytes == b"jobs_total"));

    let families = prometheus_protobuf::encode(&registry()).unwrap();
    let family = families.iter().find(|family| family.name == "took_seconds").unwrap();
    let histogram = format!("{:?}", family.metric[0].histogram);
    // A factor of 1.1 is schema 3; the classic buckets are exposed, too.
    assert!(histogram.contains("schema: 3"), "{histogram}");
    assert!(histogram.contains("upper_bound: 0.005"), "{histogram}");
}

#[test]
fn methods_are_a_closed_set() {
    assert_eq!(method_label(&http::Method::POST), "post");
    assert_eq!(method_label(&http::Method::from_bytes(b"BREW").unwrap()), "unknown");
    assert_eq!(method_label(&http::Method::from_bytes(b"get").unwrap()), "unknown");
}
