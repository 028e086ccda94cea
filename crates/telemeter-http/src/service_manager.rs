//! Notifies the service manager that started this process of its progress, where it asks for that: systemd does so for
//! units of `Type=notify`, with the name of a datagram socket in `NOTIFY_SOCKET`.
//!
//! Source: sd_notify(3), "Notes": the protocol is stable, and programs may implement it without the library.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The progress of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceProgress {
    /// The program listens, or has reloaded its files.
    Ready,
    /// The program reloads its files; [`ServiceProgress::Ready`] follows, also where the reload failed.
    Reloading,
    /// The program was asked to end, and finishes its open requests.
    Stopping,
}

/// Notifies the service manager, where there is one. A failure is logged, and the program continues.
pub fn notify(progress: ServiceProgress) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send_progress(&socket, progress) {
        tracing::warn!(%error, ?progress, socket = %socket.display(), "the service manager cannot be told");
    }
}

/// Sends one datagram to the socket, which is a path or, with `@`, an abstract name; it does not wait. Returns an error
/// for any other name, and where the datagram cannot be sent.
fn send_progress(socket: &OsStr, progress: ServiceProgress) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // This is an abstract socket name, which is not a path.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let message: &[u8] = match progress {
        ServiceProgress::Ready => b"READY=1\n",
        ServiceProgress::Reloading => b"RELOADING=1\n",
        ServiceProgress::Stopping => b"STOPPING=1\n",
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("telemeter-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let abstract_name = format!("@{name}");
        for (socket, address) in [(&by_path, path.as_os_str()), (&by_name, OsStr::new(&abstract_name))] {
            for (progress, expected) in [
                (ServiceProgress::Ready, "READY=1\n"),
                (ServiceProgress::Reloading, "RELOADING=1\n"),
                (ServiceProgress::Stopping, "STOPPING=1\n"),
            ] {
                send_progress(address, progress).unwrap();
                assert_eq!(received(socket), expected);
            }
        }
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for socket in ["vsock:2:1234", "relative", &directory.path().join("nobody").display().to_string()] {
            assert!(send_progress(OsStr::new(socket), ServiceProgress::Ready).is_err(), "{socket}");
        }
    }
}
