//! `telemeter`: the one binary, a subcommand a program. A link to it under the name of a program is that program.

use telemeter::Program;

/// Keeps heap profiles, which `/debug/pprof/heap` answers with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let program = std::env::args_os().next().and_then(|argv0| Program::called_as(&argv0));
    telemeter::run(program, telemeter::commands::all, std::env::args_os(), telemeter::start)
}
