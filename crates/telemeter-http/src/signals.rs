//! The signals that stop and reload a program.

use std::{fmt::Display, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::service_manager::{self, ServiceProgress};

/// Catches SIGTERM, SIGINT, SIGHUP and, on request, SIGQUIT from the moment when it is made. A caught signal no longer
/// ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Option<Signal>,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// The kernel does not let us catch them.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: None,
        })
    }

    /// Catches SIGQUIT as well, for a program that has to clean up when it ends.
    ///
    /// # Errors
    /// The kernel does not let us catch them.
    pub fn catch_including_quit() -> io::Result<Self> {
        Ok(Self { quit: Some(signal(SignalKind::quit())?), ..Self::catch()? })
    }

    /// Waits for any of the signals, for a program without a reload: SIGHUP, which comes when its terminal closes, ends
    /// it, too.
    pub async fn any(&mut self) {
        let Self { terminate, interrupt, hangup, quit } = self;
        let quit = async {
            match quit {
                Some(quit) => _ = quit.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            () = quit => {}
        }
    }

    /// Waits for SIGTERM or SIGINT. Each SIGHUP before that calls `reload`, and its outcome is logged. The service
    /// manager is notified of the start and the end of a reload, and of the end of the program.
    pub async fn until_stopped<E: Display>(mut self, reload: impl AsyncFn() -> Result<(), E>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {
                    service_manager::notify(ServiceProgress::Reloading);
                    match reload().await {
                        Ok(()) => tracing::info!("reloaded"),
                        Err(error) => tracing::error!(%error, "not reloaded: the old configuration stays"),
                    }
                    service_manager::notify(ServiceProgress::Ready);
                }
            }
        }
        service_manager::notify(ServiceProgress::Stopping);
    }
}
