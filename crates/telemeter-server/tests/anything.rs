//! Random bodies with valid credentials: never a 5xx, never a panic, and what is forwarded is canonical and carries the caller's
//! cluster ID.
#![allow(clippy::unwrap_used)]

mod support;

use support::{
    CLUSTER, TestServer,
    body::{self, DELIMITED, TEXT},
};

const CASES: usize = 3000;

/// Xorshift: the same numbers in every run.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    /// A few bytes changed, cut out, added or repeated.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.extend_from_within(at..),
                _ if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
    }

    /// A body that is almost valid, or random.
    fn body(&mut self, good: &[Vec<u8>]) -> Vec<u8> {
        if self.below(10) == 0 {
            return self.bytes(400);
        }
        let mut bytes = good[self.below(good.len())].clone();
        if self.below(20) > 0 {
            self.mutate(&mut bytes);
        }
        bytes
    }
}

const SERIES: [&[&str]; 4] = [
    &["up,_id=c1 1@0"],
    &["z,z=1,_id=c1,a=2 NaN@0", "up,_id=c1,empty= -Inf@-5"],
    &["a,_id=c1,le=+Inf 1e300@-86400000", "a,_id=c1,le=1 0@0", "b,_id=c1 -0@600000"],
    &[],
];

/// Checks what reached the store since the last call. Returns how many series it was.
fn forwarded(server: &TestServer, what: &str) -> usize {
    let mut series = 0;
    for request in server.store.take() {
        for one in body::of_block(&request.body) {
            let names: Vec<_> = one.labels.iter().map(|label| &label.name).collect();
            assert!(names.is_sorted_by(|one, other| one < other), "{what}: {one:?}");
            assert!(
                one.labels.iter().all(|label| !label.name.is_empty() && !label.value.is_empty()),
                "{what}: {one:?}"
            );
            let of = |name: &str| one.labels.iter().find(|label| label.name == name).map(|label| &*label.value);
            assert_eq!(of("_id"), Some(CLUSTER), "{what}: {one:?}");
            assert!(of("__name__").is_some(), "{what}: {one:?}");
            series += 1;
        }
    }
    series
}

#[tokio::test]
async fn anything_may_be_uploaded() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let texts = SERIES.map(body::text);
    let protobufs = SERIES.map(body::delimited);
    let mut series = 0;
    for case in 0..CASES {
        let (format, good) = if random.below(2) == 0 { (TEXT, &texts) } else { (DELIMITED, &protobufs) };
        let plain = random.body(good);
        let (body, encoding) = match random.below(3) {
            0 => (plain.clone(), "identity"),
            1 => (body::framed(&plain), "snappy"),
            _ => {
                let mut framed = body::framed(&plain);
                random.mutate(&mut framed);
                (framed, "snappy")
            }
        };
        let answer = server.send(server.upload_of(&token, format, body).header("content-encoding", encoding)).await;
        let what = format!("case {case}: {format}, {encoding}, {plain:02x?}");
        assert!([200, 400, 413].contains(&answer.status), "{what}: {answer:?}");
        series += forwarded(&server, &what);
    }
    assert!(series > 100, "some are good: {series}");
}

#[tokio::test]
async fn anything_may_be_remote_written() {
    let server = TestServer::new().await;
    let mut random = Xorshift(0x2545_f491_4f6c_dd1d);
    let good = SERIES.map(body::write_request);
    let mut series = 0;
    for case in 0..CASES {
        let plain = random.body(&good);
        let mut block = body::block(&plain);
        if random.below(3) == 0 {
            random.mutate(&mut block);
        }
        let answer = server.send(server.receive_of(CLUSTER, block)).await;
        let what = format!("case {case}: {plain:02x?}");
        assert!([200, 400, 413].contains(&answer.status), "{what}: {answer:?}");
        series += forwarded(&server, &what);
    }
    assert!(series > 100, "some are good: {series}");
}

#[tokio::test]
async fn any_credentials_may_be_shown() {
    let server = TestServer::new().await;
    let mut random = Xorshift(0x1234_5678_9abc_def1);
    let (jwt, composite) = (server.token(CLUSTER).await, support::composite(CLUSTER));
    for case in 0..CASES / 3 {
        // Questions about one cluster are limited: one a second.
        server.clock.advance(std::time::Duration::from_secs(1));
        for (path, good) in [("/upload", &jwt), ("/metrics/v1/receive", &composite), ("/authorize?id=x", &jwt)] {
            let mut bytes = format!("Bearer {good}").into_bytes();
            random.mutate(&mut bytes);
            let Ok(value) = http::HeaderValue::from_bytes(&bytes) else { continue };
            let answer =
                server.send(server.post(path).header("authorization", value).header("content-type", TEXT)).await;
            assert!(answer.status < 500, "case {case}: {path}: {bytes:02x?}: {answer:?}");
        }
    }
}
