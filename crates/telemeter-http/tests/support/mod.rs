//! A listener on a free port, and raw connections to it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use parking_lot::Mutex;
use telemeter_http::client::{Outbound, OutboundConfig};
use telemeter_http::listen::{self, Limits};
use telemeter_http::tls::Tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for anything that should happen, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Deadlines short enough for a test.
pub(crate) fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        handshake_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(1500),
        ..Limits::default()
    }
}

pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn start(router: Router, tls: Option<Tls>, limits: Limits) -> Self {
        let mut listener = listen::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Some(tls) = tls {
            listener = listener.with_tls(tls);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(listen::serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self { address, stop: Some(stop), task }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub(crate) async fn stopped(mut self) {
        self.begin_stop();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
    }
}

/// All that the peer sends until it closes; panics when it does not close soon.
pub(crate) async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset closes as well as an end does.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed soon");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `head` on a connection of its own and reads to the end.
pub(crate) async fn raw(serving: &Serving, head: &str) -> String {
    let mut stream = serving.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    read_to_close(&mut stream).await
}

/// A self-signed certificate for `localhost` and 127.0.0.1, as two files.
pub(crate) fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

pub(crate) fn outbound(change: impl FnOnce(&mut OutboundConfig)) -> Outbound {
    let mut config = OutboundConfig::new("test");
    config.timeout = SOON;
    change(&mut config);
    Outbound::new(config, None).unwrap()
}

/// What was logged, as long as its guard or closure is there.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Writes what is logged from level info on.
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}
