//! A sender that records every number that the gateway acknowledged, to check that the store has all of them at the
//! end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::promql::http;
use crate::remote_write;

/// The two ways into the gateway; each gets a series of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    Upload,
    Receive,
}

/// The outcome of each number sent so far.
#[derive(Default)]
pub(crate) struct Book {
    uploaded: BTreeSet<u64>,
    received: BTreeSet<u64>,
    /// Status and body, or the reason why there was no answer.
    refused: Vec<(Entrance, Option<u16>, String)>,
}

impl Book {
    pub(crate) fn acknowledged(&self, entrance: Entrance) -> &BTreeSet<u64> {
        match entrance {
            Entrance::Upload => &self.uploaded,
            Entrance::Receive => &self.received,
        }
    }

    pub(crate) fn refused(&self) -> &[(Entrance, Option<u16>, String)] {
        &self.refused
    }
}

/// A running sender of increasing numbers, ten a second, through both entrances alternately.
pub(crate) struct Ledger {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// The sender: a cluster, its token, and the gateway that it sends to.
#[derive(Clone)]
pub(crate) struct LedgerSender {
    http: Client,
    gateway: String,
    cluster: &'static str,
    token: &'static str,
}

impl Ledger {
    pub(crate) fn start(gateway: &str, cluster: &'static str, token: &'static str) -> Self {
        let (book, stop) = (Arc::new(Mutex::new(Book::default())), Arc::new(AtomicBool::new(false)));
        let sender = LedgerSender { http: http(), gateway: gateway.to_owned(), cluster, token };
        let task = tokio::spawn(write_numbers(sender, Arc::clone(&book), Arc::clone(&stop)));
        Self { book, stop, task }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until both entrances have acknowledged `more` numbers since the call.
    pub(crate) async fn goes_on(&self, when: &str, more: usize) {
        let count = || {
            let book = self.book();
            (book.uploaded.len(), book.received.len())
        };
        let before = count();
        crate::process::until(&format!("the ledger, {when}"), Duration::from_secs(30), || async {
            let now = count();
            let enough = now.0 >= before.0 + more && now.1 >= before.1 + more;
            if enough {
                Ok(())
            } else {
                Err(format!("{before:?} then {now:?}; refused: {:?}", self.book().refused.last()))
            }
        })
        .await;
    }

    /// Stops between two numbers, and returns the recorded outcomes.
    pub(crate) async fn close(self) -> Book {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the ledger does not panic");
        std::mem::take(&mut *self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn write_numbers(sender: LedgerSender, book: Arc<Mutex<Book>>, stop: Arc<AtomicBool>) {
    let mut grant = String::new();
    for number in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let entrance = if number.is_multiple_of(2) { Entrance::Upload } else { Entrance::Receive };
        // A new access token is requested regularly, so that `/authorize` is tested in every phase too.
        if number % 20 == 2 {
            match sender.authorize().await {
                Ok(token) => grant = token,
                Err((status, reason)) => note(&book, Entrance::Upload, status, reason),
            }
        }
        let request = match entrance {
            Entrance::Upload => sender.upload(&grant, number),
            Entrance::Receive => sender.receive(number),
        };
        match answer_to(request).await {
            Ok(_) => {
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                match entrance {
                    Entrance::Upload => book.uploaded.insert(number),
                    Entrance::Receive => book.received.insert(number),
                };
            }
            Err((status, reason)) => note(&book, entrance, status, reason),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn note(book: &Mutex<Book>, entrance: Entrance, status: Option<u16>, reason: String) {
    book.lock().unwrap_or_else(PoisonError::into_inner).refused.push((entrance, status, reason));
}

impl LedgerSender {
    async fn authorize(&self) -> Result<String, (Option<u16>, String)> {
        let url = format!("{}/authorize?id={}", self.gateway, self.cluster);
        let body = answer_to(self.http.post(url).bearer_auth(self.token)).await?;
        let body: Value = serde_json::from_str(&body).map_err(|error| (Some(200), format!("{error}: {body}")))?;
        let token = body["token"].as_str();
        token.map(str::to_owned).ok_or_else(|| (Some(200), format!("no token in {body}")))
    }

    fn upload(&self, grant: &str, number: u64) -> RequestBuilder {
        let line = format!("ledger_uploaded{{_id=\"{}\"}} {number} {}\n", self.cluster, now_ms());
        let request = self.http.post(format!("{}/upload", self.gateway)).bearer_auth(grant);
        request.header("Content-Type", "text/plain; version=0.0.4").body(line)
    }

    #[expect(clippy::cast_precision_loss, reason = "small whole numbers")]
    fn receive(&self, number: u64) -> RequestBuilder {
        let labels = [("__name__", "ledger_received"), ("_id", self.cluster)];
        let url = format!("{}/metrics/v1/receive", self.gateway);
        let request = remote_write::request(&self.http, &url, &labels, number as f64, now_ms());
        request.bearer_auth(composite_token(self.cluster, self.token))
    }
}

/// Returns the composite token that a Prometheus uses as its bearer token for remote write to the gateway.
pub(crate) fn composite_token(cluster: &str, token: &str) -> String {
    STANDARD.encode(json!({"authorization_token": token, "cluster_id": cluster}).to_string())
}

/// Returns the body of a 2xx; otherwise the status, if there was one, and the body or the error.
async fn answer_to(request: RequestBuilder) -> Result<String, (Option<u16>, String)> {
    let answer = request.send().await.map_err(|error| (None, format!("{error:?}")))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| (None, format!("{error:?}")))?;
    if status.is_success() { Ok(body) } else { Err((Some(status.as_u16()), body)) }
}

#[allow(clippy::disallowed_methods, reason = "a sender of its own has a clock of its own")]
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds since 1970 fit an i64")
}
