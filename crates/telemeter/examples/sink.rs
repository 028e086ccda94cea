//! A counting store, to stand behind a server that is measured: `sink HOST:PORT [--decode]`. It answers every POST with
//! 204 and, at SIGTERM or SIGINT, prints what it was sent; with `--decode` the number of series too.

#![allow(clippy::print_stdout)]

#[path = "../benches/server/sink.rs"]
mod sink;

use std::sync::{Arc, atomic::Ordering};

use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = arguments.iter().find(|argument| !argument.starts_with("--"));
    let listener = tokio::net::TcpListener::bind(address.map_or("127.0.0.1:0", String::as_str)).await?;
    println!("listening on {}", listener.local_addr()?);
    let decode = arguments.iter().any(|argument| argument == "--decode");
    let counts = Arc::new(sink::SinkCounts { decode, ..sink::SinkCounts::default() });
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        () = sink::serve(listener, counts.clone()) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    println!("{} requests, {} bytes", count(&counts.requests), count(&counts.bytes));
    if counts.decode {
        println!("{} series; {} requests were no remote write", count(&counts.series), count(&counts.broken));
    }
    Ok(())
}
