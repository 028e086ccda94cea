//! The formats of a scrape, and the choice among them by `Accept`.

use http::{HeaderMap, header};

/// A format for the exposition of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// `MetricFamily` messages, each after its length: the only format with native histograms.
    Protobuf,
}

impl MetricsFormat {
    /// The `Content-Type` of a response in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format that `Accept` prefers, the first of equal ones; text where it names no format of ours.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let mut best = (0.0, Self::Text);
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            if let Some((quality, format)) = accepted_format(range)
                && quality > best.0
            {
                best = (quality, format);
            }
        }
        best.1
    }
}

/// The format for one media range of an `Accept`, with its quality, which is 1 by default; `None` where it is not a
/// format of ours or malformed.
fn accepted_format(range: &str) -> Option<(f32, MetricsFormat)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    let (mut quality, mut version, mut proto, mut encoding) = (1.0, None, None, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?,
            "version" => version = Some(value),
            "proto" => proto = Some(value),
            "encoding" => encoding = Some(value),
            _ => {}
        }
    }
    let is = |name: &str| media.eq_ignore_ascii_case(name);
    let format = if is("application/vnd.google.protobuf") {
        let ours = proto == Some("io.prometheus.client.MetricFamily") && encoding == Some("delimited");
        ours.then_some(MetricsFormat::Protobuf)
    } else if is("application/openmetrics-text") {
        matches!(version, None | Some("1.0.0")).then_some(MetricsFormat::OpenMetrics)
    } else if is("text/plain") {
        matches!(version, None | Some("0.0.4")).then_some(MetricsFormat::Text)
    } else {
        (is("*/*") || is("text/*")).then_some(MetricsFormat::Text)
    };
    Some((quality, format?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scrapers_send() {
        let check = |accept: &'static str, expected: MetricsFormat| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(MetricsFormat::accepted(&headers), expected, "{accept}");
        };
        // These are the headers of Prometheus 2.42, without and with native histograms.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            MetricsFormat::OpenMetrics,
        );
        check(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            MetricsFormat::Protobuf,
        );
        check("text/plain;version=0.0.4;q=1,*/*;q=0.1", MetricsFormat::Text);
        check("*/*", MetricsFormat::Text);
        check("text/html, */*;q=0.1", MetricsFormat::Text);
        check("", MetricsFormat::Text);
        check("application/openmetrics-text; version=2.0.0", MetricsFormat::Text);
        check("application/openmetrics-text;q=0.1, text/plain;q=0.9", MetricsFormat::Text);
        check("application/openmetrics-text;q=0", MetricsFormat::Text);
        check("application/openmetrics-text;q=2", MetricsFormat::Text);
        check("application/vnd.google.protobuf", MetricsFormat::Text);
        check("application/vnd.google.protobuf;proto=other;encoding=delimited", MetricsFormat::Text);
        assert_eq!(MetricsFormat::accepted(&HeaderMap::new()), MetricsFormat::Text);
    }
}
