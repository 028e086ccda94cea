//! `telemeter-client`: the name that manifests and scripts call.
//!
//! It runs on every cluster, in little memory: nothing of the other programs is in it, and the system allocates.

fn main() -> std::process::ExitCode {
    telemeter::run(
        Some(telemeter::Program::Client),
        telemeter::commands::of_client,
        std::env::args_os(),
        telemeter::start_client,
    )
}
