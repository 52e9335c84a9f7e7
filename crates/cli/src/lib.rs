//! The `crescendo` command line: arguments, commands, and the wiring of all components.
//!
//! - [`run`]: from the words of the command line to an exit code.
//! - [`commands`]: one file each. [`run_group`]: who runs, who stops when.
//! - [`config`]: prometheus.yml. [`memory`]: the limit.
//! - [`wiring`]: the engine that `up` and `server` share. [`upkeep`]: the storage's owner. [`storage_view`]: the
//!   storage as the HTTP API shows and changes it.
//! - [`printer`], [`progress`], [`logging`]: what is printed. [`folders`], [`listen`], [`signals`], [`version`]:
//!   the edge.
//!
//! Rule: components are wired here and nowhere else; nothing else of ours knows the command line.
#![forbid(unsafe_code)]

pub mod commands;
pub mod config;
pub mod folders;
pub mod listen;
pub mod logging;
pub mod memory;
pub mod printer;
pub mod progress;
pub mod run_group;
pub mod signals;
pub mod storage_view;
pub mod upkeep;
pub mod version;
pub mod wiring;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    Outcome, adapter, asr, check, completion, explain, load, model, query, server, test, tsdb, up, verify,
};
use crate::logging::{LogFormat, LogLevel};
use crate::printer::{ColorChoice, Printer};

/// The thing that was checked is not fine.
const EXIT_NOT_FINE: u8 = 1;

/// Usage or runtime error.
const EXIT_ERROR: u8 = 2;

/// Something was found that is valid and yet not what was meant (`--lint-fatal`).
const EXIT_FINDINGS: u8 = 3;

/// From speech to the right number of replicas.
///
/// Exit codes: 0 fine, 1 the thing that was checked is not fine, 2 usage or runtime error, 3 findings with
/// `--lint-fatal`.
#[derive(Debug, Parser)]
#[command(name = "crescendo", version = version::LONG, propagate_version = true)]
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
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole loop on this machine: speech in, replicas out. No cluster.
    Up(Box<up::UpArgs>),
    /// A drop-in for Prometheus: scrape, store, query, rules and alerts, by its configuration and flags.
    Server(Box<server::ServerArgs>),
    /// A drop-in for prometheus-adapter: custom and external metrics for the Horizontal Pod Autoscaler.
    Adapter(Box<adapter::AdapterArgs>),
    /// The speech-recognition server: OpenAI's transcription API, a bounded queue, metrics.
    Asr(Box<asr::AsrArgs>),
    /// Speech at a server, and what came of it: latency, failures, real-time factor, a plot.
    Load(Box<load::LoadArgs>),
    #[command(subcommand)]
    Model(model::ModelCommand),
    #[command(subcommand)]
    Check(check::CheckCommand),
    /// Is everything right, from the pod to the autoscaler? Each check with what was asked, found, and what to do.
    Verify(Box<verify::VerifyArgs>),
    /// One decision of an autoscaler from end to end: rule, query, series, ratio, policies, and why it did not scale.
    Explain(Box<explain::ExplainArgs>),
    #[command(subcommand)]
    Query(query::QueryCommand),
    #[command(subcommand)]
    Test(test::TestCommand),
    /// Completion of command lines for a shell.
    Completion(completion::CompletionArgs),
    #[command(subcommand)]
    Tsdb(tsdb::TsdbCommand),
}

/// Runs the command that `args` name (the program's name first). Never panics on input.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no errors; a closed pipe is none either.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(EXIT_ERROR) } else { ExitCode::SUCCESS };
        }
    };
    let printer = Printer::new(cli.color, std::env::var_os("NO_COLOR").is_some());
    match logging::start(cli.log_level, cli.log_format, printer.color_stderr())
        .and_then(|()| execute(cli.command, printer))
    {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::NotFine) => ExitCode::from(EXIT_NOT_FINE),
        Ok(Outcome::Findings) => ExitCode::from(EXIT_FINDINGS),
        Err(error) => {
            printer.error(&error);
            ExitCode::from(EXIT_ERROR)
        }
    }
}

/// Parses the words; a server also learns all flags with their values, to show them.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut definition = Cli::command();
    let matches = definition.try_get_matches_from_mut(args)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
    if let (Command::Server(args), Some((name, given))) = (&mut cli.command, matches.subcommand())
        && let Some(definition) = definition.find_subcommand(name)
    {
        args.shown = server::ServerArgs::all_flags(definition, given);
    }
    Ok(cli)
}

fn execute(command: Command, printer: Printer) -> Result<Outcome> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Up(args) => up::run(*args, printer).await,
            Command::Server(args) => server::run(*args, printer).await,
            Command::Adapter(args) => adapter::run(*args, printer).await,
            Command::Load(args) => load::run(*args, printer).await,
            Command::Asr(args) => asr::run(*args, printer).await,
            Command::Model(command) => model::run(command, printer).await,
            Command::Check(command) => check::run(&command, printer).await,
            Command::Verify(args) => Box::pin(verify::run(&args, printer)).await,
            Command::Explain(args) => explain::run(&args, printer).await,
            Command::Query(command) => query::run(&command, printer).await,
            Command::Test(command) => test::run(&command, printer),
            Command::Completion(args) => completion::run(&args, Cli::command(), printer),
            Command::Tsdb(command) => tsdb::run(&command, printer),
        }
    });
    // A read of stdin cannot be cancelled; the process does not wait for it.
    runtime.shutdown_background();
    outcome
}
