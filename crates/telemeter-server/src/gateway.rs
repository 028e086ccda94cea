//! What the handlers share.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::extract::Request;
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use telemeter_auth::{
    authority::{Authority, QuestionOrigin},
    jwt::TokenVerifier,
    oidc::TokenSource,
};
use telemeter_fleet::{
    ReportRoute,
    recent_store::{RecentStore, Staged},
};
use telemeter_http::{
    body::{BodyClient, BodyPace, Buffer, BufferPool, Readers},
    budget::{MemoryBudget, MemoryShare, Reservation},
    clock::Clock,
    listen::{ClientNetwork, Peer},
};
use telemeter_rules::newest::Newest;
use telemeter_wire::{
    Arena, DecodeLimits,
    remote_write::{EncodedSeries, Layout, v2::RequestBuilder},
    snappy,
};

mod encode;
mod large;
#[cfg(test)]
mod sizing;

pub(crate) use self::encode::EncodeRoom;
use self::large::LargeRequests;
use crate::{
    concurrency::{Concurrency, RequestPermit},
    error::{Error, RequestError},
    fleet::{Fleet, ObservedReport},
    forward::{Forward, WriteMessage},
    metrics::{ForwardResult, Metrics, ResultLabel, StatusLabel},
    protocol::Protocol,
    ratelimit::{RateLimit, Slot, SlotRecord},
    rules::ServerRules,
    sender::Sender,
};

/// How long a whole body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may be slower than `--min-body-rate` in the beginning.
const BODY_GRACE: Duration = Duration::from_secs(5);
/// How long a form may take to arrive, of a caller of whom nothing is known yet.
const FORM_DEADLINE: Duration = Duration::from_secs(5);
/// A buffer that grew beyond this is not kept, nor one beyond this part of the bodies' share.
const MAX_KEPT_BYTES: usize = 4 << 20;
const KEPT_BUFFER_PART: usize = 64;
/// A request takes so many times its decompressed bytes while it is worked on: those themselves, what was decoded, what
/// goes on, and that compressed.
const WORK_FACTOR: usize = 3;
/// And this at least.
const MIN_WORK_BYTES: usize = 256 << 10;
/// While it waits for the store a message is held twice: by its caller, and joined with others.
pub(crate) const FORWARD_FACTOR: usize = 2;
/// How many idle workspaces are kept.
const KEPT_WORKSPACES: usize = 16;
/// What they may hold together: a sender's largest batch leaves a workspace of 20 to 40 MiB.
const KEPT_WORKSPACE_BYTES: usize = 64 << 20;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<GatewayParts>);

/// The parts of a [`Gateway`].
pub struct GatewayParts {
    /// The time.
    pub clock: Clock,
    /// The counters.
    pub metrics: Metrics,
    /// Knows our tokens.
    pub verifier: TokenVerifier,
    /// Asks who may send; `None`: everybody may.
    pub authority: Option<Authority>,
    /// Holds clusters to their rate; `None`: no limit.
    pub ratelimit: Option<Arc<RateLimit>>,
    /// The operator's rules.
    pub rules: ArcSwap<ServerRules>,
    /// The way to the store; `None` where the recent store stands in for it.
    pub forward: Option<Forward>,
    /// The token for calls to the store and the authority, where an OIDC provider gives one.
    pub token: Option<TokenSource>,
    /// What was forwarded lately.
    pub recent_store: Option<Arc<RecentStore>>,
    /// The label that carries the cluster's ID.
    pub partition_label: String,
    /// Put into each token and told to clients.
    pub required_labels: Vec<(String, String)>,
    /// How long a token is good.
    pub token_expire: Duration,
    /// Cap on an upload, decompressed.
    pub limit_bytes: usize,
    /// Cap on a remote-write request, compressed.
    pub limit_receive_bytes: usize,
    /// Set once the server is on its way out.
    pub draining: AtomicBool,
    /// Whether debug lines name the cluster of a receive request.
    pub log_tenant: bool,
    /// What is known of each cluster.
    pub fleet: Fleet,
    /// Rooms to work in.
    pub workspaces: Workspaces,
    /// How many requests a cluster has under way.
    pub concurrency: Concurrency,
    /// The least that a body has to arrive at once its first seconds are over, in bytes a second; 0: nothing.
    pub min_body_rate: u64,
    /// Whether the good series of a remote write are stored where others are refused.
    pub partial_writes: bool,
}

impl std::ops::Deref for Gateway {
    type Target = GatewayParts;

    fn deref(&self) -> &GatewayParts {
        &self.0
    }
}

impl Gateway {
    /// Of these parts.
    #[must_use]
    pub fn new(shared: GatewayParts) -> Self {
        Self(Arc::new(shared))
    }

    /// Turns requests away once the server is on its way out.
    ///
    /// # Errors
    /// [`Error::Draining`].
    pub fn enter(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::Relaxed) { Err(Error::Draining) } else { Ok(()) }
    }

    /// Notes a request that succeeded; `report` is what it brought, and how many samples of it the store took.
    pub fn accepted(
        &self,
        route: ReportRoute,
        cluster: &str,
        sender: &Sender,
        report: Option<(&ObservedReport, usize)>,
    ) {
        self.fleet.accepted(route, cluster, sender, report, self.clock.now_ms());
    }

    /// Notes a request that did not succeed: counters, registry, log.
    pub fn refused(&self, route: ReportRoute, sender: &Sender, refused: &RequestError) {
        self.metrics.refused(route, &refused.error);
        self.fleet.refused(route, sender, refused, self.clock.now_ms());
    }

    /// Takes the upload slot of a cluster.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn admit(&self, cluster: &str, now_ms: i64) -> Result<Slot, Error> {
        match &self.ratelimit {
            None => Ok(Slot::free()),
            Some(limit) => limit
                .admit(cluster, now_ms)
                .map_err(|limited| Error::RateLimited { period: limit.period(), retry_after: limited.retry_after }),
        }
    }

    /// Counts a request of a cluster as under way, until what comes back is dropped.
    ///
    /// # Errors
    /// [`Error::ManyAtOnce`] where it has as many as it may.
    pub fn begin(&self, cluster: &str) -> Result<RequestPermit<'_>, Error> {
        self.concurrency.begin(cluster).ok_or(Error::ManyAtOnce)
    }

    /// Reads a whole body of at most `cap_bytes`, from a cluster whose credentials are good.
    ///
    /// # Errors
    /// [`Error::Body`]; [`BodyError::NoRoom`](telemeter_http::body::BodyError::NoRoom) where too much is being read already.
    pub async fn read(&self, request: Request, cluster: &str, cap_bytes: usize) -> Result<Buffer, Error> {
        let pace = BodyPace { deadline: BODY_DEADLINE, min_bytes_per_second: self.min_body_rate, grace: BODY_GRACE };
        let client = self.workspaces.readers.client(cluster);
        self.read_of(request, client, cap_bytes, &pace).await
    }

    /// Reads a whole form, from a caller of whom nothing is known but the address.
    ///
    /// # Errors
    /// As [`Gateway::read`].
    pub async fn read_form(&self, request: Request, cap_bytes: usize) -> Result<Buffer, Error> {
        let pace = BodyPace { deadline: FORM_DEADLINE, min_bytes_per_second: 0, grace: FORM_DEADLINE };
        let network = request.extensions().get::<Peer>().map(|peer| ClientNetwork::from(peer.0.ip()));
        let client = self.workspaces.readers.client(network);
        self.read_of(request, client, cap_bytes, &pace).await
    }

    async fn read_of(
        &self,
        request: Request,
        client: BodyClient,
        cap_bytes: usize,
        pace: &BodyPace,
    ) -> Result<Buffer, Error> {
        Ok(self.workspaces.readers.read(request.into_body(), client, cap_bytes, pace).await?)
    }

    /// Delivers a message to the store, and remembers it where the store took it. An empty one is delivered already.
    /// `taken` is the slot that counts as taken where the store takes the message after the caller has left.
    ///
    /// # Errors
    /// As [`StoreOutcome::into_result`](crate::forward::StoreOutcome::into_result).
    pub async fn deliver(
        &self,
        route: ReportRoute,
        cluster: &str,
        taken: Option<SlotRecord>,
        sender: &Sender,
        write: Write,
    ) -> Result<StatusCode, Error> {
        let status = self.send_on(route, cluster, taken, &write).await?;
        self.accepted(route, cluster, sender, Some((&write.seen, write.series)));
        Ok(status)
    }

    async fn send_on(
        &self,
        route: ReportRoute,
        cluster: &str,
        taken: Option<SlotRecord>,
        write: &Write,
    ) -> Result<StatusCode, Error> {
        if write.series == 0 {
            return Ok(StatusCode::OK);
        }
        let mut status = StatusCode::OK;
        if let Some(forward) = &self.forward {
            let staged_bytes = write.staged.as_ref().map_or(0, Staged::held_bytes);
            let bytes = write.message.forward_bytes().saturating_add(staged_bytes);
            let _held = self.workspaces.budget.try_reserve(MemoryShare::Forward, bytes).ok_or(Error::Overloaded)?;
            let started = std::time::Instant::now();
            let outcome = forward.send_in_slot(cluster, write.message.clone(), taken).await;
            self.fleet.dependencies.store_answered(&outcome, started.elapsed(), self.clock.now_ms());
            let code = StatusLabel { status_code: outcome.status_code() };
            let result = outcome.into_result();
            let label =
                ResultLabel { result: if result.is_ok() { ForwardResult::success } else { ForwardResult::error } };
            match route {
                ReportRoute::Upload => {
                    let took = started.elapsed().as_secs_f64();
                    self.metrics.forward_duration.get_or_create(&code).observe(took);
                    self.metrics.forward_requests.get_or_create(&label).inc();
                }
                ReportRoute::Receive | ReportRoute::Authorize => {
                    self.metrics.receive_forward_requests.get_or_create(&label).inc();
                }
            }
            status = result?;
        }
        match route {
            ReportRoute::Upload => self.metrics.forward_samples.inc_by(write.series as u64),
            ReportRoute::Receive | ReportRoute::Authorize => self.metrics.receive_series.inc_by(write.series as u64),
        };
        if let (Some(store), Some(staged)) = (&self.recent_store, &write.staged) {
            store.commit(cluster, staged, self.clock.now_ms());
        }
        Ok(status)
    }

    /// The remote write that goes to the store.
    #[must_use]
    pub fn forward_protocol(&self) -> Protocol {
        self.forward.as_ref().map_or(Protocol::V1, Forward::protocol)
    }

    /// Reads what the recent store is to keep of a request once the store has taken it; `None` where there is none.
    pub fn stage<'m>(&self, cluster: &str, series: impl ExactSizeIterator<Item = EncodedSeries<'m>>) -> Option<Staged> {
        self.recent_store.as_ref().map(|store| store.stage(cluster, series))
    }
}

/// What is to be delivered: a `WriteRequest`.
pub struct Write {
    /// Its bytes.
    pub message: WriteMessage,
    /// How many series it holds.
    pub series: usize,
    /// What was seen of it.
    pub seen: ObservedReport,
    /// What the recent store is to keep of it.
    pub staged: Option<Staged>,
}

/// Rooms that requests work in, one after the other; and the budget of it all.
pub struct Workspaces {
    budget: MemoryBudget,
    idle: Mutex<IdleWorkspaces>,
    buffers: BufferPool,
    readers: Readers,
    large: LargeRequests,
}

/// Rooms that nobody works in, each with what it holds.
#[derive(Default)]
struct IdleWorkspaces {
    rooms: Vec<(Workspace, Reservation)>,
    bytes: usize,
}

impl IdleWorkspaces {
    fn take(&mut self) -> Option<(Workspace, Reservation)> {
        let (room, held) = self.rooms.pop()?;
        self.bytes -= held.bytes();
        Some((room, held))
    }

    fn keep(&mut self, room: Workspace, held: Reservation) {
        let bytes = self.bytes + held.bytes();
        if self.rooms.len() < KEPT_WORKSPACES && bytes <= KEPT_WORKSPACE_BYTES {
            self.rooms.push((room, held));
            self.bytes = bytes;
        }
    }

    fn clear(&mut self) {
        self.rooms.clear();
        self.bytes = 0;
    }
}

/// The room of one request.
#[derive(Default)]
pub struct Workspace {
    /// Text and labels.
    pub arena: Arena,
    /// The body, decompressed. It is overwritten, not cleared: clearing costs as much as filling.
    pub plain: Vec<u8>,
    /// To find doubled series in.
    pub newest: Newest,
    /// What goes on, until it is compressed.
    pub encoded: Vec<u8>,
    /// Where its series stand, for the recent store.
    pub layout: Layout,
    /// Compresses it.
    pub encoder: snappy::Encoder,
    /// What goes on, where it is of 2.0.
    pub request: RequestBuilder,
}

impl Workspace {
    fn held_bytes(&self) -> usize {
        self.arena.held_bytes()
            + self.plain.capacity()
            + self.newest.held_bytes()
            + self.encoded.capacity()
            + self.layout.held_bytes()
            + self.encoder.held_bytes()
            + self.request.held_bytes()
    }
}

impl Default for Workspaces {
    fn default() -> Self {
        Self::new(MemoryBudget::unlimited())
    }
}

impl Workspaces {
    /// Within a budget.
    #[must_use]
    pub fn new(budget: MemoryBudget) -> Self {
        let max_kept_bytes = MAX_KEPT_BYTES.min(budget.capacity_bytes(MemoryShare::Bodies) / KEPT_BUFFER_PART);
        let buffers = BufferPool::new(2 * KEPT_WORKSPACES, max_kept_bytes);
        let readers = Readers::new(budget.clone(), buffers.clone());
        let large = LargeRequests::of(&budget);
        Self { budget, idle: Mutex::default(), buffers, readers, large }
    }

    /// Works in an idle room, or in a new one, on a body of `cluster` that has `plain_bytes` when decompressed. A large one
    /// waits for its turn.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where there is no memory for it, or its turn did not come.
    pub async fn with<T>(
        &self,
        cluster: &str,
        plain_bytes: usize,
        work: impl FnOnce(&mut Workspace) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let bytes = work_bytes(plain_bytes);
        if bytes <= self.large.above_bytes {
            return self.work(bytes, work);
        }
        let _turn = self.large.turn(cluster, bytes).await.ok_or(Error::Overloaded)?;
        self.work(bytes.min(self.large.together_bytes), work)
    }

    fn work<T>(&self, bytes: usize, work: impl FnOnce(&mut Workspace) -> Result<T, Error>) -> Result<T, Error> {
        let taken = self.idle.lock().take();
        let (mut workspace, mut held) = match taken {
            Some((workspace, held)) => (workspace, Some(held)),
            None => (Workspace::default(), None),
        };
        let more = bytes.saturating_sub(held.as_ref().map_or(0, Reservation::bytes));
        let mut working = self.budget.try_reserve(MemoryShare::Workspaces, more);
        if working.is_none() {
            // What idle rooms hold is there for others.
            self.idle.lock().clear();
            (workspace, held) = (Workspace::default(), None);
            working = self.budget.try_reserve(MemoryShare::Workspaces, bytes);
        }
        let working = working.ok_or(Error::Overloaded)?;
        let result = work(&mut workspace);
        workspace.arena.reset();
        drop((working, held));
        let bytes = workspace.held_bytes();
        if bytes <= self.large.together_bytes
            && let Some(held) = self.budget.try_reserve(MemoryShare::Workspaces, bytes)
        {
            self.idle.lock().keep(workspace, held);
        }
        result
    }

    /// Compresses what is to be delivered.
    #[must_use]
    pub fn compress(&self, encoder: &mut snappy::Encoder, encoded: &[u8]) -> WriteMessage {
        let mut block = self.buffers.take();
        encoder.block(encoded, &mut block);
        WriteMessage::V1 { block: block.freeze(), plain_bytes: encoded.len() }
    }
}

/// What a request holds while it is worked on.
fn work_bytes(plain_bytes: usize) -> usize {
    plain_bytes.saturating_mul(WORK_FACTOR).max(MIN_WORK_BYTES)
}

/// Where a request comes from. One that came over no connection of ours counts as from the address `::`.
#[must_use]
pub fn asker(request: &Request) -> QuestionOrigin {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    QuestionOrigin { peer: peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) }
}

/// How much one request may hold.
#[must_use]
pub fn limits() -> DecodeLimits {
    DecodeLimits::default()
}

/// The one value of a header, as text.
///
/// # Errors
/// [`Error::Unsupported`] where it stands twice or is no text.
pub fn single<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::Unsupported("a Content-Type or Content-Encoding header stands twice"));
    }
    first
        .map(|value| value.to_str().map_err(|_| Error::Unsupported("a Content-Type or Content-Encoding is no text")))
        .transpose()
}

#[cfg(test)]
mod tests;
