//! What a memcached server answers.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::{
    MAX_VALUE_BYTES,
    connection::{Command, MemcachedConnection, Reply},
};

/// The answer to each command: a value is what is between its line and its end, within the cap; nothing is read
/// from an answer that goes on.
pub fn memcached_answer(answer: &[u8]) {
    // What has not arrived yet is not seen: an answer of one read.
    let answer = &answer[..answer.len().min(2000)];
    let key = "0123abcd";
    let run = |command: Command<'_>| {
        let mut connection = MemcachedConnection::on_stream(tokio::io::join(answer, Vec::new()));
        let mut running = pin!(connection.run(&command));
        match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => reply.ok(),
            Poll::Pending => panic!("it waits for bytes that are there"),
        }
    };
    match run(Command::Get { key }) {
        Some(Reply::Value(value)) => {
            assert!(value.len() <= MAX_VALUE_BYTES);
            let line = answer.iter().position(|byte| *byte == b'\n').expect("a line");
            assert!(answer.starts_with(b"VALUE 0123abcd ") && answer[line + 1..].starts_with(&value));
            assert_eq!(&answer[line + 1 + value.len()..], b"\r\nEND\r\n");
        }
        Some(Reply::Absent) => assert_eq!(answer, b"END\r\n"),
        Some(Reply::Done) => panic!("nothing was done"),
        None => {}
    }
    if run(Command::Set { key, value: b"v", expire_seconds: 1 }).is_some() {
        assert_eq!(answer, b"STORED\r\n");
    }
    if run(Command::Delete { key }).is_some() {
        assert!([&b"DELETED\r\n"[..], b"NOT_FOUND\r\n"].contains(&answer));
    }
}

pub(crate) const SEEDS: [&str; 7] = [
    "VALUE 0123abcd 0 3\r\na\r\n\r\nEND\r\n",
    "VALUE 0123abcd 0 0\r\n\r\nEND\r\n",
    "VALUE other 0 1\r\na\r\nEND\r\nmore",
    "END\r\n",
    "STORED\r\n",
    "NOT_FOUND\r\n",
    "SERVER_ERROR out of memory\r\n",
];
