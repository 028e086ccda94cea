//! The signals that a program is ended and reloaded with.

use std::{fmt::Display, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::service_manager::{self, ServiceProgress};

/// SIGTERM, SIGINT, SIGHUP and SIGQUIT, caught from the moment this is made. None of them ends the process by itself any more.
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

    /// Catches SIGQUIT as well, for a program that leaves something behind when it is ended by one.
    ///
    /// # Errors
    /// The kernel does not let us catch them.
    pub fn catch_with_quit() -> io::Result<Self> {
        Ok(Self { quit: Some(signal(SignalKind::quit())?), ..Self::catch()? })
    }

    /// Waits for any of them: for a program without a reload, which the end of its terminal ends, too.
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

    /// Waits for SIGTERM or SIGINT. Each SIGHUP before that calls `reload`, whose outcome is a line of the log. Tells the service
    /// manager of the beginning and the end of a reload, and of the end of the program.
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
