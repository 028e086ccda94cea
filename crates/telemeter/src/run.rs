//! From argv to the exit code: flags, log, traces, runtime, program, and back.

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
    dry_run::Mode,
    flags::{Config, Program, ProgramFlags},
    logs,
    output::{Printer, human},
    quickstart::guard,
    traces::{self, Traces},
};

/// The revision of the source, where it was known when this was built (see `build.rs`).
const REVISION: &str = match option_env!("TELEMETER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Why a program did not start, or ended before it should.
pub type RunFailure = Box<dyn Error + Send + Sync>;

/// How long the last spans, and then the last lines of the log, may take. A client has to be gone within a second.
const FLUSH: Duration = Duration::from_millis(500);
/// How long tasks that outlive their program may take.
const LINGER: Duration = Duration::from_millis(100);

/// Runs the program that argv names, or the one named here, by handing its `Config` to `start`; or one of `commands`.
///
/// Flags that clap refuses end with 2, and any failure to start with one line in the log and 1. A command that cannot be
/// done ends with one line on stderr and 2.
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
            // Nobody can be told that stderr is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let (log, warnings, mode) = (flags.log().config(), flags.warnings(), flags.mode());
    let (traces, config) = match ready(flags) {
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
        runtime.shutdown_timeout(LINGER);
        ended
    });
    let code = ended.unwrap_or_else(|failure| {
        let error: &(dyn Error + 'static) = &*failure;
        tracing::error!(error, "cannot go on");
        ExitCode::FAILURE
    });
    if !traces.shutdown(FLUSH) {
        tracing::warn!("the last traces were not sent");
    }
    if let Some(writer) = writer {
        writer.flush(FLUSH);
    }
    code
}

/// Runs a command on this thread, and says on stderr why it could not be done.
fn run_once(command: ReadyCommand) -> ExitCode {
    let logs = command.log().map(|log| logs::init(log, &traces::off(), DroppedLogLines::default())).transpose();
    let runtime = Builder::new_current_thread().enable_all().build();
    let ended = logs.and_then(|logs| {
        let runtime = runtime?;
        let ended = runtime.block_on(command.run(&mut Printer::stdout()));
        runtime.shutdown_timeout(LINGER);
        if let Some(writer) = logs {
            writer.flush(FLUSH);
        }
        ended
    });
    ended.unwrap_or_else(|failure| {
        // Whoever reads has read enough: `telemeter fleet silent | head`.
        if failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        // Nobody can be told that stderr is gone.
        let _ = writeln!(io::stderr(), "error: {}", human::safe(&causes(&*failure)));
        ExitCode::from(2)
    })
}

/// An error and what caused it, as one text. A cause whose words the error has already is not said again.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn ready(flags: ProgramFlags) -> Result<(Traces, Config), RunFailure> {
    let (config, tracing) = flags.config()?;
    let traces = tracing.map_or_else(|| Ok(traces::off()), |config| traces::build(&config))?;
    Ok((traces, config))
}

/// A client has one thing to do at a time, in little memory; the others use the machine.
fn runtime(config: &Config) -> io::Result<Runtime> {
    match config {
        Config::Client(_) => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().enable_all().build(),
    }
}
