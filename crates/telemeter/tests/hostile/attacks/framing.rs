//! Attacks with bodies that have invalid framing: the server must answer 400 and close the connection, and never answer
//! 503, which would ask for a retry.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

use super::{AttackContext, AttackTally, Faults, status};

/// How long to wait: longer than all deadlines of a body.
const PATIENCE: Duration = Duration::from_secs(35);

fn bodies() -> [(&'static str, Vec<u8>); 5] {
    [
        ("a size that is no number", b"nonsense\r\n".to_vec()),
        ("a size that does not fit", b"fffffffffffffffffff\r\n".to_vec()),
        ("an extension without end", [b"5;".to_vec(), vec![b'a'; 256 << 10]].concat()),
        ("trailers without end", [b"0\r\n".to_vec(), b"a: b\r\n".repeat(40_000)].concat()),
        ("a bare LF", b"5\nhello\n0\n\n".to_vec()),
    ]
}

/// Sends all invalid framings again and again.
pub(crate) async fn broken(arena: Arc<AttackContext>) -> Faults {
    let mut senders = JoinSet::new();
    for number in 0..arena.number(40, 10) {
        let arena = arena.clone();
        senders.spawn(async move {
            let mut told: BTreeMap<&str, Vec<Option<u16>>> = BTreeMap::new();
            let mut faults = Faults::new();
            while !arena.is_over() {
                for (name, body) in bodies() {
                    let Some(stream) = arena.connect(number).await else { continue };
                    let head = format!(
                        "POST /upload HTTP/1.1\r\nhost: telemeter\r\nauthorization: Bearer {}\r\n\
                         content-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n",
                        arena.token
                    );
                    let (mut from, mut to) = tokio::io::split(stream);
                    let write = async {
                        let _ = to.write_all(head.as_bytes()).await;
                        let _ = to.write_all(&body).await;
                        std::future::pending::<()>().await;
                    };
                    let read = async {
                        let mut answer = Vec::new();
                        // A reset also ends the connection: it occurs because the client was still writing.
                        let _ = from.read_to_end(&mut answer).await;
                        answer
                    };
                    let both = async {
                        tokio::select! {
                            () = write => Vec::new(),
                            answer = read => answer,
                        }
                    };
                    match timeout(PATIENCE, both).await {
                        Ok(answer) => {
                            AttackTally::add(&arena.tally.closed);
                            let status = status(&answer);
                            status.iter().for_each(|status| arena.tally.answered(*status));
                            told.entry(name).or_default().push(status);
                        }
                        Err(_elapsed) => faults.push(format!("{name}: open after {PATIENCE:?}")),
                    }
                }
                arena.sleep(Duration::from_millis(500)).await;
            }
            for (name, told) in told {
                // There is no status where the reset arrived before the answer was read.
                if let Some(other) = told.iter().flatten().find(|status| **status != 400) {
                    faults.push(format!("{name} was answered {other}"));
                } else if told.iter().all(Option::is_none) {
                    faults.push(format!("{name} was never answered"));
                }
            }
            faults
        });
    }
    senders.join_all().await.into_iter().flatten().take(5).collect()
}
