//! A row of the table and the cases that hold its cells: what is sent, and what the store gets of it.

use prost::Message as _;

use crate::{
    messages::{Gauge, LabelPair, Metric, MetricFamily},
    support::{
        CLUSTER, CallerAnswer, TestServer,
        body::{self, DELIMITED, TEXT, TimeSeries, WriteRequest},
        body_v2::Request,
        stored,
    },
};

/// The columns of the table: what comes in, and what goes out.
pub(crate) const UPLOAD_TO_1: usize = 0;
pub(crate) const UPLOAD_TO_2: usize = 1;
pub(crate) const ONE_TO_1: usize = 2;
pub(crate) const ONE_TO_2: usize = 3;
pub(crate) const TWO_TO_1: usize = 4;
pub(crate) const TWO_TO_2: usize = 5;
pub(crate) const UPLOAD: &[usize] = &[UPLOAD_TO_1, UPLOAD_TO_2];
pub(crate) const ONE: &[usize] = &[ONE_TO_1, ONE_TO_2];
pub(crate) const TWO: &[usize] = &[TWO_TO_1, TWO_TO_2];

/// A row of the table, and the cases that hold it.
pub(crate) struct Row {
    pub(crate) part: &'static str,
    pub(crate) cells: [&'static str; 6],
    pub(crate) cases: Vec<CellCase>,
}

/// One request for some columns.
pub(crate) struct CellCase {
    pub(crate) columns: &'static [usize],
    sent: Sent,
    expected: Result<Vec<String>, &'static str>,
    counted: &'static [(&'static str, f64)],
    pub(crate) keeps_metadata: bool,
    as_it_came: bool,
    keeps_unknown: Option<bool>,
}

/// A field that nobody knows: number 99, the varint 7.
pub(crate) const UNKNOWN: [u8; 3] = [0x98, 0x06, 7];

/// The body of a request.
pub(crate) enum Sent {
    Text(String),
    Delimited(Vec<u8>),
    /// A message of 1.0; of it, a block.
    One(Vec<u8>),
    Block(Vec<u8>),
    /// A message of 2.0.
    Two(Vec<u8>),
}

/// A case in which the store gets these lines, as `stored` writes them.
pub(crate) fn case(columns: &'static [usize], sent: impl Into<Sent>, expected: &[&str]) -> CellCase {
    let expected = Ok(expected.iter().map(|&line| line.to_owned()).collect());
    CellCase {
        columns,
        sent: sent.into(),
        expected,
        counted: &[],
        keeps_metadata: false,
        as_it_came: false,
        keeps_unknown: None,
    }
}

/// A case that is refused with 400, and with this text.
pub(crate) fn refused(columns: &'static [usize], sent: impl Into<Sent>, reason: &'static str) -> CellCase {
    CellCase { expected: Err(reason), ..case(columns, sent, &[]) }
}

/// Cases of all columns, in which the store gets these lines.
pub(crate) fn everywhere(series: &[TimeSeries], expected: &[&str]) -> Vec<CellCase> {
    let families = series.iter().map(family).collect::<Vec<_>>();
    let mut cases = vec![case(UPLOAD, text(series), expected), case(UPLOAD, &families[..], expected)];
    cases.extend(remote(series, expected));
    cases
}

/// Cases of all columns of remote write, in which the store gets these lines.
pub(crate) fn remote(series: &[TimeSeries], expected: &[&str]) -> Vec<CellCase> {
    vec![case(ONE, series, expected), case(TWO, request(series), expected)]
}

impl CellCase {
    /// What the counter has to count, of one request.
    pub(crate) fn counts(self, counted: &'static [(&'static str, f64)]) -> Self {
        Self { counted, ..self }
    }

    /// With `--forward-metadata`.
    pub(crate) fn keeping_metadata(self) -> Self {
        Self { keeps_metadata: true, ..self }
    }

    /// The store gets the very bytes that were sent.
    pub(crate) fn unchanged(self) -> Self {
        Self { as_it_came: true, ..self }
    }

    /// The store gets [`UNKNOWN`], or does not get it.
    pub(crate) fn keeping_unknown(self, keeps: bool) -> Self {
        Self { keeps_unknown: Some(keeps), ..self }
    }

    /// Whether it is sent as text.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.sent, Sent::Text(_))
    }

    /// Sends it, and checks what the store gets.
    pub(crate) async fn check(&self, server: &TestServer, context: &str) {
        let mut before = Vec::new();
        for (counter, _) in self.counted {
            before.push(server.metric(counter).await);
        }
        let answer = self.sent.send(server).await;
        let asked = server.store.take();
        match &self.expected {
            Ok(lines) => {
                assert!([200, 204].contains(&answer.status), "{context}: {answer:?}");
                assert_eq!(stored::lines(&asked), *lines, "{context}");
            }
            Err(reason) => {
                assert_eq!(answer.status, 400, "{context}: {answer:?}");
                assert!(answer.body.contains(reason), "{context}: {answer:?}");
                assert!(asked.is_empty(), "{context}");
            }
        }
        if let Sent::Block(block) = &self.sent {
            assert_eq!(asked[0].body == *block, self.as_it_came, "{context}: as it came");
        }
        if let Some(keeps) = self.keeps_unknown {
            let plain = body::plain_block(&asked[0].body);
            assert_eq!(plain.windows(UNKNOWN.len()).any(|bytes| bytes == UNKNOWN), keeps, "{context}: unknown field");
        }
        for ((counter, count), before) in self.counted.iter().zip(before) {
            let counted = server.metric(counter).await - before;
            assert!((counted - count).abs() < 0.1, "{context}: {counter} counts {counted}");
        }
    }
}

impl Sent {
    async fn send(&self, server: &TestServer) -> CallerAnswer {
        let request = match self {
            Self::Text(_) | Self::Delimited(_) => {
                let token = server.token(CLUSTER).await;
                let (format, body) = match self {
                    Self::Text(text) => (TEXT, text.clone().into_bytes()),
                    Self::Delimited(body) => (DELIMITED, body.clone()),
                    Self::One(_) | Self::Block(_) | Self::Two(_) => unreachable!("no upload"),
                };
                server.upload_of(&token, format, body)
            }
            Self::One(message) => server.receive_of(CLUSTER, body::block(message)),
            Self::Block(block) => server.receive_of(CLUSTER, block.clone()),
            Self::Two(message) => server.receive_v2_of(CLUSTER, body::block(message)),
        };
        server.send(request).await
    }
}

impl From<String> for Sent {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[MetricFamily]> for Sent {
    fn from(families: &[MetricFamily]) -> Self {
        Self::Delimited(families.iter().flat_map(MetricFamily::encode_length_delimited_to_vec).collect())
    }
}

impl From<&[TimeSeries]> for Sent {
    fn from(series: &[TimeSeries]) -> Self {
        Self::from(WriteRequest { timeseries: series.to_vec(), metadata: Vec::new() })
    }
}

impl From<WriteRequest> for Sent {
    fn from(request: WriteRequest) -> Self {
        Self::One(request.encode_to_vec())
    }
}

impl From<Request> for Sent {
    fn from(request: Request) -> Self {
        Self::Two(request.encode_to_vec())
    }
}

/// These series as 2.0.
pub(crate) fn request(series: &[TimeSeries]) -> Request {
    let mut request = Request::new();
    series.iter().for_each(|series| request.push(series));
    request
}

/// A series, as [`body`] writes it, that was changed.
pub(crate) fn series(labels: &str, change: impl FnOnce(&mut TimeSeries)) -> TimeSeries {
    let mut series = body::time_series(labels);
    change(&mut series);
    series
}

/// A metric of the delimited format with these labels, and with the time of the clock.
pub(crate) fn metric(labels: &str) -> Metric {
    let pair = |label: &body::Label| LabelPair { name: Some(label.name.clone()), value: Some(label.value.clone()) };
    let label = body::time_series(labels).labels.iter().map(pair).collect();
    Metric { label, timestamp_ms: Some(crate::support::NOW_MS), ..Metric::default() }
}

/// The series as a family of the delimited format without a type.
fn family(series: &TimeSeries) -> MetricFamily {
    let name = series.labels.iter().find(|label| label.name == "__name__").map(|label| label.value.clone());
    let pair = |label: &body::Label| LabelPair { name: Some(label.name.clone()), value: Some(label.value.clone()) };
    let label: Vec<_> = series.labels.iter().filter(|label| label.name != "__name__").map(pair).collect();
    let metric = series.samples.iter().map(|sample| Metric {
        label: label.clone(),
        untyped: Some(Gauge { value: Some(sample.value) }),
        timestamp_ms: Some(sample.timestamp),
        ..Metric::default()
    });
    MetricFamily { name, r#type: Some(3), metric: metric.collect(), ..MetricFamily::default() }
}

/// The series in the text format, with each name in quotes.
fn text(series: &[TimeSeries]) -> String {
    let mut text = String::new();
    for series in series {
        let label = |label: &body::Label| match &*label.name {
            "__name__" => format!("{:?}", label.value),
            name => format!("{name:?}={:?}", label.value),
        };
        let (names, others): (Vec<_>, Vec<_>) = series.labels.iter().partition(|label| label.name == "__name__");
        let labels: Vec<_> = names.into_iter().chain(others).map(label).collect();
        let line = |sample: &body::Sample| format!("{{{}}} {} {}\n", labels.join(","), sample.value, sample.timestamp);
        text.extend(series.samples.iter().map(line));
    }
    text
}
