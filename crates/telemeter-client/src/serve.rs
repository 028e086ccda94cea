//! The client as a program: its listener, the loop of cycles, reloads and the shutdown.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, header};
use prometheus_client::registry::Registry;
use telemeter_http::{
    clock::Clock,
    internal::{Access, Health, InternalRouter},
    listen::{self, ListenLimits, Listener},
    metrics::Exposition,
    service_manager::{self, ServiceProgress},
    signals::Signals,
};
use telemeter_wire::exposition::{Escaping, TEXT_CONTENT_TYPE};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::{
    config::Config,
    cycles::{self, CycleReporting, Handover, Observer},
    metrics::Metrics,
    outcome::SetupError,
    page,
    pipeline::Packed,
    schedule::Schedule,
    worker::{Worker, WorkerContext},
};

/// How long the listener waits for requests in flight at the end: the client ends within a second of SIGTERM.
const DRAIN: Duration = Duration::from_millis(300);

/// Why the client did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClientStartError {
    /// A file that the configuration names is missing or wrong.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// `--listen`.
    #[error("--listen: {0}")]
    Listen(std::io::Error),
    /// `--internal-token-file`.
    #[error("{0}")]
    Access(String),
    /// The system gives no signals.
    #[error("signals cannot be listened for: {0}")]
    Signals(std::io::Error),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file that the configuration names is missing or wrong.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// `--internal-token-file` cannot be read.
    #[error("{0}")]
    Access(String),
    /// The reload panicked; the log says where.
    #[error("the reload broke off; see the log")]
    BrokeOff,
}

/// Runs the client until SIGTERM or SIGINT; reloads on SIGHUP.
///
/// # Errors
/// [`ClientStartError`] at the start. Afterwards only a signal ends the client.
pub async fn run(config: Config) -> Result<(), ClientStartError> {
    let signals = Signals::catch().map_err(ClientStartError::Signals)?;
    let client = BoundClient::bind(config, Clock::system()).await?;
    let reloader = client.reloader();
    let shutdown = signals.until_stopped(async move || reloader.reload().await);
    service_manager::notify(ServiceProgress::Ready);
    client.serve(shutdown).await;
    Ok(())
}

/// A client whose files are read and whose listener is bound; [`BoundClient::serve`] starts it.
pub struct BoundClient {
    worker: Worker,
    schedule: Schedule,
    listener: Option<Listener>,
    registry: Registry,
    observer: Option<Observer>,
    reloader: Reloader,
}

/// Reloads the client: reads the files of its configuration again and makes a new worker from them. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    config: Arc<Config>,
    context: WorkerContext,
    handover: Arc<Handover<Worker>>,
    access: Access,
}

impl Reloader {
    /// Replaces the worker between two cycles. After a failed cycle the new worker runs at once, else when the next cycle
    /// is due.
    ///
    /// # Errors
    /// [`ReloadError`]; the old worker then continues.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (config, context, access) = (self.config.clone(), self.context.clone(), self.access.clone());
        // On a thread of its own: the runtime's only thread serves the listener.
        let read = move || {
            let token = access.read().map_err(ReloadError::Access)?;
            Ok::<_, ReloadError>((token, Worker::with_context(&config, context)?))
        };
        let (token, worker) = tokio::task::spawn_blocking(read).await.map_err(|_| ReloadError::BrokeOff)??;
        self.handover.hand_over(worker);
        token.store();
        Ok(())
    }
}

impl BoundClient {
    /// Reads the files that `config` names, and binds its listener.
    ///
    /// # Errors
    /// [`ClientStartError::Setup`] and [`ClientStartError::Listen`].
    pub async fn bind(config: Config, clock: Clock) -> Result<Self, ClientStartError> {
        let mut registry = Registry::default();
        config.dropped_log_lines.register(&mut registry);
        telemeter_http::metrics::register_build_info(&mut registry, env!("CARGO_PKG_VERSION"), config.revision);
        let context = WorkerContext { clock, metrics: Metrics::register(&mut registry), ..WorkerContext::default() };
        let worker = Worker::with_context(&config, context.clone())?;
        let listener = match &config.listen {
            Some(address) => Some(listen::bind(address).await.map_err(ClientStartError::Listen)?),
            None => None,
        };
        let access = match &listener {
            Some(listener) => {
                let token_file = config.internal_token_file.clone();
                Access::new(listener, &config.internal_allowed_hosts, token_file).map_err(ClientStartError::Access)?
            }
            None => Access::default(),
        };
        let schedule = Schedule::new(config.interval, &config.id);
        let reloader = Reloader { config: Arc::new(config), context, handover: Arc::default(), access };
        Ok(Self { worker, schedule, listener, registry, observer: None, reloader })
    }

    /// Calls `observer` with the outcome of each cycle, which is then not logged.
    #[must_use]
    pub fn observe(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Runs the first cycle without the wait that spreads the starts of a fleet.
    #[must_use]
    pub fn start_immediately(self) -> Self {
        Self { schedule: self.schedule.start_immediately(), ..self }
    }

    /// The address of its listener; `None` without `--listen`.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// A handle that reloads the client while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Scrapes and uploads until `shutdown` completes; then it ends within a second, also in the middle of a request.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { worker, schedule, listener, registry, observer, reloader } = self;
        let listening = listener.map(|listener| {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "listening");
            }
            Listening::start(listener, internal(&reloader, registry))
        });
        // A task of its own: each wake-up of the future of `block_on` costs a write and a read of a file descriptor.
        let mut cycle_task = JoinSet::new();
        let (status, clock) = (reloader.context.status.clone(), reloader.context.clock.clone());
        let reporting = CycleReporting { observer, status, clock };
        cycle_task.spawn(cycles::run(worker, schedule, reloader.handover.clone(), reporting));
        tokio::select! {
            Some(ended) = cycle_task.join_next() => match ended {
                Ok(never) => match never {},
                // The task was not aborted yet, so it panicked.
                Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            },
            () = shutdown => {}
        }
        cycle_task.shutdown().await;
        tracing::info!("ending");
        if let Some(listening) = listening {
            listening.end().await;
        }
    }
}

/// The routes of the client's listener: health, metrics, profiles, the reload, the page at `/`, and `/federate` with the series of
/// the last upload.
fn internal(reloader: &Reloader, registry: Registry) -> InternalRouter {
    let last = reloader.context.last.clone();
    let federate = get(move |headers: HeaderMap| {
        let answer = federate(last.load_full(), &headers);
        async move { answer }
    });
    let (access, reloader) = (reloader.access.clone(), reloader.clone());
    let internal = InternalRouter::new(&Health::new(), Exposition::new(registry)).access(access);
    let (config, context) = (reloader.config.clone(), reloader.context.clone());
    let internal = internal.route("/federate", federate).reload(move || {
        let reloader = reloader.clone();
        async move { reloader.reload().await.map_err(|error| error.to_string()) }
    });
    page::attach(internal, config, context)
}

/// `GET /federate`: the series of the last upload in the text format, slice by slice; names are escaped as `escaping=` of the
/// request's `Accept` asks.
fn federate(last: Option<Arc<Packed>>, request: &HeaderMap) -> Response {
    let accept: Vec<_> = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let escaping = Escaping::accepted(&accept.join(","));
    let slices = last.map(|packed| packed.text(escaping)).into_iter().flatten();
    let body = Body::from_stream(futures_util::stream::iter(slices));
    let content_type = format!("{TEXT_CONTENT_TYPE}; escaping={}", escaping.as_str());
    ([(header::CONTENT_TYPE, content_type.as_str()), (header::VARY, "accept")], body).into_response()
}

/// A listener that serves in a task, which ends when this is dropped.
pub struct Listening {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Serves `routes` on the listener in a new task, until the returned value is dropped or [`Listening::end`] is
    /// called.
    fn start(listener: Listener, routes: InternalRouter) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let limits = ListenLimits { drain_timeout: DRAIN, connections: 100, ..ListenLimits::default() };
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(listen::serve(listener, routes.router(), limits, shutdown));
        Self { stop: Some(stop), task }
    }

    /// Stops the listener; open requests get time to end, at most twice [`DRAIN`].
    async fn end(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = tokio::time::timeout(2 * DRAIN, &mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `/metrics` with `registry`, and health, on `address` until the returned listener is dropped.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_metrics(address: &str, registry: Registry) -> std::io::Result<Listening> {
    let listener = listen::bind(address).await?;
    let access = Access::new(&listener, &[], None).map_err(std::io::Error::other)?;
    Ok(Listening::start(listener, InternalRouter::new(&Health::new(), Exposition::new(registry)).access(access)))
}
