//! Tests the programs as units of `Type=notify`: which notifications the service manager gets, and when.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write as _,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The deadline is long, because a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program; it ends at the end of the test, even where the test fails.
struct ServiceProgram(Child);

impl Drop for ServiceProgram {
    fn drop(&mut self) {
        // Both calls fail only where the program has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ready_reloading_and_stopping_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut matches = std::fs::File::create(directory.path().join("matches")).unwrap();
    matches.write_all(b"{__name__=\"up\"}\n").unwrap();
    let match_file = format!("--match-file={}", directory.path().join("matches").display());
    let server =
        ["--authorize=http://127.0.0.1:1/", "--forward-url=http://127.0.0.1:1/", "--listen-internal=localhost:0"];
    let client = ["--from=http://127.0.0.1:1", "--to=http://127.0.0.1:1", "--to-token=t", "--id=i", &match_file];
    for (name, program, flags) in [
        ("server", env!("CARGO_BIN_EXE_telemeter-server"), &server[..]),
        ("client", env!("CARGO_BIN_EXE_telemeter-client"), &client[..]),
    ] {
        let path = directory.path().join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let told = || {
            let mut buffer = [0; 100];
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{name} tells nothing: {error}"));
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let mut command = Command::new(program);
        command.args(flags).arg("--listen=localhost:0").env("NOTIFY_SOCKET", &path).stderr(Stdio::null());
        let mut running = ServiceProgram(command.spawn().unwrap());
        let signal = |signal: &str, pid: u32| {
            assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
        };
        assert_eq!(told(), "READY=1\n", "{name}");
        signal("-HUP", running.0.id());
        assert_eq!([told(), told()], ["RELOADING=1\n", "READY=1\n"], "{name}");
        // The service also continues after a reload that fails, and reports its end.
        std::fs::rename(directory.path().join("matches"), directory.path().join("gone")).unwrap();
        signal("-HUP", running.0.id());
        assert_eq!([told(), told()], ["RELOADING=1\n", "READY=1\n"], "{name}");
        std::fs::rename(directory.path().join("gone"), directory.path().join("matches")).unwrap();
        signal("-TERM", running.0.id());
        assert_eq!(told(), "STOPPING=1\n", "{name}");
        assert!(running.0.wait().unwrap().success(), "{name}");
    }
}
