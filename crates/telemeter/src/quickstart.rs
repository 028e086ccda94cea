//! One command that shows everything at work: authority, server, client and, where there is one, a store.
//!
//! Started from the back to the front, so that what is written to is there; ended from the front to the back, so that
//! what is under way is stored.

mod demo_fleet;
pub(crate) mod guard;
mod guide;
mod home;
mod lock;
mod place;
mod stand_in;
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
use telemeter_http::{client::bare_url, clock::Clock, listen, signals::Signals};
use telemeter_server::{
    RunningServer,
    config::{AuthoritySettings, AuthorizationMode, FleetLabel, ForwardSettings, RecentStoreSettings},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use url::Url;

use self::{
    demo_fleet::DemoFleet, guide::Guide, home::IdentityDir, place::ListenAddress, stand_in::ScrapedProgram,
    store::Prometheus,
};
use crate::{
    flags::quickstart::{
        LISTEN, LISTEN_AUTHORITY, LISTEN_CLIENT, LISTEN_INTERNAL, QuickstartConfig, QuickstartStore as StoreConfig,
    },
    run::RunFailure,
};

/// How long the recent store keeps a sample.
const KEEP: Duration = Duration::from_secs(2 * 60 * 60);
/// Cap on the recent store's memory.
const KEEP_BYTES: usize = 256 << 20;
/// Cap on a scrape and on an upload: a whole Prometheus of one's own machine fits.
const LIMIT_BYTES: usize = 32 << 20;
/// What is under way at the end has so long: at the small listeners, and at the server.
const DRAIN: Duration = Duration::from_secs(2);
const END: Duration = Duration::from_secs(5);

/// Runs until SIGTERM, SIGINT or SIGHUP, and leaves nothing behind but what `data_dir` keeps.
///
/// # Errors
/// Why a part does not start.
pub async fn run(config: QuickstartConfig) -> Result<(), RunFailure> {
    let stop = stopped()?;
    let home = IdentityDir::open(config.data_dir.as_deref())?;
    let ran = with_store(&config, &home, stop).await;
    let path = home.path().to_owned();
    if let Err(error) = home.close() {
        tracing::warn!(%error, path = %path.display(), "not removed");
    }
    ran
}

/// Whatever becomes of the rest: a prometheus that was started is stopped. Where this process is killed, its guard does it.
async fn with_store(config: &QuickstartConfig, home: &IdentityDir, mut stop: Stop) -> Result<(), RunFailure> {
    let mut notes = Vec::new();
    let mut early = stop.clone();
    let mut prometheus = tokio::select! {
        started = prometheus(config, home, &mut notes) => started?,
        () = early.come() => return Ok(()),
    };
    let ran = flow(config, home, prometheus.as_mut(), notes, &mut stop).await;
    if let Some(prometheus) = prometheus {
        prometheus.stop().await;
    }
    ran
}

async fn prometheus(
    config: &QuickstartConfig,
    home: &IdentityDir,
    notes: &mut Vec<String>,
) -> Result<Option<Prometheus>, RunFailure> {
    let (program, asked): (PathBuf, bool) = match &config.store {
        StoreConfig::Prometheus(program) => (program.clone(), true),
        StoreConfig::PrometheusOnPath => match store::on_path() {
            Some(program) => (program, false),
            None => return Ok(None),
        },
        StoreConfig::Url(_) | StoreConfig::None => return Ok(None),
    };
    store::wait_for_leftover(home.path()).await?;
    let scraped = config.from.as_ref().and_then(|source| store::own_port(&source.url));
    match Prometheus::start(&program, home.path(), scraped).await {
        Ok(prometheus) => {
            if prometheus.url.port() != Some(store::PORT) {
                notes.push(format!("localhost:{} is taken: the store is on a free port in its place.", store::PORT));
            }
            Ok(Some(prometheus))
        }
        Err(error) if asked => Err(format!("--prometheus: {error}").into()),
        Err(error) => {
            notes.push(format!("{} is no store for this: {error}", program.display()));
            Ok(None)
        }
    }
}

/// Authority, server and client, until the end.
async fn flow(
    config: &QuickstartConfig,
    home: &IdentityDir,
    prometheus: Option<&mut Prometheus>,
    mut notes: Vec<String>,
    stop: &mut Stop,
) -> Result<(), RunFailure> {
    let clock = Clock::system();
    let authority_place = place::find("--listen-authority", &config.listen_authority, LISTEN_AUTHORITY).await?;
    let external_place = place::find("--listen", &config.listen, LISTEN).await?;
    let internal_place = place::find("--listen-internal", &config.listen_internal, LISTEN_INTERNAL).await?;
    let client_place = place::find("--listen-client", &config.listen_client, LISTEN_CLIENT).await?;
    let places = [&authority_place, &external_place, &internal_place, &client_place];
    notes.extend(places.iter().filter_map(|place| place.note.clone()));
    let mut beside = QuickstartListeners::default();

    let (listener, authority) = place::bind(&authority_place).await?;
    let fleet = DemoFleet::new(config.clusters, &home.token);
    beside.serve(listener, mock::router(fleet.tokens().chain([home.token.clone()])));

    let forward = match (&config.store, &prometheus) {
        (StoreConfig::Url(url), _) => Some(url.clone()),
        (_, Some(prometheus)) => Some(prometheus.write_url()),
        _ => None,
    };
    let server = server(config, home, &authority, forward, [&external_place, &internal_place], &clock).await?;
    let external = place::authority(&external_place.address, server.external());
    let internal = place::authority(&internal_place.address, server.internal());

    let stand_in = listen::bind("localhost:0").await?;
    let from = match &config.from {
        Some(source) => source.clone(),
        None => SourceSettings::new(Url::parse(&format!("http://{}/federate", stand_in.local_addr()?))?),
    };
    let client = client(config, home, from, &external, &client_place, &clock).await?;
    let bound = client.local_addr().ok_or("the client has no listener")?;
    let client_at = place::authority(&client_place.address, bound);
    if config.from.is_none() {
        let programs = [("telemeter-client", &client_at), ("telemeter-server", &internal)];
        let programs = programs.map(|(job, instance)| {
            let metrics = Url::parse(&format!("http://{instance}/metrics"))?;
            Ok::<_, url::ParseError>(ScrapedProgram { job: job.to_owned(), instance: instance.clone(), metrics })
        });
        let programs = programs.into_iter().collect::<Result<_, _>>()?;
        beside.serve(stand_in, stand_in::router(programs, clock.clone())?);
    }

    let guide = Guide {
        cluster: home.cluster.clone(),
        token: home.token.expose().to_owned(),
        composite_token: home.composite_token(),
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
        store: told(config, prometheus.as_deref()),
        data: home.is_kept().then(|| home.path().display().to_string()),
        notes,
    };
    say(&guide.to_string());
    let (store, now) = (told(config, prometheus.as_deref()), clock.clone());
    let client = client.at_once().observe(Arc::new(move |outcome| {
        say(&format!("{}  {}\n", guide::time_of_day(now.now_ms()), guide::cycle(outcome, &store)));
    }));
    let fleet = fleet.start(&guide.external, config.interval, &clock)?;
    client.serve(end(stop, prometheus, &clock)).await;
    drop(fleet);

    say("\nending\n");
    if timeout(END, server.stop()).await.is_err() {
        tracing::warn!("requests were cut off");
    }
    beside.stop().await;
    Ok(())
}

/// What is remembered of each cluster beside its reports: of the metrics that OpenShift's clusters send.
const FLEET_LABELS: [&str; 2] =
    [r#"version=cluster_version{type="current"}/version"#, "provider=cluster_infrastructure_provider/type"];

/// How often the store is told what is known of the cluster.
const FLEET_METRICS: std::time::Duration = std::time::Duration::from_secs(30);

async fn server(
    config: &QuickstartConfig,
    home: &IdentityDir,
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
    settings.shared_keys = vec![home.key_file.clone()];
    // An interval of seconds is what one wants to see here.
    settings.ratelimit = None;
    settings.fleet.labels = FLEET_LABELS.iter().map(|label| FleetLabel::parse(label)).collect::<Result<_, _>>()?;
    settings.fleet.metrics = forward.is_some().then_some(FLEET_METRICS);
    settings.forward = forward.map(ForwardSettings::new);
    settings.recent_store = Some(RecentStoreSettings { keep: KEEP, max_bytes: KEEP_BYTES });
    settings.limit_bytes = LIMIT_BYTES;
    settings.verbose = config.verbose;
    Ok(RunningServer::start(settings, clock.clone()).await?)
}

async fn client(
    config: &QuickstartConfig,
    home: &IdentityDir,
    from: SourceSettings,
    server: &str,
    place: &ListenAddress,
    clock: &Clock,
) -> Result<BoundClient, RunFailure> {
    let mut authorize = Url::parse(&format!("http://{server}/authorize"))?;
    authorize.query_pairs_mut().append_pair("id", &home.cluster);
    let upload = Url::parse(&format!("http://{server}/upload"))?;
    let to = TargetSettings { authorize, upload, ca_file: None, token: Credential::Value(home.token.clone()) };
    let mut settings = telemeter_client::Config::new(from, to, home.cluster.clone());
    settings.listen = Some(place.address.clone());
    settings.interval = config.interval;
    settings.limit_bytes = LIMIT_BYTES;
    settings.matches.clone_from(&config.matches);
    settings.match_file.clone_from(&config.match_file);
    settings.labels.clone_from(&config.labels);
    settings.renames.clone_from(&config.renames);
    settings.anonymize = (!config.anonymize_labels.is_empty()).then(|| AnonymizeSettings {
        labels: config.anonymize_labels.clone(),
        salt: Credential::Value(home.salt.clone()),
    });
    settings.leave_out_unrequested = true;
    settings.verbose = config.verbose;
    Ok(BoundClient::bind(settings, clock.clone()).await?)
}

/// Comes with the signal to stop; says on the way when the store is gone.
async fn end(stop: &mut Stop, prometheus: Option<&mut Prometheus>, clock: &Clock) {
    let stopped = stop.come();
    let Some(prometheus) = prometheus else { return stopped.await };
    let log = prometheus.log.display().to_string();
    tokio::pin!(stopped);
    tokio::select! {
        () = &mut stopped => {}
        () = prometheus.gone() => {
            let now = guide::time_of_day(clock.now_ms());
            say(&format!("{now}  the store has ended by itself, see {log}; the pages go on. Start again to have it back.\n"));
            stopped.await;
        }
    }
}

fn told(config: &QuickstartConfig, prometheus: Option<&Prometheus>) -> guide::GuideStore {
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

/// Writes to stdout, piece by piece as it is said. Nobody can be told that it is gone.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The small listeners that stand beside the server and the client.
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
    fn serve(&mut self, listener: listen::Listener, router: axum::Router) {
        let mut stop = self.stop.subscribe();
        let limits = listen::ListenLimits { drain_timeout: DRAIN, connections: 100, ..listen::ListenLimits::default() };
        self.tasks.spawn(listen::serve(listener, router, limits, async move {
            let _ = stop.wait_for(|stop| *stop).await;
        }));
    }

    async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The end, once it is asked for. Cheap to clone.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    async fn come(&mut self) {
        // An error means that the task behind it is gone, after it has sent.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A terminal that is closed ends it as well: nobody would see it, and nothing could end it.
fn stopped() -> io::Result<Stop> {
    let mut signals = Signals::catch_with_quit()?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        signals.any().await;
        let _ = sender.send(true);
    });
    Ok(Stop(receiver))
}
