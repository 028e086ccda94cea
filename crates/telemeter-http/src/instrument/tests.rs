use axum::Router;
use axum::routing::{get, post};
use tower::ServiceExt as _;

use super::*;

fn app(registry: &mut Registry) -> Router {
    let metrics = HttpMetrics::register(registry);
    Router::new().route("/upload", post(|body: String| async move { body }).layer(metrics.layer("upload"))).route(
        "/panic",
        get(|| async {
            if true {
                panic!("at the disco");
            }
        })
        .layer(metrics.layer("panic")),
    )
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

async fn send(app: &Router, method: &str, path: &str, body: &'static str) -> Response {
    let request = http::Request::builder().method(method).uri(path).header("content-length", body.len());
    app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn requests_are_counted_by_code_handler_and_method() {
    let mut registry = Registry::default();
    let app = app(&mut registry);
    for _ in 0..2 {
        assert_eq!(send(&app, "POST", "/upload", "x").await.status(), 200);
    }
    assert_eq!(send(&app, "GET", "/upload", "").await.status(), 405);
    assert_eq!(send(&app, "BREW", "/upload", "").await.status(), 405);
    let text = text(&registry);
    for line in [
        r#"http_requests_total{code="200",handler="upload",method="post"} 2"#,
        r#"http_requests_total{code="405",handler="upload",method="get"} 1"#,
        r#"http_requests_total{code="405",handler="upload",method="unknown"} 1"#,
        r#"http_request_duration_seconds_count{code="200",handler="upload",method="post"} 2"#,
        r#"http_request_size_bytes_count{code="200",handler="upload",method="post"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_size_has_the_line_the_headers_and_the_body() {
    let mut registry = Registry::default();
    let app = app(&mut registry);
    send(&app, "POST", "/upload", "12345").await;
    // The sum is POST + /upload + HTTP/1.1 + content-length + 5 + the body.
    let sum = 4 + 7 + 8 + 14 + 1 + 5;
    let line = format!(r#"http_request_size_bytes_sum{{code="200",handler="upload",method="post"}} {sum}.0"#);
    let text = text(&registry);
    assert!(text.contains(&line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn a_panic_is_a_counted_500_with_an_id() {
    let mut registry = Registry::default();
    let response = send(&app(&mut registry), "GET", "/panic", "").await;
    assert_eq!(response.status(), 500);
    assert!(response.headers().contains_key("x-request-id"));
    assert!(text(&registry).contains(r#"http_requests_total{code="500",handler="panic",method="get"} 1"#));
}

#[tokio::test]
async fn the_handler_sees_the_id_that_the_caller_gets() {
    let metrics = HttpMetrics::register(&mut Registry::default());
    let echo = get(|axum::Extension(id): axum::Extension<RequestId>| async move { [("x-seen", id.to_string())] });
    let app = Router::new().route("/", echo.layer(metrics.layer("echo")));
    let response = send(&app, "GET", "/", "").await;
    assert_eq!(response.headers()["x-seen"], response.headers()["x-request-id"]);
}

#[derive(Clone, Default)]
struct CapturedLines(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for CapturedLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_access_log_names_the_request_and_holds_no_query() {
    let lines = CapturedLines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let response = send(&app(&mut Registry::default()), "POST", "/upload?token=hunter2", "x").await;
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap();
    for part in [&format!("request_id=\"{id}\""), "handler=\"upload\"", "code=200"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn the_callers_trace_goes_through() {
    use tracing_subscriber::layer::SubscriberExt as _;
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "test");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let metrics = HttpMetrics::register(&mut Registry::default());
    let handler = get(|| async {
        let mut headers = HeaderMap::new();
        propagate::inject(&mut headers);
        headers
    });
    let app = Router::new().route("/", handler.layer(metrics.layer("trace")));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let request = http::Request::builder().uri("/").header("traceparent", &parent).body(Body::empty()).unwrap();
    let ours = app.oneshot(request).await.unwrap().headers()["traceparent"].to_str().unwrap().to_owned();
    assert!(ours.starts_with(&format!("00-{trace}-")), "{ours}");
    assert_ne!(ours, parent, "a span of our own stands between");
}

/// A layer that records the target of each span.
#[derive(Clone, Default)]
struct Targets(Arc<parking_lot::Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Targets {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        self.0.lock().push(attributes.metadata().target().to_owned());
    }
}

#[tokio::test]
async fn only_a_request_that_stands_in_a_trace_has_a_span_that_is_always_traced() {
    use tracing_subscriber::layer::SubscriberExt as _;
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    let targets = Targets::default();
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(targets.clone()));
    let app = app(&mut Registry::default());
    for parent in ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "", "x", "00-0-0-01"] {
        let request = http::Request::post("/upload").header("traceparent", parent).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    send(&app, "POST", "/upload", "x").await;
    let mut expected = vec!["telemeter_http::instrument"];
    expected.extend([UNTRACED; 4]);
    assert_eq!(*targets.0.lock(), expected);
}
