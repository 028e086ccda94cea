//! One connection to one memcached server, speaking the text protocol.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{CacheError, MAX_VALUE_BYTES};

/// The longest line of an answer: `VALUE`, a key of 250 bytes and three numbers.
const MAX_LINE_BYTES: u64 = 400;

/// A command. Its key and value are valid.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command<'a> {
    Get { key: &'a str },
    Set { key: &'a str, value: &'a [u8], expire_seconds: u64 },
    Delete { key: &'a str },
}

/// The answer to a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Value(Vec<u8>),
    Absent,
    Done,
}

impl<'a> Command<'a> {
    /// The key that the command reads or writes.
    pub(super) fn key(&self) -> &'a str {
        match self {
            Self::Get { key } | Self::Set { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The bytes of the command in memcached's text protocol.
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Get { key } => format!("get {key}\r\n").into_bytes(),
            Self::Delete { key } => format!("delete {key}\r\n").into_bytes(),
            Self::Set { key, value, expire_seconds } => {
                let mut bytes = format!("set {key} 0 {expire_seconds} {}\r\n", value.len()).into_bytes();
                bytes.extend_from_slice(value);
                bytes.extend_from_slice(b"\r\n");
                bytes
            }
        }
    }
}

/// A connection. It has to be dropped after any error, so that the rest of an answer is not read as the next one.
#[derive(Debug)]
pub(super) struct MemcachedConnection<S = TcpStream>(BufReader<S>);

impl MemcachedConnection {
    /// Connects to the server; [`CacheError::Unavailable`] where that fails. There is no timeout here.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, CacheError> {
        let stream = TcpStream::connect(address).await.map_err(|_| CacheError::Unavailable)?;
        let _ = stream.set_nodelay(true);
        Ok(Self::on_stream(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MemcachedConnection<S> {
    /// A connection on a stream that is already open.
    pub(super) fn on_stream(stream: S) -> Self {
        Self(BufReader::with_capacity(2 * 1024, stream))
    }

    /// Sends one command and reads its whole answer.
    pub(super) async fn run(&mut self, command: &Command<'_>) -> Result<Reply, CacheError> {
        self.0.get_mut().write_all(&command.encode()).await.map_err(|_| CacheError::Unavailable)?;
        let line = self.read_line().await?;
        let reply = match (command, line.as_str()) {
            (Command::Get { .. }, "END") => Reply::Absent,
            (Command::Get { key }, line) => Reply::Value(self.value(key, line).await?),
            (Command::Set { .. }, "STORED") | (Command::Delete { .. }, "DELETED" | "NOT_FOUND") => Reply::Done,
            _ => return Err(CacheError::Protocol),
        };
        // More bytes than the answer are a protocol error: no other command was sent.
        if self.0.buffer().is_empty() { Ok(reply) } else { Err(CacheError::Protocol) }
    }

    /// The rest of an answer that starts with `VALUE key flags length`.
    async fn value(&mut self, key: &str, line: &str) -> Result<Vec<u8>, CacheError> {
        let mut words = line.split(' ');
        let starts = words.next() == Some("VALUE") && words.next() == Some(key) && words.next().is_some();
        let length: usize = words.next().and_then(|word| word.parse().ok()).ok_or(CacheError::Protocol)?;
        if !starts || words.next().is_some() || length > MAX_VALUE_BYTES {
            return Err(CacheError::Protocol);
        }
        let mut value = vec![0; length + 2];
        self.0.read_exact(&mut value).await.map_err(|_| CacheError::Unavailable)?;
        if !value.ends_with(b"\r\n") || self.read_line().await? != "END" {
            return Err(CacheError::Protocol);
        }
        value.truncate(length);
        Ok(value)
    }

    /// Reads the next line of an answer, without its end `\r\n`.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] where the connection is closed; [`CacheError::Protocol`] where the line is longer
    /// than [`MAX_LINE_BYTES`], has another end, or is not UTF-8.
    async fn read_line(&mut self) -> Result<String, CacheError> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await;
        if read.map_err(|_| CacheError::Unavailable)? == 0 {
            return Err(CacheError::Unavailable);
        }
        let line = line.strip_suffix(b"\r\n").ok_or(CacheError::Protocol)?;
        String::from_utf8(line.to_vec()).map_err(|_| CacheError::Protocol)
    }
}
