//! Chooses where each part listens: at its flag's address, or on a free port where the default port is taken.

use std::{io, net::SocketAddr};

use telemeter_http::listen::{self, Listener};

use crate::failure::RunFailure;

/// The address that a part will listen on.
pub(super) struct ListenAddress {
    /// The address to bind.
    pub(super) address: String,
    /// A note for the user, where it is not the address of the flag.
    pub(super) note: Option<String>,
}

/// Checks whether `asked` is free. A default that is taken is replaced by a free port.
///
/// # Errors
/// An address other than the default is taken, or cannot be bound.
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

/// The host and port that a user can open `bound` with.
pub(super) fn authority(asked: &str, bound: SocketAddr) -> String {
    let host = asked.rsplit_once(':').map_or("", |(host, _)| host);
    if host.eq_ignore_ascii_case("localhost") || bound.ip().is_unspecified() {
        format!("localhost:{}", bound.port())
    } else {
        bound.to_string()
    }
}

/// Binds the address. Returns the listener and the host and port that a user can open.
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
    async fn a_taken_default_is_replaced_and_another_address_is_an_error() {
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
