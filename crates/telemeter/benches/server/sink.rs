//! A store that takes everything and keeps nothing but counts. It costs as little as a store can: measure beside it what
//! a server costs, not how a store does.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use telemeter_wire::{Arena, DecodeLimits, SeriesSet, remote_write, snappy};
use tokio::net::TcpListener;

/// The most that a request may hold, decompressed.
const MAX_BYTES: usize = 256 << 20;

/// What the store was sent.
#[derive(Debug, Default)]
pub(crate) struct SinkCounts {
    /// Whether requests are decoded to count their series, and checked by that; it costs more than all the rest.
    pub(crate) decode: bool,
    /// Requests that were answered with 204.
    pub(crate) requests: AtomicU64,
    /// Bytes of their bodies, compressed.
    pub(crate) bytes: AtomicU64,
    /// Series in them, where they are decoded.
    pub(crate) series: AtomicU64,
    /// Requests that held no remote write; answered with 400.
    pub(crate) broken: AtomicU64,
}

/// Answers every request on every connection, for ever.
pub(crate) async fn serve(listener: TcpListener, counts: Arc<SinkCounts>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let counts = counts.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(|request| take(&counts, request));
            // A connection that breaks is the other side's to mourn.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(counts: &SinkCounts, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (mut body, mut bytes, mut whole) = (request.into_body(), 0, Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            bytes += data.len() as u64;
            if counts.decode {
                whole.extend_from_slice(data);
            }
        }
    }
    let series = if counts.decode { series(&whole) } else { Some(0) };
    let mut answer = Response::new(Empty::new());
    if let Some(series) = series {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        counts.series.fetch_add(series, Ordering::Relaxed);
        *answer.status_mut() = StatusCode::NO_CONTENT;
    } else {
        counts.broken.fetch_add(1, Ordering::Relaxed);
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(answer)
}

/// How many series a body holds.
fn series(body: &[u8]) -> Option<u64> {
    let mut plain = Vec::new();
    snappy::decode_block(body, MAX_BYTES, &mut plain).ok()?;
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let limits = DecodeLimits { series: usize::MAX, ..DecodeLimits::default() };
    remote_write::decode(&plain, &limits, &mut set).ok()?;
    Some(set.len() as u64)
}
