//! `telemeter-benchmark`: the program under the name that manifests and scripts use.

fn main() -> std::process::ExitCode {
    telemeter::run(
        Some(telemeter::Program::Benchmark),
        telemeter::commands::none,
        std::env::args_os(),
        telemeter::start,
    )
}
