//! Attacks of callers that make the server ask its authority.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::task::JoinSet;

use super::{AttackContext, AttackTally, Faults};
use crate::{
    call::CallConnection,
    neighbours::HOSTILE,
    payload::{self, GOOD_TOKEN},
};

/// New clusters send requests while the authority does not answer.
pub(crate) async fn new_callers_while_it_hangs(arena: Arc<AttackContext>) -> Faults {
    *arena.authority.hangs.lock() = true;
    let count = arena.number(600, 300);
    ask(&arena, count, |number| (GOOD_TOKEN.to_owned(), format!("{HOSTILE}-{number}"))).await
}

/// Unknown callers send tokens that are all different, while the authority answers slowly.
pub(crate) async fn strangers(arena: Arc<AttackContext>) -> Faults {
    *arena.authority.refuses_after.lock() = Duration::from_secs(10);
    let count = arena.number(600, 300);
    ask(&arena, count, |number| (format!("bad-{number}"), format!("{HOSTILE}-{number}"))).await
}

async fn ask(arena: &Arc<AttackContext>, count: usize, who: fn(usize) -> (String, String)) -> Faults {
    let mut callers = JoinSet::new();
    for number in 0..count {
        let arena = arena.clone();
        callers.spawn(async move {
            let mut turn = 0;
            while !arena.is_over() {
                let (token, cluster) = who(number + turn * count);
                turn += 1;
                send(&arena, number, payload::receive(&token, &cluster)).await;
                arena.sleep(Duration::from_millis(500)).await;
            }
        });
    }
    while callers.join_next().await.is_some() {}
    Faults::new()
}

async fn send(arena: &AttackContext, number: usize, request: hyper::Request<http_body_util::Full<bytes::Bytes>>) {
    arena.pace.wait().await;
    let sent = async {
        let mut connection = CallConnection::open(&arena.external, arena.source(number)).await?;
        AttackTally::add(&arena.tally.opened);
        connection.send(request).await
    };
    match tokio::time::timeout_at(arena.until.into(), sent).await {
        Ok(Ok(answer)) => arena.tally.answered(answer.status.as_u16()),
        Ok(Err(_closed)) => AttackTally::add(&arena.tally.closed),
        Err(_over) => {}
    }
}

/// One composite token in many spellings. The server may ask the authority about it only a few times, whatever the
/// spelling.
pub(crate) async fn spellings(arena: Arc<AttackContext>) -> Faults {
    const MAX_QUESTIONS: u64 = 20;
    const CLUSTER: &str = "hostile-0";
    let (total, connections) = (arena.number(120_000, 10_000), 16);
    let mut senders = JoinSet::new();
    for number in 0..connections {
        let arena = arena.clone();
        senders.spawn(async move {
            let mut kept = None;
            for spelling in (number..total).step_by(connections) {
                if arena.is_over() {
                    return;
                }
                // White space has no meaning in JSON, so the number of the spelling is written with spaces and tabs.
                let blanks: String = (0..17).map(|bit| if spelling >> bit & 1 == 1 { '\t' } else { ' ' }).collect();
                let json = format!(r#"{{{blanks}"authorization_token":"{GOOD_TOKEN}","cluster_id":"{CLUSTER}"}}"#);
                let request = payload::receive_with(&BASE64_STANDARD.encode(json), CLUSTER);
                if kept.is_none() {
                    arena.pace.wait().await;
                    kept = CallConnection::open(&arena.external, arena.source(number)).await.ok();
                    AttackTally::add(if kept.is_some() { &arena.tally.opened } else { &arena.tally.refused });
                }
                let Some(connection) = &mut kept else { continue };
                match connection.send(request).await {
                    Ok(answer) => arena.tally.answered(answer.status.as_u16()),
                    Err(_closed) => {
                        AttackTally::add(&arena.tally.closed);
                        kept = None;
                    }
                }
                // The clients of this test and the server share two cores.
                arena.sleep(Duration::from_millis(4)).await;
            }
        });
    }
    while senders.join_next().await.is_some() {}
    let questions = arena.authority.questions(CLUSTER);
    if questions > MAX_QUESTIONS {
        return vec![format!("{questions} questions about one token in many spellings")];
    }
    Faults::new()
}
