//! `telemeter-server`: the program under the name that manifests and scripts use.

/// jemalloc can profile the heap; `/debug/pprof/heap` returns the profile.
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
