//! Attacks with HTTP/2 frames that are written by hand: many streams of one byte, answers without a flow-control
//! window, and headers for the dynamic table.

use std::sync::Arc;

use bytes::Bytes;

use super::{AttackContext, Faults, hold};

const STREAMS: usize = 250;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// This bit, added to the index of a name, means that name and value are added to HPACK's dynamic table.
const REMEMBERED: u8 = 0x40;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// Sends only one byte on each of 250 streams.
pub(crate) async fn one_byte_a_stream(arena: Arc<AttackContext>) -> Faults {
    let mut opening = PREFACE.to_vec();
    frame(&mut opening, SETTINGS, 0, 0, &[]);
    let mut headers = vec![0x83, 0x87]; // POST, https
    name_of_the_table(&mut headers, 4, "/upload");
    name_of_the_table(&mut headers, 1, "telemeter");
    field(&mut headers, "authorization", &format!("Bearer {}", arena.token));
    field(&mut headers, "content-type", "text/plain; version=0.0.4");
    for stream in streams() {
        frame(&mut opening, HEADERS, END_HEADERS, stream, &headers);
        frame(&mut opening, DATA, 0, stream, b"u");
    }
    let opening = Bytes::from(opening);
    hold(&arena, arena.number(34, 16), Arc::new(move |_| vec![opening.clone()])).await;
    Faults::new()
}

/// Sends `GET /` on each of 250 streams, with a window of 0 bytes for the answers.
pub(crate) async fn no_window(arena: Arc<AttackContext>) -> Faults {
    let mut opening = PREFACE.to_vec();
    frame(&mut opening, SETTINGS, 0, 0, &[&INITIAL_WINDOW_SIZE[..], &0_u32.to_be_bytes()].concat());
    let mut headers = vec![0x82, 0x84, 0x87]; // GET, /, https
    name_of_the_table(&mut headers, 1, "telemeter");
    for stream in streams() {
        frame(&mut opening, HEADERS, END_HEADERS | END_STREAM, stream, &headers);
    }
    let opening = Bytes::from(opening);
    hold(&arena, arena.number(800, 30), Arc::new(move |_| vec![opening.clone()])).await;
    Faults::new()
}

/// Sends headers that fill a buffer, with a short path that stays in the dynamic table until the connection ends.
pub(crate) async fn headers_to_remember(arena: Arc<AttackContext>) -> Faults {
    /// The dynamic table has 4,096 bytes, and each of these paths needs 41.
    const PATHS: usize = 99;
    let mut opening = PREFACE.to_vec();
    frame(&mut opening, SETTINGS, 0, 0, &[]);
    for (number, stream) in streams().take(PATHS).enumerate() {
        let mut headers = vec![0x82, 0x87]; // GET, https
        name_of_the_table(&mut headers, 1, "telemeter");
        name_of_the_table(&mut headers, REMEMBERED | 4, &format!("/?{number:02}"));
        // With this field the headers are larger than the server accepts: it refuses the request, but the dynamic table
        // keeps the path.
        field(&mut headers, "x-long", &"x".repeat(16_250));
        frame(&mut opening, HEADERS, END_HEADERS | END_STREAM, stream, &headers);
    }
    let opening = Bytes::from(opening);
    hold(&arena, arena.number(600, 60), Arc::new(move |_| vec![opening.clone()])).await;
    Faults::new()
}

fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2).take(STREAMS)
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Writes a header field with the name at `index` of HPACK's static table.
fn name_of_the_table(out: &mut Vec<u8>, index: u8, value: &str) {
    out.push(index);
    text(out, value);
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    text(out, name);
    text(out, value);
}

/// Writes a string of HPACK without compression: its length in 7 bits, or 127 followed by the rest of the length.
fn text(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length) if length < 0x7f => out.push(length),
        _ => {
            out.push(0x7f);
            let mut rest = text.len() - 0x7f;
            while rest >= 0x80 {
                out.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text.as_bytes());
}
