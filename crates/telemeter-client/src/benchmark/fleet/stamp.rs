//! The body of an upload without encoding it anew: it is encoded once, and each cluster's ID and time are written into
//! the places where they stand. What remains is one snappy pass.

use bytes::Bytes;
use parking_lot::Mutex;
use telemeter_wire::snappy;

use super::super::load::Payload;

/// How long a made-up ID is.
pub(super) const ID_BYTES: usize = 36;
/// How long a time in milliseconds is as a varint, from 1971 until 2109.
const TIME_BYTES: usize = 6;

/// A made-up ID.
pub(super) type Id = [u8; ID_BYTES];

/// An encoded upload, and where in it the ID and the time stand.
pub(super) struct Template {
    plain: Vec<u8>,
    ids: Vec<usize>,
    times: Vec<usize>,
    rooms: Mutex<Vec<Room>>,
}

/// What one upload is prepared in.
struct Room {
    plain: Vec<u8>,
    snappy: snappy::Encoder,
    /// How long the last body was: the next will be about as long.
    body_bytes: usize,
}

impl Template {
    /// The payload with these labels; one without a value gets the ID.
    pub(super) fn new(payload: &Payload, labels: &[(String, Option<String>)]) -> Result<Self, String> {
        // Two encodings differ in every byte of each stamp, and nowhere else.
        let encoded = |digit: u8| {
            let id = char::from(b'0' + digit).to_string().repeat(ID_BYTES);
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().unwrap_or_else(|| id.clone())))
                .collect();
            let time = (0..TIME_BYTES).map(|group| i64::from(digit) << (7 * group)).sum();
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
                TIME_BYTES => times.push(at),
                _ => return Err("two stamps touch each other".to_owned()),
            }
            at += run.max(1);
        }
        Ok(Self { plain, ids, times, rooms: Mutex::default() })
    }

    /// The upload of the cluster `id` at `now_ms`, as a framed snappy stream.
    pub(super) fn body(&self, id: &Id, now_ms: i64) -> Bytes {
        let room = self.rooms.lock().pop();
        let mut room = room.unwrap_or_else(|| Room {
            plain: self.plain.clone(),
            snappy: snappy::Encoder::new(),
            body_bytes: self.plain.len() / 4,
        });
        for &at in &self.ids {
            room.plain[at..at + ID_BYTES].copy_from_slice(id);
        }
        let time = varint(now_ms);
        for &at in &self.times {
            room.plain[at..at + TIME_BYTES].copy_from_slice(&time);
        }
        let mut body = Vec::with_capacity(room.body_bytes + room.body_bytes / 16);
        room.snappy.framed(&room.plain, &mut body);
        room.body_bytes = body.len();
        self.rooms.lock().push(room);
        body.into()
    }
}

/// A varint of always the same length.
fn varint(time_ms: i64) -> [u8; TIME_BYTES] {
    std::array::from_fn(|group| {
        let more = if group + 1 < TIME_BYTES { 0x80 } else { 0 };
        (time_ms >> (7 * group)) as u8 & 0x7f | more
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_body_is_the_one_that_the_encoder_would_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("metrics.txt");
        std::fs::write(&file, "# TYPE a gauge\na{_id=\"old\",b=\"1\"} 2 1000\na{b=\"2\"} 3\n# TYPE c counter\nc 4\n")
            .expect("written");
        let payload = Payload::read(&file).expect("metrics");
        let labels = [("_id".to_owned(), None), ("tier".to_owned(), Some("gold".to_owned()))];
        let template = Template::new(&payload, &labels).expect("a template");
        assert_eq!((template.ids.len(), template.times.len()), (3, 3));
        for (id, now_ms) in [
            (b"00000000-0000-4000-8000-000000000001", 1_795_330_870_734),
            (b"ffffffff-ffff-4fff-bfff-ffffffffffff", (1 << 42) - 1),
            (b"11111111-1111-4111-9111-111111111111", 1 << 35),
        ] {
            let mut plain = Vec::new();
            snappy::decode_framed(&template.body(id, now_ms), 10_000, &mut plain).expect("framed snappy");
            let id = std::str::from_utf8(id).expect("text").to_owned();
            let labels = [("_id".to_owned(), id), ("tier".to_owned(), "gold".to_owned())];
            assert_eq!(plain, payload.plain(&labels, now_ms).expect("a body"), "at {now_ms}");
        }
    }
}
