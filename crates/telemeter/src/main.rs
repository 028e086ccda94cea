//! `telemeter`: the binary that has all programs as subcommands. Started by a link with the name of a program, it runs that
//! program.

use telemeter::Program;

/// jemalloc can profile the heap; `/debug/pprof/heap` returns the profile.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let program = std::env::args_os().next().and_then(|argv0| Program::called_as(&argv0));
    telemeter::run(program, telemeter::commands::all, std::env::args_os(), telemeter::start)
}
