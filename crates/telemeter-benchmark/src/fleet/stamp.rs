//! Makes the body of an upload without encoding or compressing it again: both are done once, and the cluster ID and the
//! time of each upload are written into their places. The cost per upload is a copy and its checksums.

mod compressed;

use bytes::Bytes;
use parking_lot::Mutex;
use telemeter_wire::{
    exposition::delimited::{TIMESTAMP_BYTES, timestamp_bytes},
    snappy,
};

use self::compressed::Compressed;
use super::super::load::UploadPayload;

/// The length of a generated ID, in bytes.
pub(super) const ID_BYTES: usize = 36;
const STAMP_BYTES: usize = ID_BYTES + TIMESTAMP_BYTES;

/// A generated cluster ID, a UUID as text.
pub(super) type GeneratedId = [u8; ID_BYTES];
/// The bytes that differ between uploads: the ID, followed by the time.
type UploadStamp = [u8; STAMP_BYTES];

/// An encoded upload, and the offsets of the ID and the time in it.
pub(super) struct UploadTemplate {
    plain: Vec<u8>,
    ids: Vec<usize>,
    times: Vec<usize>,
    /// The compressed template; `None` where each upload must be compressed again.
    compressed: Option<Compressed>,
    buffers: Mutex<Vec<StampBuffers>>,
}

/// The buffers in which one upload is prepared.
struct StampBuffers {
    plain: Vec<u8>,
    snappy: snappy::Encoder,
}

impl UploadTemplate {
    /// Encodes the payload with these labels; a label without a value gets the ID.
    pub(super) fn new(payload: &UploadPayload, labels: &[(String, Option<String>)]) -> Result<Self, String> {
        // These two encodings differ in every byte of each stamp, and in no other byte.
        let encoded = |digit: u8| {
            let id = char::from(b'0' + digit).to_string().repeat(ID_BYTES);
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().unwrap_or_else(|| id.clone())))
                .collect();
            let time = (0..TIMESTAMP_BYTES).map(|group| i64::from(digit) << (7 * group)).sum();
            payload.plain(&labels, time).map_err(|cause| cause.to_string())
        };
        let (plain, other) = (encoded(1)?, encoded(2)?);
        let (mut ids, mut times, mut at) = (vec![], vec![], 0);
        let differs = |at: &usize| plain[*at] != other[*at];
        while at < plain.len() {
            let run = (at..plain.len()).take_while(differs).count();
            match run {
                0 => {}
                ID_BYTES => ids.push(at),
                TIMESTAMP_BYTES => times.push(at),
                _ => return Err("two stamps touch each other".to_owned()),
            }
            at += run.max(1);
        }
        let mut template = Self { plain, ids, times, compressed: None, buffers: Mutex::default() };
        template.compress_template();
        Ok(template)
    }

    /// Compresses the template once, with marks in place of ID and time, and keeps the result in `compressed`. It stays `None`
    /// where a mark shares a compressed byte with other text; [`body`](Self::body) then compresses each upload.
    fn compress_template(&mut self) {
        // These byte values do not occur in text, and each occurs once in a stamp: so a snappy copy that contains one
        // almost certainly copies a stamp.
        let marks = std::array::from_fn(|index| u8::MAX - index as u8);
        let mut plain = self.plain.clone();
        self.put_stamp(&marks, &mut plain);
        let mut stamps = vec![None; plain.len()];
        for (places, first, len) in [(&self.ids, 0, ID_BYTES), (&self.times, ID_BYTES, TIMESTAMP_BYTES)] {
            for &at in places {
                (0..len).for_each(|index| stamps[at + index] = Some(first + index));
            }
        }
        self.compressed = Compressed::new(&plain, &stamps);
    }

    /// Returns the upload of the cluster `id` at `now_ms`, as a framed snappy stream: the compressed template with a
    /// new stamp, or, where there is none, compressed anew.
    pub(super) fn body(&self, id: &GeneratedId, now_ms: i64) -> Bytes {
        let buffers = self.buffers.lock().pop();
        let mut buffers =
            buffers.unwrap_or_else(|| StampBuffers { plain: self.plain.clone(), snappy: snappy::Encoder::new() });
        let stamp = encode_stamp(id, now_ms);
        self.put_stamp(&stamp, &mut buffers.plain);
        let body = if let Some(compressed) = &self.compressed {
            compressed.stamped(&stamp, &buffers.plain)
        } else {
            let mut body = Vec::with_capacity(buffers.plain.len() / 4);
            buffers.snappy.framed(&buffers.plain, &mut body);
            body
        };
        self.buffers.lock().push(buffers);
        body.into()
    }

    /// Overwrites each ID and each time in `plain`, an uncompressed upload, with those of `stamp`.
    fn put_stamp(&self, stamp: &UploadStamp, plain: &mut [u8]) {
        let (id, time) = stamp.split_at(ID_BYTES);
        for &at in &self.ids {
            plain[at..at + ID_BYTES].copy_from_slice(id);
        }
        for &at in &self.times {
            plain[at..at + TIMESTAMP_BYTES].copy_from_slice(time);
        }
    }
}

/// The bytes of an upload that differ from those of the template: the cluster's ID and the time, in milliseconds since
/// 1970.
fn encode_stamp(id: &GeneratedId, now_ms: i64) -> UploadStamp {
    let mut stamp = [0; STAMP_BYTES];
    stamp[..ID_BYTES].copy_from_slice(id);
    stamp[ID_BYTES..].copy_from_slice(&timestamp_bytes(now_ms));
    stamp
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn payload(metrics: &str) -> UploadPayload {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("metrics.txt");
        std::fs::write(&file, metrics).expect("written");
        UploadPayload::read(&file).expect("metrics")
    }

    /// The template is larger than 64 KiB, so it has several chunks.
    fn large() -> UploadTemplate {
        let mut metrics = String::new();
        for metric in 0..40_u32 {
            writeln!(metrics, "# TYPE metric_{metric} gauge").expect("a string takes all");
            for series in 0..60_u32 {
                let value = f64::from(metric * 60 + series).sqrt();
                writeln!(metrics, "metric_{metric}{{pod=\"pod-{series}\"}} {value}").expect("a string takes all");
            }
        }
        UploadTemplate::new(&payload(&metrics), &[("_id".to_owned(), None)]).expect("a template")
    }

    fn opened(body: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        snappy::decode_framed(body, 1 << 20, &mut plain).expect("framed snappy");
        plain
    }

    #[test]
    fn a_stamped_body_is_the_one_that_the_encoder_would_write() {
        let payload = payload("# TYPE a gauge\na{_id=\"old\",b=\"1\"} 2 1000\na{b=\"2\"} 3\n# TYPE c counter\nc 4\n");
        let labels = [("_id".to_owned(), None), ("tier".to_owned(), Some("gold".to_owned()))];
        let template = UploadTemplate::new(&payload, &labels).expect("a template");
        assert!(template.compressed.is_some());
        assert_eq!((template.ids.len(), template.times.len()), (3, 3));
        for (id, now_ms) in [
            (b"00000000-0000-4000-8000-000000000001", 1_795_330_870_734),
            (b"ffffffff-ffff-4fff-bfff-ffffffffffff", (1 << 42) - 1),
            (b"11111111-1111-4111-9111-111111111111", 1 << 35),
        ] {
            let body = template.body(id, now_ms);
            let id = std::str::from_utf8(id).expect("text").to_owned();
            let labels = [("_id".to_owned(), id), ("tier".to_owned(), "gold".to_owned())];
            assert_eq!(opened(&body), payload.plain(&labels, now_ms).expect("a body"), "at {now_ms}");
        }
    }

    #[test]
    fn every_chunk_is_stamped_and_what_is_compressed_anew_holds_the_same() {
        let mut template = large();
        assert!(template.plain.len() > 2 * 65_536, "{} bytes", template.plain.len());
        assert!(template.compressed.is_some());
        let id = b"12345678-9abc-4def-8012-3456789abcde";
        let patched = opened(&template.body(id, 1_795_330_870_734));
        for chunk in patched.chunks(65_536) {
            assert!(chunk.windows(ID_BYTES).any(|bytes| bytes == id));
            assert!(chunk.windows(TIMESTAMP_BYTES).any(|bytes| bytes == timestamp_bytes(1_795_330_870_734)));
        }
        template.compressed = None;
        assert_eq!(opened(&template.body(id, 1_795_330_870_734)), patched);
    }

    #[test]
    fn any_stamp_is_where_it_belongs() {
        let template = large();
        let stamps = proptest::collection::vec((any::<[u8; ID_BYTES]>(), any::<i64>()), 1..4);
        proptest!(ProptestConfig::with_cases(64), |(stamps in stamps)| {
            // All uploads use the same buffers: no bytes of one stamp may be left in the next upload.
            for (id, now_ms) in stamps {
                let mut plain = template.plain.clone();
                template.put_stamp(&encode_stamp(&id, now_ms), &mut plain);
                prop_assert!(opened(&template.body(&id, now_ms)) == plain);
            }
        });
    }
}
