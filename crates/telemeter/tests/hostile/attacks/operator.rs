//! Faults of the operator's environment: a log that is never read, and files that are missing.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::{task::JoinSet, time::timeout};

use super::{AttackContext, AttackTally, Faults};
use crate::{
    call::{self, CallConnection},
    payload,
};

/// Sends requests that are refused; each writes a line to the log.
pub(crate) async fn refused_requests(arena: Arc<AttackContext>) -> Faults {
    let mut senders = JoinSet::new();
    for number in 0..8 {
        let arena = arena.clone();
        senders.spawn(async move {
            let mut kept = None;
            while !arena.is_over() {
                if kept.is_none() {
                    kept = CallConnection::open(&arena.external, arena.source(number)).await.ok();
                    AttackTally::add(if kept.is_some() { &arena.tally.opened } else { &arena.tally.refused });
                }
                if let Some(connection) = &mut kept {
                    let request = payload::upload_of(&arena.token, Bytes::from_static(b"this is no exposition\n"));
                    match tokio::time::timeout_at(arena.until.into(), connection.send(request)).await {
                        Ok(Ok(answer)) => arena.tally.answered(answer.status.as_u16()),
                        Ok(Err(_closed)) => kept = None,
                        Err(_over) => return,
                    }
                }
                arena.sleep(Duration::from_millis(10)).await;
            }
        });
    }
    while senders.join_next().await.is_some() {}
    Faults::new()
}

/// Replaces the file at this path by something that is not a regular file.
type Make = fn(&Path);

/// Reloads while `--whitelist-file` is a FIFO, a directory, or a device without an end. Each reload must fail at once.
pub(crate) async fn files_that_are_none(arena: Arc<AttackContext>) -> Faults {
    /// A reload may take a second; a busy machine needs additional time.
    const SOON: Duration = Duration::from_secs(4);
    let path = arena.whitelist.clone();
    let mut faults = Faults::new();
    let kinds: [(&str, Make); 3] = [
        ("a FIFO", |path| assert!(Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()))),
        ("a directory", |path| fs::create_dir(path).expect("the test's folder can be written")),
        ("/dev/zero", |path| symlink("/dev/zero", path).expect("the test's folder can be written")),
    ];
    let kept = path.with_extension("kept");
    fs::rename(&path, &kept).expect("the test's folder can be written");
    for (name, make) in kinds.iter().cycle() {
        if arena.is_over() || !faults.is_empty() {
            break;
        }
        make(&path);
        let began = Instant::now();
        match timeout(SOON, reload(&arena)).await {
            Ok(Ok(status)) if status >= 400 => arena.tally.answered(status),
            told => faults.push(format!("a reload of {name}: {told:?} after {:?}", began.elapsed())),
        }
        let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        removed.expect("the test's folder can be written");
        arena.sleep(Duration::from_millis(300)).await;
    }
    fs::rename(&kept, &path).expect("the test's folder can be written");
    match timeout(SOON, reload(&arena)).await {
        Ok(Ok(200)) => {}
        told => faults.push(format!("a reload of a good file after that: {told:?}")),
    }
    faults
}

async fn reload(arena: &AttackContext) -> Result<u16, String> {
    let request = Request::post("/-/reload").header("host", "localhost").body(Full::default()).expect("a request");
    Ok(call::once(&arena.internal, Ipv4Addr::LOCALHOST, request).await?.status.as_u16())
}
