//! The program: a listener beside the loop, and what reloads and ends both.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
};
use http::header;
use prometheus_client::registry::Registry;
use telemeter_http::{
    clock::Clock,
    internal::{Access, Health, Internal},
    listen::{self, ListenLimits, Listener},
    metrics::Exposition,
    service_manager::{self, ServiceProgress},
    signals::Signals,
};
use telemeter_wire::exposition::TEXT_CONTENT_TYPE;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::{
    config::Config,
    cycles::{self, Handover, Listeners, Observer},
    metrics::Metrics,
    page,
    pipeline::Packed,
    schedule::Schedule,
    worker::{SetupError, Worker, WorkerContext},
};

/// How long the listener may take to finish what is in flight; with the rest, a SIGTERM takes under a second.
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
    /// The reload panicked; the log has the place.
    #[error("the reload broke off; see the log")]
    BrokeOff,
}

/// Runs the client until SIGTERM or SIGINT; reloads on SIGHUP.
///
/// # Errors
/// [`ClientStartError`]; once it runs, nothing but a signal ends it.
pub async fn run(config: Config) -> Result<(), ClientStartError> {
    let signals = Signals::catch().map_err(ClientStartError::Signals)?;
    let client = BoundClient::bind(config, Clock::system()).await?;
    let reloader = client.reloader();
    let shutdown = signals.until_stopped(async move || reloader.reload().await);
    service_manager::notify(ServiceProgress::Ready);
    client.serve(shutdown).await;
    Ok(())
}

/// A client that is set up and bound, and does nothing yet.
pub struct BoundClient {
    worker: Worker,
    schedule: Schedule,
    listener: Option<Listener>,
    registry: Registry,
    observer: Option<Observer>,
    reloader: Reloader,
}

/// Builds a new worker from the configuration that the client was started with: its files are read again. Cheap to
/// clone.
#[derive(Clone)]
pub struct Reloader {
    config: Arc<Config>,
    around: WorkerContext,
    handover: Arc<Handover<Worker>>,
    access: Access,
}

impl Reloader {
    /// Swaps a new worker in. It takes over between two cycles: at once after a failure, else with the next one.
    ///
    /// # Errors
    /// [`ReloadError`]; the old worker then goes on.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (config, around, access) = (self.config.clone(), self.around.clone(), self.access.clone());
        // On a thread of its own: the client's one other thread answers its listener.
        let read = move || {
            let token = access.read().map_err(ReloadError::Access)?;
            Ok::<_, ReloadError>((token, Worker::within(&config, around)?))
        };
        let (token, worker) = tokio::task::spawn_blocking(read).await.map_err(|_| ReloadError::BrokeOff)??;
        self.handover.leave(worker);
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
        let around = WorkerContext { clock, metrics: Metrics::register(&mut registry), ..WorkerContext::default() };
        let worker = Worker::within(&config, around.clone())?;
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
        let reloader = Reloader { config: Arc::new(config), around, handover: Arc::default(), access };
        Ok(Self { worker, schedule, listener, registry, observer: None, reloader })
    }

    /// Shows `observer` how each cycle ends.
    #[must_use]
    pub fn observe(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Runs the first cycle at once, where else a fleet spreads its starts.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { schedule: self.schedule.at_once(), ..self }
    }

    /// Where it listens; `None` where it does not.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// What reloads it while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Scrapes and uploads until `shutdown`, and then ends within a second, also in the middle of a request.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { worker, schedule, listener, registry, observer, reloader } = self;
        let listening = listener.map(|listener| {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "listening");
            }
            Listening::start(listener, internal(&reloader, registry))
        });
        // Not in this future: of a runtime's first one, each waking is written to a file descriptor and read again.
        let mut looping = JoinSet::new();
        let (status, clock) = (reloader.around.status.clone(), reloader.around.clock.clone());
        let listeners = Listeners { observer, status, clock };
        looping.spawn(cycles::run(worker, schedule, reloader.handover.clone(), listeners));
        tokio::select! {
            Some(ended) = looping.join_next() => match ended {
                Ok(never) => match never {},
                // It is not aborted before the line below: it panicked.
                Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            },
            () = shutdown => {}
        }
        looping.shutdown().await;
        tracing::info!("ending");
        if let Some(listening) = listening {
            listening.end().await;
        }
    }
}

/// The routes of the client's listener.
fn internal(reloader: &Reloader, registry: Registry) -> Internal {
    let last = reloader.around.last.clone();
    let federate = get(move || {
        let answer = federate(last.load_full());
        async move { answer }
    });
    let (access, reloader) = (reloader.access.clone(), reloader.clone());
    let internal = Internal::new(&Health::new(), Exposition::new(registry)).access(access);
    let (config, around) = (reloader.config.clone(), reloader.around.clone());
    let internal = internal.route("/federate", federate).reload(move || {
        let reloader = reloader.clone();
        async move { reloader.reload().await.map_err(|error| error.to_string()) }
    });
    page::attach(internal, config, around)
}

/// `GET /federate`: the metrics of the last upload, in the text format, slice by slice.
fn federate(last: Option<Arc<Packed>>) -> Response {
    let slices = last.map(|packed| packed.text()).into_iter().flatten();
    let body = Body::from_stream(futures_util::stream::iter(slices));
    ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], body).into_response()
}

/// A listener at work; its end is in its own hands, or comes with its drop.
pub struct Listening {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Listening {
    fn start(listener: Listener, routes: Internal) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let limits = ListenLimits { drain_timeout: DRAIN, connections: 100, ..ListenLimits::default() };
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(listen::serve(listener, routes.router(), limits, shutdown));
        Self { stop: Some(stop), task }
    }

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

/// Serves `registry` and health on `address`, until what comes back is dropped.
///
/// # Errors
/// The address cannot be listened on.
pub async fn metrics_only(address: &str, registry: Registry) -> std::io::Result<Listening> {
    let listener = listen::bind(address).await?;
    let access = Access::new(&listener, &[], None).map_err(std::io::Error::other)?;
    Ok(Listening::start(listener, Internal::new(&Health::new(), Exposition::new(registry)).access(access)))
}
