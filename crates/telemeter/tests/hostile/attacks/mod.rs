//! The attacks: each uses its own loopback addresses, and is limited in connections, in connections a second and in
//! time.

pub(crate) mod authority;
pub(crate) mod bodies;
pub(crate) mod connections;
pub(crate) mod data;
pub(crate) mod framing;
pub(crate) mod http2;
pub(crate) mod operator;

use std::{
    fmt,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
    task::JoinSet,
    time::timeout_at,
};

use crate::{
    call::{CallStream, Endpoint},
    neighbours::OneTokenAuthority,
};

/// How long to wait before a connection that was closed or refused is opened again.
const BACKOFF: Duration = Duration::from_millis(500);

/// What an attack can use: the server, its authority and its files.
pub(crate) struct AttackContext {
    /// Whether the attack uses the numbers with which the faults were found; otherwise it uses smaller ones.
    pub(crate) full: bool,
    /// How many connections this process can open in addition to those of honest callers, the authority and the store.
    pub(crate) max_connections: usize,
    /// The external listener, as attackers connect to it: over TLS they offer HTTP/2.
    pub(crate) external: Endpoint,
    pub(crate) internal: Endpoint,
    /// A valid access token of a hostile cluster, for `/upload`.
    pub(crate) token: String,
    pub(crate) authority: Arc<OneTokenAuthority>,
    /// The whitelist file of the server, which an attack may replace.
    pub(crate) whitelist: PathBuf,
    /// The source addresses of attackers.
    pub(crate) sources: Vec<Ipv4Addr>,
    pub(crate) until: Instant,
    pub(crate) tally: AttackTally,
    pub(crate) pace: ConnectionRate,
}

impl AttackContext {
    pub(crate) fn number(&self, full: usize, short: usize) -> usize {
        if self.full { full.min(self.max_connections) } else { short }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    pub(crate) fn source(&self, number: usize) -> Ipv4Addr {
        self.sources[number % self.sources.len()]
    }

    /// Opens a connection, at the limited rate; `None` where it was refused, or the attack has ended.
    pub(crate) async fn connect(&self, number: usize) -> Option<Box<dyn CallStream>> {
        self.connect_to(&self.external, number).await
    }

    async fn connect_to(&self, endpoint: &Endpoint, number: usize) -> Option<Box<dyn CallStream>> {
        self.pace.wait().await;
        if self.is_over() {
            return None;
        }
        match endpoint.connect(self.source(number)).await {
            Ok(stream) => {
                AttackTally::add(&self.tally.opened);
                Some(stream)
            }
            Err(_refused) => {
                AttackTally::add(&self.tally.refused);
                None
            }
        }
    }

    /// Sleeps, at most until the end of the attack.
    pub(crate) async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.min(self.until.saturating_duration_since(Instant::now()))).await;
    }
}

/// Limits new connections to a steady rate.
pub(crate) struct ConnectionRate {
    period: Duration,
    next: Mutex<Instant>,
}

impl ConnectionRate {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { period: Duration::from_secs(1) / per_second, next: Mutex::new(Instant::now()) }
    }

    pub(crate) async fn wait(&self) {
        let at = {
            let mut next = self.next.lock().await;
            let at = (*next).max(Instant::now());
            *next = at + self.period;
            at
        };
        tokio::time::sleep_until(at.into()).await;
    }
}

/// Counts the outcomes of the attackers' connections.
#[derive(Default)]
pub(crate) struct AttackTally {
    pub(crate) opened: AtomicU64,
    /// Connections that were refused.
    pub(crate) refused: AtomicU64,
    /// Connections that the server closed.
    pub(crate) closed: AtomicU64,
    /// The number of answers with 2xx, 400, another 4xx, 503, and another status.
    pub(crate) answers: [AtomicU64; 5],
}

impl AttackTally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, status: u16) {
        let class = match status {
            200..=299 => 0,
            400 => 1,
            401..=499 => 2,
            503 => 3,
            _ => 4,
        };
        Self::add(&self.answers[class]);
    }
}

impl fmt::Display for AttackTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(f, "{} connections, {} not let in, {} closed", of(&self.opened), of(&self.refused), of(&self.closed))?;
        let names = ["2xx", "400", "4xx", "503", "others"];
        for (name, counter) in names.iter().zip(&self.answers).filter(|(_, counter)| of(counter) > 0) {
            write!(f, ", {} {name}", of(counter))?;
        }
        Ok(())
    }
}

/// Returns the parts that are sent on the connection with this number.
pub(crate) type Opening = Arc<dyn Fn(usize) -> Vec<Bytes> + Send + Sync>;

/// Keeps `count` connections open that have sent their opening and wait; one that is closed is opened again.
pub(crate) async fn hold(arena: &Arc<AttackContext>, count: usize, opening: Opening) {
    hold_at(arena, &arena.external, count, opening).await;
}

/// The same without TLS, where the server expects TLS.
pub(crate) async fn hold_unencrypted(arena: &Arc<AttackContext>, count: usize, opening: Opening) {
    let endpoint = Endpoint { tls: None, ..arena.external.clone() };
    hold_at(arena, &endpoint, count, opening).await;
}

async fn hold_at(arena: &Arc<AttackContext>, endpoint: &Endpoint, count: usize, opening: Opening) {
    let mut connections = JoinSet::new();
    for number in 0..count {
        let (arena, endpoint, opening) = (arena.clone(), endpoint.clone(), opening.clone());
        connections.spawn(async move {
            while !arena.is_over() {
                if let Some(stream) = arena.connect_to(&endpoint, number).await {
                    hold_one(&arena, stream, opening(number)).await;
                }
                arena.sleep(BACKOFF).await;
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Sends the opening, and reads answers until the server closes the connection or the attack ends.
async fn hold_one(arena: &AttackContext, stream: Box<dyn CallStream>, opening: Vec<Bytes>) {
    let (mut from, mut to) = tokio::io::split(stream);
    let writing = async {
        for part in opening {
            if to.write_all(&part).await.is_err() || to.flush().await.is_err() {
                break;
            }
        }
        // After the opening, the write half stays open.
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut bytes = [0; 1024];
        while let Ok(read) = from.read(&mut bytes).await {
            if read == 0 {
                break;
            }
            if let Some(status) = status(&bytes[..read]) {
                arena.tally.answered(status);
            }
        }
        AttackTally::add(&arena.tally.closed);
    };
    let both = async {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    };
    let _ = timeout_at(arena.until.into(), both).await;
}

/// Returns the status, where `bytes` is the beginning of an answer.
pub(crate) fn status(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The faults that an attack found.
pub(crate) type Faults = Vec<String>;
