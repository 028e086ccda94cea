//! `telemeter quickstart`: runs an authority, a server, a client and, where there is one, a store.
//!
//! The parts start from the store to the client, so that each finds the part that it sends to; they end from the client to
//! the store, so that what the client has sent is stored.

mod address;
mod builtin_prometheus;
mod demo_fleet;
pub(crate) mod guard;
mod guide;
mod identity;
mod lock;
mod store;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use telemeter_auth::authority::mock;
use telemeter_client::{
    BoundClient,
    config::{AnonymizeSettings, Credential, SourceSettings, TargetSettings},
};
use telemeter_http::{client::bare_url, clock::Clock, date, listen, signals::Signals};
use telemeter_server::{
    RunningServer,
    config::{AuthoritySettings, AuthorizationMode, FleetLabel, ForwardSettings, RecentStoreSettings},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use url::Url;

use self::{
    address::ListenAddress, builtin_prometheus::ScrapedProgram, demo_fleet::DemoFleet, guide::Guide,
    identity::IdentityDir, store::Prometheus,
};
use crate::{
    failure::RunFailure,
    flags::quickstart::{
        LISTEN, LISTEN_AUTHORITY, LISTEN_CLIENT, LISTEN_INTERNAL, QuickstartConfig, QuickstartStore as StoreConfig,
    },
};

/// How long the recent store keeps a sample.
const KEEP: Duration = Duration::from_secs(2 * 60 * 60);
/// Cap on the recent store's memory.
const KEEP_BYTES: usize = 256 << 20;
/// Cap on a scrape and on an upload; all metrics of a local Prometheus fit.
const LIMIT_BYTES: usize = 32 << 20;
/// How long requests in flight may take at the end: at the authority and the built-in Prometheus, and at the server.
const DRAIN: Duration = Duration::from_secs(2);
const SERVER_DRAIN: Duration = Duration::from_secs(5);

/// Runs until SIGTERM, SIGINT, SIGHUP or SIGQUIT. Only the files in `data_dir` stay.
///
/// # Errors
/// A part that does not start.
pub async fn run(config: QuickstartConfig) -> Result<(), RunFailure> {
    let stop = stop_signal()?;
    let identity = IdentityDir::open(config.data_dir.as_deref())?;
    let result = with_store(&config, &identity, stop).await;
    let path = identity.path().to_owned();
    if let Err(error) = identity.close() {
        tracing::warn!(%error, path = %path.display(), "not removed");
    }
    result
}

/// Runs the parts, and stops a prometheus that was started, also after an error. Where this process is killed, its guard
/// stops it.
async fn with_store(config: &QuickstartConfig, identity: &IdentityDir, mut stop: StopSignal) -> Result<(), RunFailure> {
    let mut notes = Vec::new();
    let mut stop_early = stop.clone();
    let mut prometheus = tokio::select! {
        started = start_prometheus(config, identity, &mut notes) => started?,
        () = stop_early.received() => return Ok(()),
    };
    let result = run_parts(config, identity, prometheus.as_mut(), notes, &mut stop).await;
    if let Some(prometheus) = prometheus {
        prometheus.stop().await;
    }
    result
}

/// The store, where the configuration or the PATH names one. What the user should know is added to `notes`.
async fn start_prometheus(
    config: &QuickstartConfig,
    identity: &IdentityDir,
    notes: &mut Vec<String>,
) -> Result<Option<Prometheus>, RunFailure> {
    let (program, is_required): (PathBuf, bool) = match &config.store {
        StoreConfig::Prometheus(program) => (program.clone(), true),
        StoreConfig::PrometheusOnPath => match store::on_path() {
            Some(program) => (program, false),
            None => return Ok(None),
        },
        StoreConfig::Url(_) | StoreConfig::None => return Ok(None),
    };
    store::wait_for_leftover(identity.path()).await?;
    let scraped = config.from.as_ref().and_then(|source| store::own_port(&source.url));
    match Prometheus::start(&program, identity.path(), scraped).await {
        Ok(prometheus) => {
            if prometheus.url.port() != Some(store::PORT) {
                notes.push(format!("localhost:{} is taken: the store is on a free port in its place.", store::PORT));
            }
            Ok(Some(prometheus))
        }
        Err(error) if is_required => Err(format!("--prometheus: {error}").into()),
        Err(error) => {
            notes.push(format!("{} is no store for this: {error}", program.display()));
            Ok(None)
        }
    }
}

/// Runs authority, server and client until the signal to stop.
async fn run_parts(
    config: &QuickstartConfig,
    identity: &IdentityDir,
    prometheus: Option<&mut Prometheus>,
    mut notes: Vec<String>,
    stop: &mut StopSignal,
) -> Result<(), RunFailure> {
    let clock = Clock::system();
    let authority_address = address::find("--listen-authority", &config.listen_authority, LISTEN_AUTHORITY).await?;
    let external_address = address::find("--listen", &config.listen, LISTEN).await?;
    let internal_address = address::find("--listen-internal", &config.listen_internal, LISTEN_INTERNAL).await?;
    let client_address = address::find("--listen-client", &config.listen_client, LISTEN_CLIENT).await?;
    let addresses = [&authority_address, &external_address, &internal_address, &client_address];
    notes.extend(addresses.iter().filter_map(|address| address.note.clone()));
    let mut listeners = QuickstartListeners::default();

    let (listener, authority) = address::bind(&authority_address).await?;
    let fleet = DemoFleet::new(config.clusters, &identity.token);
    listeners.serve(listener, mock::router(fleet.tokens().chain([identity.token.clone()])));

    let forward = match (&config.store, &prometheus) {
        (StoreConfig::Url(url), _) => Some(url.clone()),
        (_, Some(prometheus)) => Some(prometheus.write_url()),
        _ => None,
    };
    let server =
        start_server(config, identity, &authority, forward, [&external_address, &internal_address], &clock).await?;
    let external = address::authority(&external_address.address, server.external());
    let internal = address::authority(&internal_address.address, server.internal());

    let builtin_prometheus = listen::bind("localhost:0").await?;
    let from = match &config.from {
        Some(source) => source.clone(),
        None => SourceSettings::new(Url::parse(&format!("http://{}/federate", builtin_prometheus.local_addr()?))?),
    };
    let client = bind_client(config, identity, from, &external, &client_address, &clock).await?;
    let bound = client.local_addr().ok_or("the client has no listener")?;
    let client_at = address::authority(&client_address.address, bound);
    if config.from.is_none() {
        let programs = [("telemeter-client", &client_at), ("telemeter-server", &internal)];
        let programs = programs.map(|(job, instance)| {
            let metrics = Url::parse(&format!("http://{instance}/metrics"))?;
            Ok::<_, url::ParseError>(ScrapedProgram { job: job.to_owned(), instance: instance.clone(), metrics })
        });
        let programs = programs.into_iter().collect::<Result<_, _>>()?;
        listeners.serve(builtin_prometheus, builtin_prometheus::router(programs, clock.clone())?);
    }

    let guide = Guide {
        cluster: identity.cluster.clone(),
        token: identity.token.expose().to_owned(),
        composite_token: identity.composite_token(),
        authority,
        external,
        internal,
        client: client_at,
        from: config
            .from
            .as_ref()
            .map_or_else(|| "its own metrics and the server's".to_owned(), |from| bare_url(&from.url)),
        interval: config.interval,
        clusters: config.clusters,
        store: describe_store(config, prometheus.as_deref()),
        data: identity.is_kept().then(|| identity.path().display().to_string()),
        notes,
    };
    print(&guide.to_string());
    let (store, now) = (describe_store(config, prometheus.as_deref()), clock.clone());
    let client = client.start_immediately().observe(Arc::new(move |outcome| {
        print(&format!("{}  {}\n", date::time_of_day(now.now_ms()), guide::cycle(outcome, &store)));
    }));
    let fleet = fleet.start(&guide.external, config.interval, &clock)?;
    client.serve(wait_for_stop(stop, prometheus, &clock)).await;
    drop(fleet);

    print("\nending\n");
    if timeout(SERVER_DRAIN, server.stop()).await.is_err() {
        tracing::warn!("requests were cut off");
    }
    listeners.stop().await;
    Ok(())
}

/// Labels that the server keeps of each cluster, from metrics that OpenShift's clusters send.
const FLEET_LABELS: [&str; 2] =
    [r#"version=cluster_version{type="current"}/version"#, "provider=cluster_infrastructure_provider/type"];

/// How often the server writes its own series about clusters to the store.
const FLEET_METRICS: std::time::Duration = std::time::Duration::from_secs(30);

/// Starts the quickstart's telemeter-server on the two addresses, with the authority at `authority` (`host:port`). It
/// has no rate limit, keeps recent samples in memory and, with `forward`, also sends them to that URL.
async fn start_server(
    config: &QuickstartConfig,
    identity: &IdentityDir,
    authority: &str,
    forward: Option<Url>,
    [external, internal]: [&ListenAddress; 2],
    clock: &Clock,
) -> Result<RunningServer, RunFailure> {
    let url = Url::parse(&format!("http://{authority}/"))?;
    let authorization = AuthorizationMode::Authority(AuthoritySettings { url, stale: Duration::from_secs(60 * 60) });
    let mut settings = telemeter_server::Config::new(authorization);
    settings.listen.clone_from(&external.address);
    settings.listen_internal.clone_from(&internal.address);
    settings.shared_keys = vec![identity.key_file.clone()];
    // The client uploads every few seconds.
    settings.ratelimit = None;
    settings.fleet.labels = FLEET_LABELS.iter().map(|label| FleetLabel::parse(label)).collect::<Result<_, _>>()?;
    settings.fleet.metrics = forward.is_some().then_some(FLEET_METRICS);
    settings.forward = forward.map(ForwardSettings::new);
    settings.recent_store = Some(RecentStoreSettings { keep: KEEP, max_bytes: KEEP_BYTES });
    settings.limit_bytes = LIMIT_BYTES;
    settings.verbose = config.verbose;
    Ok(RunningServer::start(settings, clock.clone()).await?)
}

/// Sets up the quickstart's telemeter-client, which listens on `address`, scrapes `from` and uploads to `server`
/// (`host:port`). It does not begin to scrape yet.
async fn bind_client(
    config: &QuickstartConfig,
    identity: &IdentityDir,
    from: SourceSettings,
    server: &str,
    address: &ListenAddress,
    clock: &Clock,
) -> Result<BoundClient, RunFailure> {
    let mut authorize = Url::parse(&format!("http://{server}/authorize"))?;
    authorize.query_pairs_mut().append_pair("id", &identity.cluster);
    let upload = Url::parse(&format!("http://{server}/upload"))?;
    let to = TargetSettings {
        authorize,
        upload,
        receive: None,
        ca_file: None,
        token: Credential::Value(identity.token.clone()),
    };
    let mut settings = telemeter_client::Config::new(from, to, identity.cluster.clone());
    settings.listen = Some(address.address.clone());
    settings.interval = config.interval;
    settings.limit_bytes = LIMIT_BYTES;
    settings.matches.clone_from(&config.matches);
    settings.match_file.clone_from(&config.match_file);
    settings.labels.clone_from(&config.labels);
    settings.renames.clone_from(&config.renames);
    settings.anonymize = (!config.anonymize_labels.is_empty()).then(|| AnonymizeSettings {
        labels: config.anonymize_labels.clone(),
        salt: Credential::Value(identity.salt.clone()),
    });
    settings.leave_out_unrequested = true;
    settings.verbose = config.verbose;
    Ok(BoundClient::bind(settings, clock.clone()).await?)
}

/// Completes at the signal to stop. Prints a line where the store ends before.
async fn wait_for_stop(stop: &mut StopSignal, prometheus: Option<&mut Prometheus>, clock: &Clock) {
    let stopped = stop.received();
    let Some(prometheus) = prometheus else { return stopped.await };
    let log = prometheus.log.display().to_string();
    tokio::pin!(stopped);
    tokio::select! {
        () = &mut stopped => {}
        () = prometheus.gone() => {
            let now = date::time_of_day(clock.now_ms());
            print(&format!("{now}  the store has ended by itself, see {log}; the pages go on. Start again to have it back.\n"));
            stopped.await;
        }
    }
}

/// The store as the guide describes it.
fn describe_store(config: &QuickstartConfig, prometheus: Option<&Prometheus>) -> guide::GuideStore {
    match (&config.store, prometheus) {
        (StoreConfig::Url(url), _) => guide::GuideStore::Given(bare_url(url)),
        (_, Some(prometheus)) => guide::GuideStore::Prometheus {
            url: prometheus.url.to_string(),
            program: prometheus.program.display().to_string(),
            log: prometheus.log.display().to_string(),
        },
        _ => guide::GuideStore::Memory,
    }
}

/// Prints to stdout at once. Nothing can be done about a closed stdout.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The listeners of the authority and of the built-in Prometheus.
struct QuickstartListeners {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Default for QuickstartListeners {
    fn default() -> Self {
        Self { stop: watch::Sender::new(false), tasks: JoinSet::new() }
    }
}

impl QuickstartListeners {
    /// Serves `router` on the listener in a new task, until [`QuickstartListeners::stop`] is called.
    fn serve(&mut self, listener: listen::Listener, router: axum::Router) {
        let mut stop = self.stop.subscribe();
        let limits = listen::ListenLimits { drain_timeout: DRAIN, connections: 100, ..listen::ListenLimits::default() };
        self.tasks.spawn(listen::serve(listener, router, limits, async move {
            let _ = stop.wait_for(|stop| *stop).await;
        }));
    }

    /// Tells all listeners to stop, and waits until they have.
    async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The signal to stop. Cheap to clone.
#[derive(Clone)]
struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Completes as soon as the quickstart is told to stop; at once where it was told before.
    async fn received(&mut self) {
        // An error means that the task that sends it has ended, after sending.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// The signals that stop the quickstart. A closed terminal (SIGHUP) is one, because nothing else would stop it then.
fn stop_signal() -> io::Result<StopSignal> {
    let mut signals = Signals::catch_including_quit()?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        signals.any().await;
        let _ = sender.send(true);
    });
    Ok(StopSignal(receiver))
}
