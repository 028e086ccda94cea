//! A connection while it is served: its peer, and what the listener and the table ask of it.

use tokio::sync::watch;

use super::Peer;
use super::table::{AdmittedConnection, Ending, Instruction, Reporter};

/// The phase of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Open requests are finished, and no new ones are accepted.
    Draining,
    /// Connections are closed, even where requests are open.
    Closing,
}

pub(super) struct ServedConnection<'a> {
    peer: Peer,
    admitted: &'a AdmittedConnection,
    phase: watch::Receiver<Phase>,
    /// The way in which the connection was asked to end.
    ending: Ending,
}

impl<'a> ServedConnection<'a> {
    pub(super) fn new(peer: Peer, admitted: &'a AdmittedConnection, phase: watch::Receiver<Phase>) -> Self {
        Self { peer, admitted, phase, ending: Ending::No }
    }

    pub(super) const fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn reporter(&self) -> Reporter {
        self.admitted.reporter()
    }

    /// Waits for the next instruction of the table or the listener: to end in a faster way than before, or to release the
    /// buffers.
    pub(super) async fn instruction(&mut self) -> Instruction {
        let seen = self.ending;
        let is_faster = |phase: &Phase| *phase == Phase::Closing || (*phase == Phase::Draining && seen == Ending::No);
        let instruction = tokio::select! {
            instruction = self.admitted.instruction(seen) => instruction,
            // The sender of the phase is dropped only after all connections have ended.
            Ok(phase) = self.phase.wait_for(is_faster) => match *phase {
                Phase::Closing => Instruction::End(Ending::Now),
                _ => Instruction::End(Ending::Graceful),
            },
            else => Instruction::End(Ending::Now),
        };
        if let Instruction::End(ending) = instruction {
            self.ending = ending;
        }
        instruction
    }

    /// Waits until the connection is asked to end in a faster way than before.
    pub(super) async fn ending(&mut self) -> Ending {
        loop {
            if let Instruction::End(ending) = self.instruction().await {
                return ending;
            }
        }
    }

    pub(super) fn log_end(&self, ended: hyper::Result<()>) {
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer.0, error = crate::body::chain(&error), "connection broke off");
        }
    }
}
