//! The TLS handshake of a connection; a failed one is counted and logged by reason.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake_fault::HandshakeFault;
use super::metrics::ConnectionMetrics;
use super::stream::Socket;
use crate::client::words;
use crate::clock::Clock;
use crate::tls::ListenerTls;

/// The most that TLS keeps of responses before it writes.
const TLS_BUFFER_BYTES: usize = 16 << 10;
/// The cap on failures that are logged in a second.
const MAX_LOGGED_PER_SECOND: u32 = 3;

/// Does the TLS handshakes of a listener.
pub(super) struct Handshakes {
    tls: ListenerTls,
    config: Arc<ServerConfig>,
    metrics: ConnectionMetrics,
    log: Mutex<Logged>,
    clock: Clock,
}

/// The count of log lines in the current second.
#[derive(Debug, Default)]
struct Logged {
    second: i64,
    count: u32,
    /// The failures that were not logged since the last line.
    suppressed: u64,
}

impl Logged {
    /// Returns `None` where no more may be logged now, else the number of failures that were not logged since the last
    /// line.
    fn next(&mut self, second: i64) -> Option<u64> {
        if second != self.second {
            (self.second, self.count) = (second, 0);
        }
        if self.count >= MAX_LOGGED_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Handshakes {
    pub(super) fn new(tls: &ListenerTls, metrics: ConnectionMetrics) -> Self {
        let (config, log) = (tls.server_config(), Mutex::default());
        Self { tls: tls.clone(), config, metrics, log, clock: Clock::system() }
    }

    /// Does the handshake with a caller. `None` where it failed; the failure is then counted and logged.
    pub(super) async fn accept(&self, socket: Socket, peer: SocketAddr) -> Option<TlsStream<Socket>> {
        let mut hello = match LazyConfigAcceptor::new(Acceptor::default(), socket).await {
            Ok(hello) => hello,
            Err(error) => return self.failed(&error, true, false, peer),
        };
        let is_name_known = hello.client_hello().server_name().is_none_or(|name| self.tls.is_for(name));
        let limit = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        hello.io.hold();
        match hello.into_stream_with(self.config.clone(), limit).into_fallible().await {
            Ok(mut stream) => {
                stream.get_mut().0.hold_no_more();
                self.metrics.established(stream.get_ref().1.handshake_kind());
                Some(stream)
            }
            Err((error, mut socket)) => {
                // The held bytes contain the alert with the reason, which is sent to the caller.
                let _ = poll_fn(|context| socket.poll_held(context)).await;
                self.failed(&error, is_name_known, true, peer)
            }
        }
    }

    /// Counts and logs that a handshake was not done in time.
    pub(super) fn timed_out(&self, peer: SocketAddr) {
        self.fault(HandshakeFault::Timeout, "the handshake was not done in time", peer);
    }

    /// Counts a failed handshake by its reason and logs it; always returns `None`. Where the caller closed the
    /// connection before the handshake had begun (`has_begun` is false), the line has level debug.
    fn failed<T>(&self, error: &io::Error, is_name_known: bool, has_begun: bool, peer: SocketAddr) -> Option<T> {
        let fault = HandshakeFault::of(error, is_name_known);
        let words = match fault {
            HandshakeFault::Closed => "the caller closed the connection".to_owned(),
            _ => words::of_caller(error),
        };
        if fault == HandshakeFault::Closed && !has_begun {
            // Load balancers check in this way whether the server is up.
            self.metrics.failed(fault);
            tracing::debug!(%peer, "no handshake: the connection was closed before it began");
            return None;
        }
        self.fault(fault, &words, peer);
        None
    }

    fn fault(&self, fault: HandshakeFault, error: &str, peer: SocketAddr) {
        self.metrics.failed(fault);
        let second = self.clock.monotonic_ms() / 1000;
        let Some(suppressed) = self.log.lock().next(second) else { return };
        tracing::info!(%peer, reason = fault.label(), error, suppressed, "a TLS handshake failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_a_second_are_logged_and_the_others_are_told_with_the_next() {
        let mut logged = Logged::default();
        let told: Vec<_> = (0..10).map(|_| logged.next(7)).collect();
        assert_eq!(told, [[Some(0); 3].as_slice(), &[None; 7]].concat());
        assert_eq!(logged.next(8), Some(7));
        assert_eq!(logged.next(8), Some(0));
        assert_eq!(logged.next(8), Some(0));
        assert_eq!(logged.next(8), None);
        assert_eq!(logged.next(1000), Some(1));
    }
}
