//! The `crescendo` binary.
//!
//! Rule: nothing here but the way into the library; only this file ends the process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
