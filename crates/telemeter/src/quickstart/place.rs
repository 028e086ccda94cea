//! Where each part listens: where it was told to, or, where that default is taken, on a free port.

use std::{io, net::SocketAddr};

use telemeter_http::listen::{self, Listener};

use crate::run::RunFailure;

/// Where a part is to listen.
pub(super) struct ListenAddress {
    /// What the part binds.
    pub(super) address: String,
    /// What the reader is told where it is not what the flag says.
    pub(super) note: Option<String>,
}

/// Looks whether `asked` is free. A default that is taken gives way to a free port; what was asked for does not.
pub(super) async fn find(flag: &str, asked: &str, default: &str) -> Result<ListenAddress, RunFailure> {
    match listen::bind(asked).await {
        Ok(_free) => Ok(ListenAddress { address: asked.to_owned(), note: None }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && asked == default => {
            let note = format!("{asked} is taken: a free port in its place. {flag} HOST:PORT names another.");
            Ok(ListenAddress { address: "localhost:0".to_owned(), note: Some(note) })
        }
        Err(error) => Err(format!("{flag}: {error}; name another place, or a port of 0 for any free one").into()),
    }
}

/// The host and port that a person reaches `bound` by.
pub(super) fn authority(asked: &str, bound: SocketAddr) -> String {
    let host = asked.rsplit_once(':').map_or("", |(host, _)| host);
    if host.eq_ignore_ascii_case("localhost") || bound.ip().is_unspecified() {
        format!("localhost:{}", bound.port())
    } else {
        bound.to_string()
    }
}

/// Binds a place, and says where it is reached.
pub(super) async fn bind(place: &ListenAddress) -> io::Result<(Listener, String)> {
    let listener = listen::bind(&place.address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, authority(&place.address, bound)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_default_gives_way_and_a_wish_does_not() {
        let taken = listen::bind("localhost:0").await.unwrap();
        let address = authority("localhost:0", taken.local_addr().unwrap());
        let place = find("--listen", &address, &address).await.unwrap();
        assert_eq!(place.address, "localhost:0");
        let note = place.note.unwrap();
        assert!(note.contains(&address) && note.contains("--listen"), "{note}");

        let error = find("--listen", &address, "localhost:1").await.err().unwrap().to_string();
        assert!(error.contains("--listen: ") && error.contains(&address), "{error}");

        drop(taken);
        let place = find("--listen", &address, "localhost:1").await.unwrap();
        assert_eq!((place.address, place.note), (address, None));
    }

    #[test]
    fn what_a_person_types() {
        let check = |asked: &str, bound: &str, expected: &str| {
            assert_eq!(authority(asked, bound.parse().unwrap()), expected, "{asked}");
        };
        check("localhost:0", "127.0.0.1:7", "localhost:7");
        check(":9003", "[::]:9003", "localhost:9003");
        check("0.0.0.0:9003", "0.0.0.0:9003", "localhost:9003");
        check("127.0.0.2:9003", "127.0.0.2:9003", "127.0.0.2:9003");
        check("[::1]:9003", "[::1]:9003", "[::1]:9003");
    }
}
