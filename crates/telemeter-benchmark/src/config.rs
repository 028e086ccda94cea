//! The configuration of the benchmark: plain data, checked already, independent of argv.

use std::{path::PathBuf, time::Duration};

use telemeter_client::config::TargetSettings;

/// The configuration of `telemeter-benchmark`.
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
    /// How many clients are simulated at the same time; at least one.
    pub workers: usize,
    /// Each worker uploads once, and then the run ends; a failed upload makes it fail.
    pub once: bool,
    /// Simulate a fleet in place of the workers.
    pub fleet: Option<SimulatedFleet>,
}

/// A simulated fleet: uploads start at fixed times, however slow the server is.
#[derive(Clone, Debug)]
pub struct SimulatedFleet {
    /// How many clusters there are: each uploads once in an interval. At least one.
    pub clusters: u64,
    /// How long uploads are sent; never zero.
    pub duration: Duration,
    /// How the clusters get their access tokens.
    pub tokens: Tokens,
    /// Over how many connections at once; at least one.
    pub connections: usize,
    /// Each upload makes a connection of its own.
    pub reconnects: bool,
    /// A new connection resumes the TLS session of the one before it.
    pub resumes: bool,
    /// The file that the plot is written to.
    pub report_svg: Option<PathBuf>,
    /// The file that the figures are written to.
    pub report_json: Option<PathBuf>,
    /// The process ID of the server, whose CPU and memory are measured.
    pub server_pid: Option<u32>,
}

/// How a simulated fleet gets its access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Signed here, with the server's key from this file.
    Minted(PathBuf),
    /// Requested from `/authorize`.
    Exchanged,
}
