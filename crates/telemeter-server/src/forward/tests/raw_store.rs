//! Tests with a store that closes the connection or does not answer, for the data of one cluster or of all.

use super::*;

/// What the store does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Answer(u16),
    Close,
    Hang,
}

/// A store on a plain TCP socket: it may close a connection, or never answer. It reads the metric names in a request.
struct RawStore {
    url: Url,
    requests: Arc<AtomicUsize>,
}

impl RawStore {
    async fn start(act: impl Fn(&[String]) -> Act + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, act.clone(), count.clone()));
            }
        });
        Self { url, requests }
    }

    fn forward(&self) -> Forward {
        let outbound = Outbound::new(OutboundConfig::new("forward"), None).unwrap();
        Forward::new(self.url.clone(), None, outbound, None, BatchConfig::default(), Negotiation::fixed(Protocol::V1))
            .unwrap()
    }
}

async fn serve(mut stream: tokio::net::TcpStream, act: impl Fn(&[String]) -> Act, requests: Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let end = head + 4 + length.parse::<usize>().unwrap();
                if read.len() >= end {
                    break (head + 4, end);
                }
            }
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let names = names_of(&read[end.0..end.1]);
        read.drain(..end.1);
        requests.fetch_add(1, Ordering::Relaxed);
        match act(&names) {
            Act::Close => return,
            Act::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
            Act::Answer(status) => {
                let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Runs thirty good clusters and one with data that the store cannot process. Returns the statuses of the good clusters
/// in the first seconds, their statuses after that, and the longest time that one of their requests took.
async fn beside_one_bad_cluster(act: Act) -> (Vec<u16>, Vec<u16>, Duration) {
    const LEARNS: Duration = Duration::from_secs(9);
    let store = RawStore::start(move |names| match names.iter().any(|name| name == "bad") {
        true => act,
        false => Act::Answer(200),
    })
    .await;
    let (forward, started) = (store.forward(), Instant::now());
    let writer = |cluster: usize| {
        let forward = forward.clone();
        tokio::spawn(async move {
            let (mut early, mut later, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
            while started.elapsed() < LEARNS + Duration::from_secs(2) {
                let sent = Instant::now();
                let name = if cluster == 0 { "bad" } else { "up" };
                let status = forward.send(&format!("c-{cluster}"), message(name)).await.status_code();
                longest = longest.max(sent.elapsed());
                if sent.duration_since(started) < LEARNS { &mut early } else { &mut later }.push(status);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (early, later, longest)
        })
    };
    let writers: Vec<_> = (0..31).map(writer).collect();
    let (mut early, mut later, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for (cluster, writer) in writers.into_iter().enumerate() {
        let heard = writer.await.unwrap();
        if cluster > 0 {
            early.extend(heard.0);
            later.extend(heard.1);
            longest = longest.max(heard.2);
        }
    }
    (early, later, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_breaks_on_one_cluster_s_data_however_takes_that_of_the_others() {
    let acts = [Act::Close, Act::Hang, Act::Answer(403), Act::Answer(502), Act::Answer(503), Act::Answer(400)];
    let outcomes = acts.map(|act| tokio::spawn(beside_one_bad_cluster(act)));
    for (act, outcome) in acts.into_iter().zip(outcomes) {
        let (early, later, longest) = outcome.await.unwrap();
        let good = |statuses: &[u16]| statuses.iter().filter(|status| **status == 200).count();
        assert!(later.len() > 300, "{act:?}: {} writes", later.len());
        assert!(good(&later) * 100 >= later.len() * 99, "{act:?}: {} of {}", good(&later), later.len());
        assert!(good(&early) * 100 >= early.len() * 95, "{act:?}: {} of {} at first", good(&early), early.len());
        assert!(longest < BUDGET + DEADLINE, "{act:?}: {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_nothing_is_given_a_pause() {
    for act in [Act::Close, Act::Answer(500)] {
        let store = RawStore::start(move |_| act).await;
        let (forward, started) = (store.forward(), Instant::now());
        let writers = (0..50).map(|cluster| {
            let forward = forward.clone();
            tokio::spawn(async move {
                while started.elapsed() < Duration::from_secs(4) {
                    assert_ne!(forward.send(&format!("c-{cluster}"), message("up")).await.status_code(), 200);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let requests = store.requests.load(Ordering::Relaxed);
        // A request on a closed connection is tried a second time.
        assert!(requests <= 60, "{act:?}: {requests} requests in 4 s");
    }
}
