use super::*;
use crate::{
    error::DecodeLimits,
    exposition::{self, NativeHistograms},
    series::{Arena, MetricType, SeriesSet},
};

/// Feeds `body` in chunks of `chunk` bytes and returns the pieces.
fn cut(format: ExpositionFormat, body: &[u8], piece: usize, chunk: usize) -> Vec<Vec<u8>> {
    let (mut pieces, mut buffer) = (Vec::new(), b"left over".to_vec());
    let mut gather = Pieces::new(format, piece, &mut buffer);
    let mut take = |piece: &[u8]| {
        pieces.push(piece.to_vec());
        Ok(())
    };
    for part in body.chunks(chunk) {
        gather.push(part, &mut take).expect("nothing fails");
    }
    gather.finish(&mut take).expect("nothing fails");
    pieces
}

#[test]
fn text_is_cut_between_families() {
    let body = b"# HELP a one\n# TYPE a gauge\na 1\na 2\n# TYPE b gauge\nb 1\nb 2\n# TYPE c gauge\nc 1\n";
    for chunk in [1, 3, 7, 20, 1000] {
        let pieces = cut(ExpositionFormat::Text, body, 60, chunk);
        assert_eq!(pieces.concat(), body, "chunks of {chunk}");
    }
    let pieces = cut(ExpositionFormat::Text, body, 60, 60);
    assert_eq!(pieces[0], b"# HELP a one\n# TYPE a gauge\na 1\na 2\n");
}

#[test]
fn a_large_family_is_cut_between_lines() {
    let body = b"# TYPE a gauge\na 1\na 2\na 3\na 4\na 5\na 6\na 7\na 8\na 9\n";
    let pieces = cut(ExpositionFormat::Text, body, 20, 5);
    assert!(pieces.len() > 2);
    assert!(pieces.iter().all(|piece| piece.is_empty() || piece.ends_with(b"\n")));
    assert_eq!(pieces.concat(), body);
}

/// Decodes `body` in pieces, fed in chunks of `chunk` bytes: the types of its series, or the error.
fn decoded(body: &[u8], chunk: usize) -> Result<Vec<MetricType>, Error> {
    let (mut buffer, mut kinds, mut families) = (Vec::new(), Vec::new(), exposition::TextFamilies::default());
    let mut gather = Pieces::new(ExpositionFormat::Text, 20, &mut buffer);
    let mut decode = |piece: &[u8]| {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        exposition::decode_part(
            ExpositionFormat::Text,
            piece,
            &DecodeLimits::default(),
            &mut set,
            &mut families,
            NativeHistograms::Keep,
        )?;
        kinds.extend(set.iter().map(|series| series.kind));
        Ok(())
    };
    body.chunks(chunk).try_for_each(|part| gather.push(part, &mut decode))?;
    gather.finish(&mut decode)?;
    Ok(kinds)
}

#[test]
fn what_counts_for_the_whole_body_counts_in_every_piece() {
    for chunk in [1, 5, 100] {
        let large = b"# TYPE a gauge\na 1\na 2\na 3\n# TYPE b counter\nb 1\na 4\na 5\na 6\n";
        use MetricType::{Counter, Gauge};
        assert_eq!(
            decoded(large, chunk),
            Ok(vec![Gauge, Gauge, Gauge, Counter, Gauge, Gauge, Gauge]),
            "chunks of {chunk}"
        );
        let check = |body: &[u8], line: usize, reason: &'static str| {
            assert_eq!(decoded(body, chunk), Err(Error::Text { line, reason }), "chunks of {chunk}");
        };
        check(b"# TYPE a gauge\na 1\na 2\na 3\na oops\na 4\n", 5, "a value that is no number");
        check(
            b"# TYPE a gauge\na 1\na 2\na 3\na 4\na 5\n# TYPE a gauge\na 4\n",
            7,
            "a second TYPE line of one metric, or one behind its samples",
        );
    }
}

/// A field of bytes.
fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(&mut out, content.len() as u64);
    [out, content.to_vec()].concat()
}

/// A family after its length: a name, a type and metrics of these sizes.
fn family(name: &str, metrics: &[usize]) -> Vec<u8> {
    let mut inner = [bytes_field(1, name.as_bytes()), vec![3 << 3, 3]].concat();
    inner.extend(metrics.iter().flat_map(|size| bytes_field(4, &vec![0xee; *size])));
    let mut out = Vec::new();
    put_varint(&mut out, inner.len() as u64);
    [out, inner].concat()
}

#[test]
fn protobuf_is_cut_between_families() {
    let body = [family("a", &[3]), family("b", &[20, 4]), family("c", &[]), family("d", &[30])].concat();
    for chunk in [1, 10, 1000] {
        let pieces = cut(ExpositionFormat::Delimited, &body, 50, chunk);
        assert_eq!(pieces.concat(), body, "chunks of {chunk}");
    }
    assert!(cut(ExpositionFormat::Delimited, &body, 50, 1).len() > 1);
}

#[test]
fn a_large_family_is_cut_between_metrics_and_keeps_its_name_and_type() {
    let body = [family("a", &[3]), family("large", &[30, 200, 30, 30]), family("b", &[4])].concat();
    for chunk in [1, 7, 60] {
        let pieces = cut(ExpositionFormat::Delimited, &body, 60, chunk).concat();
        // Families with the same name and type are merged again.
        let (mut rest, mut sizes) = (&pieces[..], Vec::new());
        while let Some((length, bytes)) = message(rest) {
            let mut inner = &rest[length..length + bytes];
            rest = &rest[length + bytes..];
            let head = &family("large", &[])[1..];
            if let Some(metrics) = inner.strip_prefix(head) {
                inner = metrics;
                while let Some((number, bytes)) = field(inner) {
                    assert_eq!(number, METRIC);
                    sizes.push(bytes);
                    inner = &inner[bytes..];
                }
            }
        }
        assert_eq!(sizes, [32, 203, 32, 32], "chunks of {chunk}");
        assert!(pieces.starts_with(&family("a", &[3])) && pieces.ends_with(&family("b", &[4])));
    }
}

#[test]
fn a_large_family_that_breaks_off_is_an_error() {
    let body = family("large", &[30, 200]);
    let mut buffer = Vec::new();
    let mut gather = Pieces::new(ExpositionFormat::Delimited, 60, &mut buffer);
    gather.push(&body[..100], |_| Ok(())).expect("so far so good");
    assert_eq!(gather.finish(|_| Ok(())), Err(Error::Protobuf("the body ends in the middle of a family")));
}

#[test]
fn what_is_no_message_is_left_to_the_decoder() {
    assert_eq!(cut(ExpositionFormat::Delimited, &[0xff; 100], 10, 10), [vec![0xff; 100]]);
    assert_eq!(cut(ExpositionFormat::Text, &[b'a'; 100], 10, 10), [vec![b'a'; 100]]);
    assert_eq!(cut(ExpositionFormat::Delimited, b"", 10, 10), [b""]);
}
