//! A load balancer: a TCP proxy that gives each new connection to the next replica, and skips a replica that is down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running proxy; it ends when this is dropped.
pub(crate) struct RunningProxy {
    address: SocketAddr,
    served: Arc<[AtomicUsize]>,
    task: JoinHandle<()>,
}

impl RunningProxy {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) async fn start(replicas: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let served: Arc<[AtomicUsize]> = replicas.iter().map(|_| AtomicUsize::new(0)).collect();
        let task = tokio::spawn(accept(listener, replicas, Arc::clone(&served)));
        Self { address, served, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the number of connections that each replica got.
    pub(crate) fn served(&self) -> Vec<usize> {
        self.served.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, replicas: Vec<SocketAddr>, served: Arc<[AtomicUsize]>) {
    let mut turn = 0;
    while let Ok((mut inbound, _)) = listener.accept().await {
        turn += 1;
        let (replicas, served) = (replicas.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            for step in 0..replicas.len() {
                let chosen = (turn + step) % replicas.len();
                if let Ok(mut outbound) = TcpStream::connect(replicas[chosen]).await {
                    served[chosen].fetch_add(1, Ordering::Relaxed);
                    // A broken connection is noticed at its two ends, so the error is ignored here.
                    let _broken = copy_bidirectional(&mut inbound, &mut outbound).await;
                    return;
                }
            }
        });
    }
}
