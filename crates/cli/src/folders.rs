//! Where things lie when nobody says where: the cache, and the state of the laptop mode.
//!
//! Rule: the environment is read here, once, and passed on as values.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Reads a variable of the environment; an empty one counts as absent.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn below(variable_name: &str, home_folder: &str) -> Result<PathBuf> {
    if let Some(base) = variable(variable_name) {
        return Ok(PathBuf::from(base).join("crescendo"));
    }
    let home = variable("HOME").context("HOME is not set: name the folder with a flag")?;
    Ok(PathBuf::from(home).join(home_folder).join("crescendo"))
}

/// What can be fetched again: `CRESCENDO_CACHE`, else below `XDG_CACHE_HOME`, else `~/.cache/crescendo`.
///
/// # Errors
///
/// None of the variables nor HOME is set.
pub fn cache() -> Result<PathBuf> {
    variable("CRESCENDO_CACHE").map_or_else(|| below("XDG_CACHE_HOME", ".cache"), |path| Ok(PathBuf::from(path)))
}

/// What a run leaves for the next one: below `XDG_STATE_HOME`, else `~/.local/state/crescendo`.
///
/// # Errors
///
/// Neither the variable nor HOME is set.
pub fn state() -> Result<PathBuf> {
    below("XDG_STATE_HOME", ".local/state")
}
