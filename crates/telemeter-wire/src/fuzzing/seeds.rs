//! The seeds of the fuzz targets. Those of remote write and delimited protobuf are few: the oracle makes random ones.

use crate::{
    Arena, DecodeLimits, SeriesSet,
    exposition::{self, DELIMITED_CONTENT_TYPE, ExpositionFormat, TEXT_CONTENT_TYPE},
    remote_write,
};

const TEXTS: [&str; 9] = [
    "",
    "up 1\n",
    "# HELP up Is it?\n# TYPE up gauge\nup{job=\"a\",instance=\"b:1\"} 1 1395066363000\nup{job=\"b\"} 0\n",
    "# TYPE a counter\na_total{path=\"C:\\\\DIR\\\\\",error=\"\\\"x\\\"\\n\"} +Inf 1\nb NaN -5\nc -0\n",
    "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5e-3\nh_count 3\n",
    "# TYPE s summary\ns{quantile=\"0.99\"} 0x1p-2\ns_sum 1_000\ns_count 2\n",
    "{\"a.b\",\"c.d\"=\"e\"} 1\n{\"f\"} 2\n# TYPE \"a.b\" gauge\n",
    "  \t a { b = \"c\" , } 1 \r\n\n# a comment \u{fc}\n#\n",
    "a{b=\"\u{1f980}\"} 1\nlast 2",
];

/// Texts, and the same in other orders.
pub(super) fn text() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.push(TEXTS.concat().into_bytes());
    seeds.push(b"# a comment of \xff\nup 1\nup{a=\"\xff\"} 1\n".to_vec());
    seeds
}

fn encoded(write: impl Fn(&SeriesSet<'_>, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let of = |text: &Vec<u8>| {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        exposition::decode(ExpositionFormat::Text, text, &DecodeLimits::default(), &mut set).ok()?;
        let mut out = Vec::new();
        write(&set, &mut out);
        Some(out)
    };
    text().iter().filter_map(of).collect()
}

/// The texts as delimited protobuf.
pub(super) fn delimited() -> Vec<Vec<u8>> {
    encoded(exposition::delimited::encode)
}

/// Texts and delimited protobuf, arriving in parts.
pub(super) fn pieces() -> Vec<Vec<u8>> {
    let with = |first: u8| move |body: Vec<u8>| [&[first][..], &body].concat();
    let texts = text().into_iter().map(with(0x10));
    texts.chain(delimited().into_iter().map(with(0x2d))).collect()
}

/// The texts as remote write 1.0, and one request of 2.0.
pub(super) fn remote_write() -> Vec<Vec<u8>> {
    let mut seeds = encoded(remote_write::encode);
    let symbols = b"\x22\x00\x22\x08__name__\x22\x02up\x22\x01a\x22\x01b";
    let series = b"\x2a\x1b\x0a\x04\x01\x02\x03\x04\x12\x0b\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x01\x22\x06\x0a\x02\x03\x04\x18\x01";
    seeds.push([&symbols[..], &series[..]].concat());
    seeds
}

/// Values of headers.
pub(super) fn headers() -> Vec<Vec<u8>> {
    let values = [
        TEXT_CONTENT_TYPE,
        DELIMITED_CONTENT_TYPE,
        "text/plain;version=0.0.4;escaping=dots;q=0.5,application/openmetrics-text;q=0.1;escaping=values",
        "text/plain;escaping=allow-utf-8",
        "received=4, kept=1, filtered=3, duplicates=0",
        "a.b_c:\u{fc}",
    ];
    values.iter().map(|value| value.as_bytes().to_vec()).collect()
}
