//! A fake memcached for tests: it can be slow, send invalid bytes, or close the connection.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Debug)]
pub(crate) enum FakeBehaviour {
    Proper,
    /// Waits before each answer.
    Slow(Duration),
    /// Answers every command with these bytes.
    Says(&'static [u8]),
    /// Answers correctly, then closes the connection.
    HangsUp,
}

#[derive(Clone)]
pub(crate) struct FakeMemcached {
    pub(crate) address: String,
    pub(crate) values: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    pub(crate) expires: Arc<Mutex<HashMap<String, u64>>>,
    pub(crate) behaviour: Arc<Mutex<FakeBehaviour>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl FakeMemcached {
    /// Listens on a free port of 127.0.0.1, and answers each connection in a task of its own.
    pub(crate) async fn start(behaviour: FakeBehaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap().to_string(),
            values: Arc::default(),
            expires: Arc::default(),
            behaviour: Arc::new(Mutex::new(behaviour)),
            connections: Arc::default(),
        };
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.connections.fetch_add(1, Ordering::Relaxed);
                let server = server.clone();
                tokio::spawn(async move {
                    let _ = server.serve(stream).await;
                });
            }
        });
        fake
    }

    /// Answers the commands of one connection until it is closed. The values change even where `behaviour` sends
    /// another answer.
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let mut answer = Vec::new();
            match words[0] {
                "get" => {
                    if let Some(value) = self.values.lock().get(words[1]) {
                        answer.extend(format!("VALUE {} 0 {}\r\n", words[1], value.len()).into_bytes());
                        answer.extend(value);
                        answer.extend(b"\r\n");
                    }
                    answer.extend(b"END\r\n");
                }
                "set" => {
                    let mut value = vec![0; words[4].parse::<usize>().unwrap() + 2];
                    stream.read_exact(&mut value).await?;
                    value.truncate(value.len() - 2);
                    self.values.lock().insert(words[1].to_owned(), value);
                    self.expires.lock().insert(words[1].to_owned(), words[3].parse().unwrap());
                    answer.extend(b"STORED\r\n");
                }
                "delete" => match self.values.lock().remove(words[1]) {
                    Some(_) => answer.extend(b"DELETED\r\n"),
                    None => answer.extend(b"NOT_FOUND\r\n"),
                },
                _ => answer.extend(b"ERROR\r\n"),
            }
            let behaviour = self.behaviour.lock().clone();
            match behaviour {
                FakeBehaviour::Proper => stream.write_all(&answer).await?,
                FakeBehaviour::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    stream.write_all(&answer).await?;
                }
                FakeBehaviour::Says(bytes) => stream.write_all(bytes).await?,
                FakeBehaviour::HangsUp => {
                    stream.write_all(&answer).await?;
                    return stream.shutdown().await;
                }
            }
        }
    }
}
