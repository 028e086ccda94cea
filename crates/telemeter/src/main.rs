//! `telemeter`: the one binary, a subcommand a program.

/// Keeps heap profiles, which `/debug/pprof/heap` answers with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    telemeter::run(None, std::env::args_os(), telemeter::start)
}
