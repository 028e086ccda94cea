//! Runs a program or a command: from argv to the exit code.

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use telemeter_http::metrics::DroppedLogLines;
use tokio::runtime::{Builder, Runtime};

use crate::{
    commands::{CommandLine, Commands, ReadyCommand},
    failure::{self, RunFailure},
    flags::{Config, Mode, Program, ProgramFlags},
    logs,
    output::{Printer, human},
    quickstart::guard,
    traces::{self, Traces},
};

/// The revision of the source, as `build.rs` found it; `unknown` where it found none.
const REVISION: &str = match option_env!("TELEMETER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// How long sending the last spans may take, and then writing the last lines of the log. A client has to end within a
/// second.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long tasks that still run when the program has ended may take.
const TASKS_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs `program`, or where that is `None` the one that argv names: reads its flags and calls `start` with its `Config`.
/// Where argv names one of `commands`, runs that.
///
/// The exit code is 2 for flags that clap refuses, and 1 for a program that fails, with one line in the log. A command
/// that fails writes one line to stderr and exits with 2.
pub fn run<F>(
    program: Option<Program>,
    commands: Commands,
    argv: impl IntoIterator<Item = OsString>,
    start: impl FnOnce(Config, Mode) -> F,
) -> ExitCode
where
    F: Future<Output = Result<ExitCode, RunFailure>>,
{
    let argv: Vec<OsString> = argv.into_iter().collect();
    if program.is_none() && argv.get(1).is_some_and(|word| word == guard::WORD) {
        return guard::run();
    }
    let flags = match CommandLine::parse(program, commands, argv) {
        Ok(CommandLine::Program(flags)) => flags,
        Ok(CommandLine::Command(command)) => return run_once(command),
        Err(error) => {
            // Nothing can be done about a closed stderr.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let (log, warnings, mode) = (flags.log().config(), flags.warnings(), flags.mode());
    let (traces, config) = match configure(flags) {
        Ok((traces, config)) => (traces, Ok(config)),
        Err(failure) => (traces::off(), Err(failure)),
    };
    let dropped = DroppedLogLines::default();
    let logs = logs::init(log, &traces, dropped.clone());
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let writer = logs.as_ref().ok().cloned();
    let ended = logs.and(config).and_then(|mut config| {
        config.count_dropped_log_lines(dropped);
        config.set_revision(REVISION);
        let runtime = runtime(&config)?;
        let ended = runtime.block_on(start(config, mode));
        runtime.shutdown_timeout(TASKS_TIMEOUT);
        ended
    });
    let code = ended.unwrap_or_else(|failure| {
        let error: &(dyn Error + 'static) = &*failure;
        tracing::error!(error, "cannot go on");
        ExitCode::FAILURE
    });
    if !traces.shutdown(FLUSH_TIMEOUT) {
        tracing::warn!("the last traces were not sent");
    }
    if let Some(writer) = writer {
        writer.flush(FLUSH_TIMEOUT);
    }
    code
}

/// Runs a command on this thread; a failure is one line on stderr.
fn run_once(command: ReadyCommand) -> ExitCode {
    let logs = command.log().map(|log| logs::init(log, &traces::off(), DroppedLogLines::default())).transpose();
    let runtime = Builder::new_current_thread().enable_all().build();
    let ended = logs.and_then(|logs| {
        let runtime = runtime?;
        let ended = runtime.block_on(command.run(&mut Printer::stdout()));
        runtime.shutdown_timeout(TASKS_TIMEOUT);
        if let Some(writer) = logs {
            writer.flush(FLUSH_TIMEOUT);
        }
        ended
    });
    ended.unwrap_or_else(|failure| {
        // The reader has closed the pipe: `telemeter fleet silent | head`.
        if failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        // Nothing can be done about a closed stderr.
        let _ = writeln!(io::stderr(), "error: {}", human::safe(&failure::describe(&*failure)));
        ExitCode::from(2)
    })
}

/// The configuration, and the sending of traces that the flags ask for, which is off where they ask for none.
fn configure(flags: ProgramFlags) -> Result<(Traces, Config), RunFailure> {
    let (config, tracing) = flags.config()?;
    let traces = tracing.map_or_else(|| Ok(traces::off()), |config| traces::build(&config))?;
    Ok((traces, config))
}

/// A client does one thing at a time and has little memory, so it gets one thread; the others get a thread a core.
fn runtime(config: &Config) -> io::Result<Runtime> {
    match config {
        Config::Client(_) => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().enable_all().build(),
    }
}
