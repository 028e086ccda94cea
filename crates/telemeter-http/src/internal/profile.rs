//! CPU and heap profiles, in pprof's format. They contain no command-line arguments and no environment variables.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use axum::extract::RawQuery;
use axum::response::{Html, IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use pprof::protos::Message as _;
use tokio::sync::Mutex;

const DEFAULT_SECONDS: u64 = 30;
const MAX_SECONDS: u64 = 60;

/// Samples per second: not a divisor of 100, so that the samples do not coincide with timers.
const HERTZ: i32 = 99;

/// The lock of the CPU profiler, of which a process has only one.
static CPU: Mutex<()> = Mutex::const_new(());

/// A directory in memory, which every container has.
const SHARED_MEMORY: &str = "/dev/shm";

/// The page that links to the profiles.
pub(super) async fn index() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html><title>Profiles</title><h1>Profiles</h1><ul>\
         <li><a href=\"profile?seconds=10\">profile</a>: CPU, <code>?seconds=N</code>, 30 by default, at most 60</li>\
         <li><a href=\"heap\">heap</a>: memory in use, by where it was allocated</li></ul>\
         <p>Read them with <code>go tool pprof</code> or <code>pprof</code>.</p>\n",
    )
}

/// Samples the CPU for `?seconds=N` and responds with the profile. Another N than 1 to 60 is a 400, a request during
/// another CPU profile a 503, and a failure of the profiler a 500, of which the log has the reason.
pub(super) async fn cpu(RawQuery(query): RawQuery) -> Response {
    let Some(duration) = seconds(query.as_deref().unwrap_or_default()) else {
        return refuse(StatusCode::BAD_REQUEST, "seconds must be a whole number from 1 to 60\n");
    };
    let Ok(_turn) = CPU.try_lock() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "another CPU profile is being taken\n");
    };
    match sample_cpu(duration).await {
        Ok(body) => download("profile", body),
        Err(error) => {
            tracing::warn!(error, "no CPU profile");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "no CPU profile could be taken\n")
        }
    }
}

fn seconds(query: &str) -> Option<Duration> {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = asked.map_or(Some(DEFAULT_SECONDS), |text| text.parse().ok())?;
    (1..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Samples the stacks of the running threads, [`HERTZ`] times per second of processor time, for this long. Returns the
/// encoded profile, or the profiler's error.
async fn sample_cpu(duration: Duration) -> Result<Vec<u8>, String> {
    choose_temporary_folder();
    // Stack unwinding inside these libraries can hang in a signal handler.
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(HERTZ)
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(|error| error.to_string())?;
    tokio::time::sleep(duration).await;
    // The function names are looked up in the debug information, which is work for another thread.
    let report = move || -> Result<Vec<u8>, String> {
        let report = guard.report().build().map_err(|error| error.to_string())?;
        Ok(report.pprof().map_err(|error| error.to_string())?.encode_to_vec())
    };
    tokio::task::spawn_blocking(report).await.map_err(|error| error.to_string())?
}

/// Both profilers write a temporary file, and the root file system of a container is often read-only, with `/tmp`: then
/// the file goes to [`SHARED_MEMORY`]. Where neither is writable, the profiler returns an error.
fn choose_temporary_folder() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        if tempfile::tempfile().is_err() && tempfile::tempfile_in(SHARED_MEMORY).is_ok() {
            // No other code in the program sets this directory.
            let _chosen_before = tempfile::env::override_temp_dir(Path::new(SHARED_MEMORY));
        }
    });
}

/// Responds with a profile of the memory in use. Turns on the sampling of allocations where it is off; such a profile
/// contains only later allocations. Without jemalloc it is a 501; a failure is a 500, and the log has the reason.
pub(super) async fn heap() -> Response {
    if !is_jemalloc() {
        return no_heap().await;
    }
    let dump = || -> Result<Vec<u8>, String> {
        choose_temporary_folder();
        let control = jemalloc_pprof::PROF_CTL.as_ref();
        let control = control.ok_or("heap profiling is off: start with jemalloc's prof:true")?;
        let mut control = control.blocking_lock();
        if !control.activated() {
            control.activate().map_err(|error| error.to_string())?;
        }
        control.dump_pprof().map_err(|error| error.to_string())
    };
    match tokio::task::spawn_blocking(dump).await {
        Ok(Ok(body)) => download("heap", body),
        Ok(Err(error)) => {
            tracing::warn!(error, "no heap profile");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "no heap profile could be taken: the log says why\n")
        }
        Err(_panic) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "no heap profile could be taken\n"),
    }
}

/// Whether jemalloc, which is linked, is also the allocator of this program.
fn is_jemalloc() -> bool {
    const BYTES: usize = 1 << 16;
    let Ok(allocated) = tikv_jemalloc_ctl::thread::allocatedp::read() else { return false };
    let before = allocated.get();
    let probe = std::hint::black_box(Vec::<u8>::with_capacity(BYTES));
    let grown = allocated.get().wrapping_sub(before) >= BYTES as u64;
    drop(probe);
    grown
}

pub(super) async fn no_heap() -> Response {
    refuse(StatusCode::NOT_IMPLEMENTED, "no heap profiles in this program: `telemeter` has them\n")
}

fn download(name: &str, body: Vec<u8>) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    let value = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    response.headers_mut().extend(value.map(|value| (header::CONTENT_DISPOSITION, value)));
    response
}

fn refuse(status: StatusCode, line: &'static str) -> Response {
    (status, line).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_from_1_to_60() {
        let check = |query: &str, expected: Option<u64>| assert_eq!(seconds(query), expected.map(Duration::from_secs));
        check("", Some(30));
        check("debug=1", Some(30));
        check("debug=1&seconds=5", Some(5));
        check("seconds=60", Some(60));
        for wrong in ["seconds=0", "seconds=61", "seconds=-1", "seconds=", "seconds=x", "seconds=99999999999999999999"]
        {
            check(wrong, None);
        }
    }
}
