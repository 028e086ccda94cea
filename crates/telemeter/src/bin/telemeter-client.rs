//! `telemeter-client`: the program under the name that manifests and scripts use.
//!
//! It runs in every cluster with little memory: it has no code of the other programs, and uses the allocator of the system.

fn main() -> std::process::ExitCode {
    telemeter::run(
        Some(telemeter::Program::Client),
        telemeter::commands::of_client,
        std::env::args_os(),
        telemeter::start_client,
    )
}
