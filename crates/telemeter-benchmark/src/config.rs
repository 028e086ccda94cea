//! What the benchmark is told: plain data, already checked, without argv.

use std::{path::PathBuf, time::Duration};

use telemeter_client::config::TargetSettings;

/// Everything `telemeter-benchmark` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the benchmark's own listener; `None`: it has none.
    pub listen: Option<String>,
    /// The server to push to. Its token is empty, and not used, where a fleet's tokens are minted.
    pub to: TargetSettings,
    /// The metrics to push, in the text format.
    pub metrics_file: PathBuf,
    /// Time between two uploads of one worker, which start spread over it; never zero.
    pub interval: Duration,
    /// How many clusters are played at once; at least one.
    pub workers: usize,
    /// One upload per worker, then the end; a failed one fails the run.
    pub once: bool,
    /// A fleet is simulated in place of the workers.
    pub fleet: Option<SimulatedFleet>,
}

/// A simulated fleet: uploads arrive by a schedule that a slow server does not slow down.
#[derive(Clone, Debug)]
pub struct SimulatedFleet {
    /// How many clusters there are: each uploads once in an interval. At least one.
    pub clusters: u64,
    /// How long uploads arrive; never zero.
    pub duration: Duration,
    /// Where tokens come from.
    pub tokens: Tokens,
    /// Over how many connections at once; at least one.
    pub connections: usize,
    /// Each upload makes a connection of its own.
    pub reconnects: bool,
    /// A new connection resumes the TLS session of the one before it.
    pub resumes: bool,
    /// Where the plot is written.
    pub report_svg: Option<PathBuf>,
    /// Where the figures are written.
    pub report_json: Option<PathBuf>,
    /// The process whose CPU and memory are watched.
    pub server_pid: Option<u32>,
}

/// Where the tokens of a simulated fleet come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Signed with the server's own key, read from this file.
    Minted(PathBuf),
    /// Asked for at `/authorize`.
    Exchanged,
}
