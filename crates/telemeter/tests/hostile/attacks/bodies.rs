//! Attacks with request bodies that do not end, or arrive slowly.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

use super::{AttackContext, AttackTally, Faults, hold, status};
use crate::{
    neighbours::HOSTILE,
    payload::{self, GOOD_TOKEN, composite_token},
};

const MIB: usize = 1 << 20;

/// Requests with one token send only one byte of their bodies.
pub(crate) async fn one_byte_of_one_token(arena: Arc<AttackContext>) -> Faults {
    let opening = Bytes::from([payload::head("/upload", &arena.token, 1000), b"u".to_vec()].concat());
    hold(&arena, arena.number(8300, 600), Arc::new(move |_| vec![opening.clone()])).await;
    Faults::new()
}

/// Unknown callers send only one byte of a form.
pub(crate) async fn one_byte_forms(arena: Arc<AttackContext>) -> Faults {
    let opening = Bytes::from([payload::head("/authorize", "anything", 100), b"i".to_vec()].concat());
    hold(&arena, arena.number(8300, 600), Arc::new(move |_| vec![opening.clone()])).await;
    Faults::new()
}

/// One cluster sends bodies of 1 MiB without their last byte.
pub(crate) async fn stalled_of_one_cluster(arena: Arc<AttackContext>) -> Faults {
    stalled(&arena, arena.number(700, 150), |_| composite_token(GOOD_TOKEN, "hostile-0")).await
}

/// The same, but each body is of another cluster.
pub(crate) async fn stalled_of_many_clusters(arena: Arc<AttackContext>) -> Faults {
    stalled(&arena, arena.number(400, 150), |at| composite_token(GOOD_TOKEN, &format!("{HOSTILE}-{at}"))).await
}

/// Bodies of 1 MiB that the server does not read, because the authority answers slowly about their tokens.
pub(crate) async fn unread_while_the_authority_is_slow(arena: Arc<AttackContext>) -> Faults {
    *arena.authority.refuses_after.lock() = Duration::from_secs(15);
    stalled(&arena, arena.number(784, 200), |_| composite_token("bad", "hostile-0")).await
}

async fn stalled(
    arena: &Arc<AttackContext>,
    count: usize,
    token: impl Fn(usize) -> String + Send + Sync + 'static,
) -> Faults {
    let body = Bytes::from(vec![b'x'; MIB - 1]);
    let opening = move |at: usize| vec![payload::head("/metrics/v1/receive", &token(at), MIB).into(), body.clone()];
    hold(arena, count, Arc::new(opening)).await;
    Faults::new()
}

/// Bodies that arrive at 10 bytes a second. The server must close each connection soon after the first 5 s.
pub(crate) async fn dripping(arena: Arc<AttackContext>) -> Faults {
    const PATIENCE: Duration = Duration::from_secs(9);
    let mut drips = JoinSet::new();
    for number in 0..arena.number(400, 100) {
        let arena = arena.clone();
        drips.spawn(async move {
            let mut faults = Faults::new();
            let head = payload::head("/upload", &arena.token, 1000);
            while !arena.is_over() {
                if let Some(stream) = arena.connect(number).await {
                    let began = Instant::now();
                    let (mut from, mut to) = tokio::io::split(stream);
                    let drip = async {
                        let _ = to.write_all(&head).await;
                        while to.write_all(b"u").await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        std::future::pending::<()>().await;
                    };
                    let mut bytes = [0; 1024];
                    let answer = async {
                        tokio::select! {
                            () = drip => Ok(0),
                            read = from.read(&mut bytes) => read,
                        }
                    };
                    let left = arena.until.saturating_duration_since(Instant::now());
                    match timeout(PATIENCE.min(left), answer).await {
                        Ok(read) => {
                            AttackTally::add(&arena.tally.closed);
                            let told = status(&bytes[..read.unwrap_or(0)]);
                            told.iter().for_each(|status| arena.tally.answered(*status));
                            if told.is_some_and(|status| status != 503) {
                                faults.push(format!("a dripping body was answered {told:?}"));
                            }
                        }
                        Err(_elapsed) if began.elapsed() >= PATIENCE => {
                            faults.push(format!("a body of 10 bytes a second was still read after {PATIENCE:?}"));
                        }
                        Err(_over) => {}
                    }
                }
                arena.sleep(Duration::from_millis(200)).await;
            }
            faults
        });
    }
    drips.join_all().await.into_iter().flatten().take(3).collect()
}
