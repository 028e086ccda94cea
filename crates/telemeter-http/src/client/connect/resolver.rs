//! The resolver that looks up the addresses of a name.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// A function that looks up names. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(String, u16) -> Lookup + Send + Sync>);

impl Resolver {
    /// The system's resolver.
    pub fn system() -> Self {
        Self::new(|name, port| async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }

    /// A resolver that calls `lookup` with a name and a port.
    pub fn new<F, A>(lookup: F) -> Self
    where
        F: Fn(String, u16) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name, port| Box::pin(lookup(name, port))))
    }

    pub(super) async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (self.0)(name.to_owned(), port).await
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
