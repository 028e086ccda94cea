//! The rows of the table about samples, exemplars, metadata, labels and fields.

use prost::Message as _;

use crate::{
    case::{
        CellCase, ONE, ONE_TO_1, ONE_TO_2, Row, Sent, TWO, TWO_TO_1, TWO_TO_2, UNKNOWN, UPLOAD, case, everywhere,
        refused, remote, request, series,
    },
    support::{
        NOW_MS,
        body::{self, Exemplar, Label, TimeSeries, WriteRequest},
        body_v2::{self, Request},
    },
};

const EXEMPLARS_DROPPED: &str = "telemeter_forward_exemplars_dropped_total";
const STARTS_DROPPED: &str = "telemeter_receive_start_timestamps_dropped_total";
const METADATA_REQUESTS: &str = "telemeter_receive_metadata_requests_total";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = vec![unchanged(), values(), times(), several(), unsorted(), both_kinds()];
    rows.extend(exemplars());
    rows.push(start_timestamps());
    rows.extend(metadata());
    rows.extend(labels());
    rows.push(unknown_fields());
    rows
}

fn unchanged() -> Row {
    let all: Vec<_> = (0..40).map(|at| series(&format!("up,_id=c1,pod=long-name-of-a-pod-{at} 1@0"), |_| ())).collect();
    let lines: Vec<_> = body::shown(&all);
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    // In two halves that know nothing of each other: no encoder would write it so.
    let half = |series: &[TimeSeries]| {
        body::block(&WriteRequest { timeseries: series.to_vec(), metadata: Vec::new() }.encode_to_vec())
    };
    let (halves, mut block) = ([half(&all[..20]), half(&all[20..])], Vec::new());
    telemeter_wire::snappy::join_blocks(halves.iter().map(Vec::as_slice), &mut block).unwrap();
    let mut unused = request(&all);
    unused.symbol("a secret that no series has");
    let mut cases = everywhere(&all, &lines);
    cases.push(case(&[ONE_TO_1], Sent::Block(block.clone()), &lines).unchanged());
    cases.push(case(&[ONE_TO_2], Sent::Block(block), &lines));
    cases.push(case(&[TWO_TO_2], unused, &lines));
    Row {
        part: "a request that no rule changes",
        cells: [
            "written anew",
            "written anew",
            "goes on as it came, compressed",
            "written anew",
            "written anew",
            "written anew: no symbol goes on that nothing refers to",
        ],
        cases,
    }
}

/// The value of the series.
fn value(bits: u64) -> TimeSeries {
    series("up,_id=c1 1@0", |series| series.samples[0].value = f64::from_bits(bits))
}

fn values() -> Row {
    let mut cases = Vec::new();
    for (number, shown) in [(-2.5, "-2.5"), (f64::INFINITY, "inf"), (5e-324, "5e-324"), (1.7e308, "1.7e308")] {
        let line = format!("up,_id=c1 {shown}@0");
        cases.extend(everywhere(&[value(number.to_bits())], &[&line]));
    }
    // The first is the staleness marker. The text format has one NaN.
    for bits in [0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0001, 0xfff8_0000_0000_1234, 0x7ff0_0000_0000_0001] {
        let line = format!("up,_id=c1 NaN:{bits:016x}@0");
        cases.extend(everywhere(&[value(bits)], &[&line]).into_iter().filter(|case| !case.is_text()));
    }
    cases.push(case(UPLOAD, format!("up{{_id=\"c1\"}} NaN {NOW_MS}\n"), &["up,_id=c1 NaN:7ff8000000000000@0"]));
    Row { part: "float samples, staleness markers, the bits of any NaN", cells: ["kept"; 6], cases }
}

fn times() -> Row {
    let sent = [series("up,_id=c1 1@-60000", |_| ()), series("up,_id=c1,job=a 2@5000", |_| ())];
    let mut cases = everywhere(&sent, &["up,_id=c1 1@0", "up,_id=c1,job=a 2@0"]);
    cases.retain(|case| case.columns == UPLOAD);
    cases.extend(remote(&sent, &["up,_id=c1 1@-60000", "up,_id=c1,job=a 2@5000"]));
    cases.push(refused(UPLOAD, "up{_id=\"c1\"} 1\n".to_owned(), "a sample has no timestamp"));
    let that = "that of the server, once it was checked";
    Row { part: "the time of a sample", cells: [that, that, "kept", "kept", "kept", "kept"], cases }
}

fn several() -> Row {
    let one = [series("up,_id=c1 1@-5 2@0", |_| ())];
    let twice = [series("up,_id=c1 1@-5", |_| ()), series("up,_id=c1 2@0", |_| ())];
    let mut cases = Vec::new();
    for sent in [&one[..], &twice] {
        cases.extend(everywhere(sent, &["up,_id=c1 2@0"]).into_iter().filter(|case| case.columns == UPLOAD));
    }
    cases.extend(remote(&one, &["up,_id=c1 1@-5 2@0"]));
    cases.extend(remote(&twice, &["up,_id=c1 1@-5", "up,_id=c1 2@0"]));
    Row {
        part: "several samples of one series",
        cells: ["the newest", "the newest", "kept", "kept", "kept", "kept"],
        cases,
    }
}

fn unsorted() -> Row {
    let sent = [series("up,_id=c1 2@5 1@0", |_| ())];
    let histograms = [series("up,_id=c1", |series| {
        series.histograms = [NOW_MS + 5, NOW_MS].map(|timestamp| body::Histogram { timestamp, ..histogram() }).to_vec();
    })];
    let mut cases = remote(&sent, &["up,_id=c1 1@0 2@5"]);
    cases.extend(remote(&histograms, &["up,_id=c1 h(3 sum=2.5 schema=3)@0 h(3 sum=2.5 schema=3)@5"]));
    let text = format!("up{{_id=\"c1\"}} 2 {}\nup{{_id=\"c1\"}} 1 {NOW_MS}\n", NOW_MS + 5);
    cases.push(refused(UPLOAD, text, "not sorted by time"));
    Row {
        part: "samples of one series that are not in the order of their times",
        cells: ["400", "400", "sorted", "sorted", "sorted", "sorted"],
        cases,
    }
}

fn histogram() -> body::Histogram {
    body::Histogram { count: 3, sum: 2.5, schema: 3, timestamp: NOW_MS, ..body::Histogram::default() }
}

fn both_kinds() -> Row {
    let sent = || {
        series("a,_id=c1 1@0", |series| {
            series.histograms = vec![histogram()];
            series.exemplars = vec![exemplar(NOW_MS)];
        })
    };
    let one_series = ["a,_id=c1 1@0 h(3 sum=2.5 schema=3)@0 #0.5@0{trace_id=x}"];
    let two_series = ["a,_id=c1 1@0 #0.5@0{trace_id=x}", "a,_id=c1 h(3 sum=2.5 schema=3)@0"];
    let mut cases = crate::histograms::with_a_sample();
    cases.push(case(&[ONE_TO_1], &[sent()][..], &one_series));
    cases.push(case(&[TWO_TO_1], request(&[sent()]), &one_series));
    cases.push(case(&[ONE_TO_2], &[sent()][..], &two_series));
    cases.push(case(&[TWO_TO_2], request(&[sent()]), &two_series));
    let two = "two series; exemplars with the samples";
    Row {
        part: "samples and histograms in one series",
        cells: ["the newest", "the newest", "kept", two, "kept", two],
        cases,
    }
}

fn exemplar(timestamp: i64) -> Exemplar {
    Exemplar { labels: vec![Label { name: "trace_id".to_owned(), value: "x".to_owned() }], value: 0.5, timestamp }
}

fn exemplars() -> [Row; 3] {
    let of = |timestamp| series("a,_id=c1 1@0", |series| series.exemplars = vec![exemplar(timestamp)]);
    let alone = || series("a,_id=c1", |series| series.exemplars = vec![exemplar(NOW_MS)]);
    let plain = || series("a,_id=c1 1@0", |_| ());
    let mut kept = crate::histograms::with_exemplars();
    kept.extend(remote(&[of(NOW_MS)], &["a,_id=c1 1@0 #0.5@0{trace_id=x}"]));
    let dropped: &[(&str, f64)] = &[(EXEMPLARS_DROPPED, 1.0)];
    let both = |sent: &[TimeSeries], of_1_0: &[&str], of_2_0: &[&str], counts| {
        vec![
            case(&[ONE_TO_1], sent, of_1_0),
            case(&[ONE_TO_2], sent, of_2_0).counts(counts),
            case(&[TWO_TO_1], request(sent), of_1_0),
            case(&[TWO_TO_2], request(sent), of_2_0).counts(counts),
        ]
    };
    let untimed = both(&[of(0)], &["a,_id=c1 1@0 #0.5@{trace_id=x}"], &["a,_id=c1 1@0"], dropped);
    let moved = "a,_id=c1 1@0 #0.5@0{trace_id=x}";
    let exemplar = "a,_id=c1 #0.5@0{trace_id=x}";
    let mut apart = both(&[plain(), alone()], &["a,_id=c1 1@0", exemplar], &[moved], &[(EXEMPLARS_DROPPED, 0.0)]);
    apart.extend(both(&[alone()], &[exemplar], &[], dropped));
    let go = "go to a series with the same labels in the same request; without one left out, counted ¹";
    [
        Row { part: "exemplars", cells: ["left out", "left out", "kept", "kept", "kept", "kept"], cases: kept },
        Row {
            part: "an exemplar without a timestamp",
            cells: ["–", "–", "kept", "left out, counted ¹", "kept", "left out, counted ¹"],
            cases: untimed,
        },
        Row {
            part: "exemplars in a series of their own, as Prometheus sends them",
            cells: ["–", "–", "kept", go, "kept", "as in 1.0 in, 2.0 out"],
            cases: apart,
        },
    ]
}

fn start_timestamps() -> Row {
    let sent = || {
        let mut request = request(&[
            series("a,_id=c1 1@0", |_| ()),
            series("b,_id=c1 1@0 2@5", |_| ()),
            series("c,_id=c1", |series| series.histograms = vec![histogram()]),
        ]);
        request.timeseries[0].samples[0].start_timestamp = NOW_MS - 5000;
        request.timeseries[1].created_timestamp = NOW_MS - 6000;
        request.timeseries[1].samples[0].start_timestamp = NOW_MS - 7000;
        request.timeseries[2].histograms[0].start_timestamp = NOW_MS - 8000;
        request
    };
    let mut cases = crate::histograms::with_start_timestamps();
    let without = ["a,_id=c1 1@0", "b,_id=c1 1@0 2@5", "c,_id=c1 h(3 sum=2.5 schema=3)@0"];
    cases.push(case(&[TWO_TO_1], sent(), &without).counts(&[(STARTS_DROPPED, 4.0)]));
    let with = ["a,_id=c1 1@0^-5000", "b,_id=c1 1@0^-7000 2@5^-6000", "c,_id=c1 h(3 sum=2.5 schema=3)@0^-8000"];
    cases.push(case(&[TWO_TO_2], sent(), &with).counts(&[(STARTS_DROPPED, 0.0)]));
    Row {
        part: "start timestamps (`start_timestamp`, and `created_timestamp` of earlier revisions)",
        cells: [
            "left out",
            "left out",
            "–",
            "–",
            "left out, counted ²",
            "kept; `created_timestamp` becomes the `start_timestamp` of each sample that has none",
        ],
        cases,
    }
}

fn metadata() -> [Row; 3] {
    let of =
        ["up,_id=c1 1@0", "t_seconds_bucket,_id=c1 1@0", "t_seconds_sum,_id=c1 2@0"].map(|text| series(text, |_| ()));
    let entry = |kind, family: &str, help: &str, unit: &str| body::Metadata {
        kind,
        family: family.to_owned(),
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    let entries = || vec![entry(2, "up", "Up.", ""), entry(3, "t_seconds", "Took.", "seconds")];
    let one = |series: &[TimeSeries]| WriteRequest { timeseries: series.to_vec(), metadata: entries() };
    let two = |series: &[TimeSeries]| {
        let mut request = request(series);
        let [up, took, seconds] = ["Up.", "Took.", "seconds"].map(|text| request.symbol(text));
        let metadata = [(2, up, 0), (3, took, seconds), (3, took, seconds)];
        for (series, (kind, help_ref, unit_ref)) in request.timeseries.iter_mut().zip(metadata) {
            series.metadata = Some(body_v2::Metadata { kind, help_ref, unit_ref });
        }
        request
    };
    let plain = ["up,_id=c1 1@0", "t_seconds_bucket,_id=c1 1@0", "t_seconds_sum,_id=c1 2@0"];
    let with_entries =
        [&plain[..], &["metadata up type=2,help=Up.,unit=", "metadata t_seconds type=3,help=Took.,unit=seconds"]];
    let with_entries = with_entries.concat();
    let at_series = [
        "up,_id=c1 1@0 type=2,help=Up.,unit=",
        "t_seconds_bucket,_id=c1 1@0 type=3,help=Took.,unit=seconds",
        "t_seconds_sum,_id=c1 2@0 type=3,help=Took.,unit=seconds",
    ];
    let upload = || {
        let text = format!("# HELP up Up.\n# TYPE up gauge\nup{{_id=\"c1\"}} 1 {NOW_MS}\n");
        [case(UPLOAD, text, &["up,_id=c1 1@0"]), crate::histograms::with_help()]
    };
    let counted: &[(&str, f64)] = &[(METADATA_REQUESTS, 1.0)];
    let mut without: Vec<CellCase> = upload().into();
    without.push(case(ONE, one(&of), &plain).counts(counted));
    without.push(case(ONE, one(&[]), &[]).counts(counted));
    without.push(case(TWO, two(&of), &plain).counts(counted));
    let mut with: Vec<CellCase> = upload().into();
    with.push(case(&[ONE_TO_1], one(&of), &with_entries));
    with.push(case(&[ONE_TO_1], one(&[]), &with_entries[3..]));
    with.push(case(&[ONE_TO_2], one(&of), &at_series));
    with.push(case(&[ONE_TO_2], one(&[]), &[]));
    with.push(case(&[TWO_TO_1], two(&of), &with_entries));
    with.push(case(&[TWO_TO_2], two(&of), &at_series));
    let alone = || two(&[series("up,_id=c1", |_| ())]);
    let left_out = "left out, counted ³";
    [
        Row {
            part: "metadata, without `--forward-metadata`",
            cells: ["left out", "left out", left_out, left_out, left_out, left_out],
            cases: without,
        },
        Row {
            part: "metadata, with it ([below](#metadata))",
            cells: [
                "left out",
                "left out",
                "kept",
                "goes to the series of its family in the same request; without any left out",
                "kept: an entry for each family",
                "kept",
            ],
            cases: with.into_iter().map(CellCase::keeping_metadata).collect(),
        },
        Row {
            part: "a series with metadata alone",
            cells: ["–", "–", "–", "–", "left out", "left out"],
            cases: vec![case(TWO, alone(), &[]), case(TWO, alone(), &[]).keeping_metadata()],
        },
    ]
}

fn labels() -> [Row; 3] {
    let sorted = everywhere(&[series("a,_id=c1,y=y,z=z 1@0", |_| ())], &["a,_id=c1,y=y,z=z 1@0"]);
    let unsorted = everywhere(&[series("z=z,a,y=y,_id=c1 1@0", |_| ())], &["a,_id=c1,y=y,z=z 1@0"]);
    let empty = everywhere(&[series("a,_id=c1,empty=,z=z 1@0", |_| ())], &["a,_id=c1,z=z 1@0"]);
    let utf8 = ["http.status,_id=c1,größe=ß,k8s.pod=a.b 1@0"];
    let where_it_has_to_be = "sorted where it has to be";
    [
        Row {
            part: "order of labels",
            cells: ["sorted", "sorted", where_it_has_to_be, where_it_has_to_be, where_it_has_to_be, where_it_has_to_be],
            cases: sorted.into_iter().chain(unsorted).collect(),
        },
        Row { part: "a label with an empty value", cells: ["left out"; 6], cases: empty },
        Row {
            part: "UTF-8 names, without `--forward-escaping` ([below](#names-outside-the-old-alphabet))",
            cells: ["kept"; 6],
            cases: everywhere(&utf8.map(|text| series(text, |_| ())), &utf8),
        },
    ]
}

/// A message with the field, which is short.
fn field(number: u8, message: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(message.len()).unwrap()], message].concat()
}

/// What is in the field of a message with this one field.
fn inner(message: &[u8]) -> Vec<u8> {
    message[2..].to_vec()
}

fn unknown_fields() -> Row {
    let expected = ["up,_id=c1 1@0 #0.5@0{trace_id=x}"];
    let plain = || series("up,_id=c1 1@0", |series| series.exemplars = vec![exemplar(NOW_MS)]);
    let part = |series: TimeSeries| series.encode_to_vec();
    let labels = || part(TimeSeries { samples: Vec::new(), exemplars: Vec::new(), ..plain() });
    let sample = || part(TimeSeries { labels: Vec::new(), exemplars: Vec::new(), ..plain() });
    let exemplars = || part(TimeSeries { labels: Vec::new(), samples: Vec::new(), ..plain() });
    let with = |number, message: Vec<u8>| field(number, &[&inner(&message)[..], &UNKNOWN].concat());
    let one = |message: Vec<u8>| Sent::One(field(1, &message));
    let mut cases = vec![crate::histograms::with_an_unknown_field().keeping_unknown(false)];
    // Of 1.0: in the request, in the series, in a label; in the sample, in the exemplar.
    let request_of_1_0 = [field(1, &part(plain())), UNKNOWN.to_vec()].concat();
    cases.push(case(ONE, Sent::One(request_of_1_0), &expected).keeping_unknown(false));
    cases.push(case(ONE, one([part(plain()), UNKNOWN.to_vec()].concat()), &expected).keeping_unknown(false));
    let name = Label { name: "__name__".to_owned(), value: "up".to_owned() }.encode_to_vec();
    let in_label = [with(1, field(1, &name)), labels()[2 + name.len()..].to_vec(), sample(), exemplars()].concat();
    cases.push(case(ONE, one(in_label), &expected).keeping_unknown(false));
    for message in
        [[labels(), with(2, sample()), exemplars()].concat(), [labels(), sample(), with(3, exemplars())].concat()]
    {
        cases.push(case(&[ONE_TO_1], one(message.clone()), &expected).keeping_unknown(true));
        cases.push(case(&[ONE_TO_2], one(message), &expected).keeping_unknown(false));
    }
    // Of 2.0: in the request, in the series, in the sample, in the exemplar.
    let request = request(&[plain()]);
    let symbols = Request { timeseries: Vec::new(), ..request.clone() }.encode_to_vec();
    let series = &request.timeseries[0];
    let of_2_0 = |series: Vec<u8>| Sent::Two([&symbols[..], &field(5, &series)].concat());
    let part = |keep: fn(&mut body_v2::Series)| {
        let mut only = series.clone();
        keep(&mut only);
        only.encode_to_vec()
    };
    let labels = || part(|series| (series.samples, series.exemplars) = (Vec::new(), Vec::new()));
    let sample = || part(|series| (series.labels_refs, series.exemplars) = (Vec::new(), Vec::new()));
    let exemplars = || part(|series| (series.labels_refs, series.samples) = (Vec::new(), Vec::new()));
    for sent in [
        Sent::Two([request.encode_to_vec(), UNKNOWN.to_vec()].concat()),
        of_2_0([series.encode_to_vec(), UNKNOWN.to_vec()].concat()),
        of_2_0([labels(), with(2, sample()), exemplars()].concat()),
        of_2_0([labels(), sample(), with(4, exemplars())].concat()),
    ] {
        cases.push(case(TWO, sent, &expected).keeping_unknown(false));
    }
    Row {
        part: "fields that nobody knows",
        cells: [
            "left out",
            "left out",
            "left out of requests, series and labels; kept in samples, exemplars and histograms",
            "left out",
            "left out",
            "left out",
        ],
        cases,
    }
}
