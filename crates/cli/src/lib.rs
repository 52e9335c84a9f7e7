//! The `crescendo` command line: arguments, commands, and the wiring of all components.
//!
//! - [`run`]: from the words of the command line to an exit code.
//! - [`run_group`]: who runs, who stops when. [`printer`]: what is printed. [`logging`]: the log.
//!
//! Rule: components are wired here and nowhere else; nothing else of ours knows the command line.
#![forbid(unsafe_code)]

pub mod logging;
pub mod printer;
pub mod run_group;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::logging::{LogFormat, LogLevel};
use crate::printer::{ColorChoice, Printer};

/// Exit code: usage or runtime error. (0: fine; 1: the thing that was checked is not fine.)
const EXIT_ERROR: u8 = 2;

/// From speech to the right number of replicas.
#[derive(Debug, Parser)]
#[command(name = "crescendo", version, propagate_version = true)]
struct Cli {
    /// When to colour messages.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "General")]
    color: ColorChoice,
    /// The lowest level that is logged.
    #[arg(long = "log.level", global = true, value_enum, default_value_t, help_heading = "General")]
    log_level: LogLevel,
    /// How the log is written.
    #[arg(long = "log.format", global = true, value_enum, default_value_t, help_heading = "General")]
    log_format: LogFormat,
}

/// Runs the command that `args` name (the program's name first). Never panics on input.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(EXIT_ERROR) } else { ExitCode::SUCCESS };
        }
    };
    let printer = Printer::new(cli.color, std::env::var_os("NO_COLOR").is_some());
    if let Err(error) = logging::start(cli.log_level, cli.log_format, printer.color_stderr()) {
        printer.error(&error);
        return ExitCode::from(EXIT_ERROR);
    }
    ExitCode::SUCCESS
}
