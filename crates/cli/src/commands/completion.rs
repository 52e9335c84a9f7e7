//! `crescendo completion`: what a shell needs to complete our command lines.

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::Outcome;
use crate::printer::Printer;

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  source <(crescendo completion bash)")]
pub struct CompletionArgs {
    /// The shell.
    shell: Shell,
}

/// Prints the script of a shell for the command line `definition`.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn run(args: &CompletionArgs, mut definition: Command, printer: Printer) -> Result<Outcome> {
    let mut script = Vec::new();
    generate(args.shell, &mut definition, "crescendo", &mut script);
    printer.data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Fine)
}
