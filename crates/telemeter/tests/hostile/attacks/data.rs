//! Attacks of one cluster with data that the store does not accept.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{AttackContext, AttackTally, Faults};
use crate::{
    call::CallConnection,
    payload::{self, GOOD_TOKEN},
};

/// Sends on many connections, each as soon as it has its answer and a pause has passed.
pub(crate) async fn flood(arena: Arc<AttackContext>) -> Faults {
    let (count, pause) = if arena.full { (3500, Duration::from_secs(2)) } else { (200, Duration::from_millis(250)) };
    send(&arena, count, pause).await;
    Faults::new()
}

/// Sends so often that most honest requests would be joined with one of these.
pub(crate) async fn steady(arena: Arc<AttackContext>) -> Faults {
    send(&arena, 100, Duration::from_millis(100)).await;
    Faults::new()
}

async fn send(arena: &Arc<AttackContext>, connections: usize, pause: Duration) {
    let mut senders = JoinSet::new();
    for number in 0..connections {
        let arena = arena.clone();
        senders.spawn(async move {
            let mut kept = None;
            while !arena.is_over() {
                if kept.is_none() {
                    arena.pace.wait().await;
                    kept = CallConnection::open(&arena.external, arena.source(number)).await.ok();
                    AttackTally::add(if kept.is_some() { &arena.tally.opened } else { &arena.tally.refused });
                }
                if let Some(connection) = &mut kept {
                    let request = payload::receive(GOOD_TOKEN, "hostile-0");
                    let answer = tokio::time::timeout_at(arena.until.into(), connection.send(request)).await;
                    match answer {
                        Ok(Ok(answer)) => arena.tally.answered(answer.status.as_u16()),
                        Ok(Err(_closed)) => {
                            AttackTally::add(&arena.tally.closed);
                            kept = None;
                        }
                        Err(_over) => return,
                    }
                }
                arena.sleep(pause).await;
            }
        });
    }
    while senders.join_next().await.is_some() {}
}
