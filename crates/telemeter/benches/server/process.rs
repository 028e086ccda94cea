//! What a process has used, from `/proc`, and how to begin and end one. Both benches use it.

use std::{fs, net::SocketAddr, process::Child, process::Command, time::Duration};

/// User and system time so far; `/proc` counts it in hundredths of a second.
pub(crate) fn cpu(child: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it still runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Resident memory now and at its peak, in MiB.
pub(crate) fn memory(child: &Child) -> [f64; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it still runs");
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    })
}

/// Lets a process end in its own way.
pub(crate) fn end(child: &mut Child) {
    let told = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(told.success(), "it is still there");
    child.wait().expect("it ends");
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}
