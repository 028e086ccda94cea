//! `telemeter-server`: the name that manifests and scripts call.

/// Keeps heap profiles, which `/debug/pprof/heap` answers with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    telemeter::run(
        Some(telemeter::Program::Server),
        telemeter::commands::of_server,
        std::env::args_os(),
        telemeter::start,
    )
}
