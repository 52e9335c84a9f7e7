//! Groups in files that others write.
//!
//! ```text
//! every interval: patterns ─▶ files ─▶ changed? ─▶ parse ─▶ groups (a bad file: its last good ones)
//! ```
//!
//! Rule: a file that cannot be read or parsed keeps its last good groups; a file that is gone has none.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use twox_hash::XxHash64;

use crate::config::KnownGroups;
use crate::document::parse_groups;
use crate::glob::{FilePattern, PatternError};
use crate::metrics::DiscoveryMetrics;
use crate::{Discoverer, DiscovererFuture, TargetGroup, Updates};

/// The label with the path of the file that a target comes from.
pub const META_FILEPATH: &str = "__meta_filepath";

/// How often files are looked at, where the configuration asks for less often: Prometheus sees a change at
/// once (inotify), and looking costs one `stat` for each file.
pub const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The most files of one discoverer.
const MAX_FILES: usize = 1_000;

/// Watches files with target groups (`file_sd_configs`).
#[derive(Debug)]
pub struct FileDiscoverer {
    files: Files,
    poll_interval: Duration,
}

/// Whether a pattern can be served.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    FilePattern::new(pattern).map(|_pattern| ())
}

impl FileDiscoverer {
    /// Watches the files that match the patterns; `refresh_interval` is the longest time between two
    /// looks at them (5 s at most are waited in any case).
    ///
    /// # Errors
    ///
    /// A pattern is none that can be served.
    pub fn new<P: AsRef<str>>(
        patterns: impl IntoIterator<Item = P>,
        refresh_interval: Duration,
        metrics: DiscoveryMetrics,
    ) -> Result<Self, PatternError> {
        let patterns =
            patterns.into_iter().map(|pattern| FilePattern::new(pattern.as_ref())).collect::<Result<_, _>>()?;
        // An interval of zero would never yield.
        let poll_interval = refresh_interval.clamp(Duration::from_millis(1), MAX_POLL_INTERVAL);
        Ok(Self { files: Files { patterns, seen: BTreeMap::new(), metrics }, poll_interval })
    }

    async fn watch(mut self, updates: Updates) {
        let mut ticks = interval(self.poll_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = true;
        loop {
            ticks.tick().await;
            let mut files = self.files;
            let looked = tokio::task::spawn_blocking(move || {
                let groups = files.refresh();
                (files, groups)
            });
            let Ok((files, groups)) = looked.await else { return };
            self.files = files;
            let news = first || !groups.is_empty();
            first = false;
            if news && updates.send(groups).await.is_err() {
                return;
            }
        }
    }
}

impl Discoverer for FileDiscoverer {
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture {
        Box::pin(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.watch(updates) => {}
            }
        })
    }
}

/// The files, and what they last held.
#[derive(Debug)]
struct Files {
    patterns: Vec<FilePattern>,
    seen: BTreeMap<PathBuf, Seen>,
    metrics: DiscoveryMetrics,
}

/// A file as it was last read.
#[derive(Debug, Default)]
struct Seen {
    changed: Option<(SystemTime, u64)>,
    /// Whether the file was read again after time and size had been seen: a second write within the tick of
    /// the file system's clock shows in neither.
    settled: bool,
    hash: Option<u64>,
    /// The groups of the last good content.
    groups: usize,
    /// What is wrong with the present content.
    bad: Option<String>,
    /// The last error of any kind, so that it is logged once.
    logged: Option<String>,
}

impl Files {
    /// The groups that changed since the last call, those that are gone without targets.
    fn refresh(&mut self) -> Vec<TargetGroup> {
        let mut changed = Vec::new();
        let mut present: BTreeSet<PathBuf> = BTreeSet::new();
        for pattern in &self.patterns {
            match pattern.files() {
                Ok(files) => present.extend(files),
                Err(error) => {
                    self.metrics.file_read_errors.inc();
                    tracing::warn!(?pattern, %error, "cannot list target files; they keep their groups");
                    present.extend(self.seen.keys().cloned());
                }
            }
        }
        let gone: Vec<PathBuf> = self.seen.keys().filter(|path| !present.contains(*path)).cloned().collect();
        for path in gone {
            let groups = self.seen.remove(&path).map_or(0, |seen| seen.groups);
            self.metrics.file_mtime.remove([&path.to_string_lossy()]);
            changed.extend((0..groups).map(|index| TargetGroup::gone(format!("{}:{index}", path.display()))));
        }
        if present.len() > MAX_FILES {
            tracing::warn!(
                files = present.len(),
                limit = MAX_FILES,
                "too many target files; the last ones are left out"
            );
        }
        for path in present.into_iter().take(MAX_FILES) {
            let seen = self.seen.entry(path.clone()).or_default();
            match look(&path, seen, &self.metrics) {
                Ok(groups) => {
                    seen.logged = None;
                    changed.extend(groups);
                }
                Err(error) => {
                    self.metrics.file_read_errors.inc();
                    if seen.logged.as_ref() != Some(&error) {
                        tracing::warn!(path = %path.display(), error, "bad target file; its last good groups stay");
                    }
                    seen.logged = Some(error);
                }
            }
        }
        changed
    }
}

/// Looks at one file: its groups if the content is new, those that went from it without targets.
fn look(path: &Path, seen: &mut Seen, metrics: &DiscoveryMetrics) -> Result<Vec<TargetGroup>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let modified = metadata.modified().map_err(|error| error.to_string())?;
    let now = Some((modified, metadata.len()));
    let same = seen.changed == now;
    let unchanged = |seen: &Seen| seen.bad.clone().map_or_else(|| Ok(Vec::new()), Err);
    if same && seen.settled {
        return unchanged(seen);
    }
    let name = path.to_string_lossy();
    metrics.file_mtime.with([&name]).set(modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    let text = read(path).map_err(|error| error.to_string())?;
    seen.settled = same;
    seen.changed = now;
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(text.as_bytes());
    let hash = Some(hasher.finish());
    if seen.hash == hash {
        return unchanged(seen);
    }
    seen.hash = hash;
    let parsed = parse_groups(&name, META_FILEPATH, &text).map_err(|errors| errors.to_string());
    seen.bad = parsed.as_ref().err().cloned();
    let mut groups = parsed?;
    let before = std::mem::replace(&mut seen.groups, groups.len());
    groups.extend((groups.len()..before).map(|index| TargetGroup::gone(format!("{name}:{index}"))));
    Ok(groups)
}

/// What the files hold now.
pub(crate) fn known_groups(patterns: &[String]) -> KnownGroups {
    let mut known = KnownGroups::default();
    for text in patterns {
        let found = FilePattern::new(text).map_err(io::Error::other);
        let found = found.and_then(|pattern| Ok((pattern.is_path(), pattern.files()?)));
        let (is_path, files) = found.unwrap_or_else(|error| {
            known.problems.push(format!("{text}: {error}"));
            (false, Vec::new())
        });
        if is_path && files.is_empty() {
            known.missing.push(text.clone());
        }
        for path in files.iter().take(MAX_FILES) {
            let name = path.to_string_lossy();
            let parsed = read(path).map_err(|error| format!("{name}: {error}"));
            let parsed =
                parsed.and_then(|text| parse_groups(&name, META_FILEPATH, &text).map_err(|errors| errors.to_string()));
            match parsed {
                Ok(groups) => known.groups.extend(groups),
                Err(problem) => known.problems.push(problem),
            }
        }
    }
    known
}

/// The text of a file, up to the bound of the parser.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bound = yaml::MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?.take(bound).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use datamodel::registry::Registry;
    use tokio::sync::mpsc;

    use super::*;
    use crate::Update;

    fn files(patterns: &[String]) -> Files {
        let metrics = DiscoveryMetrics::new(&Registry::new()).unwrap();
        FileDiscoverer::new(patterns, MAX_POLL_INTERVAL, metrics).unwrap().files
    }

    /// Source without its directory, and the number of targets, of each group.
    fn refresh(files: &mut Files) -> Vec<(String, usize)> {
        let name = |group: &TargetGroup| group.source.rsplit('/').next().unwrap_or_default().to_owned();
        files.refresh().iter().map(|group| (name(group), group.targets.len())).collect()
    }

    fn owned(groups: &[(&str, usize)]) -> Vec<(String, usize)> {
        groups.iter().map(|(source, targets)| ((*source).to_owned(), *targets)).collect()
    }

    #[test]
    fn changes_of_files_become_changes_of_groups() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut files = files(&[path("*.yml").display().to_string(), path("one.json").display().to_string()]);
        assert_eq!(refresh(&mut files), owned(&[]));
        std::fs::write(path("a.yml"), "- targets: [x:1, y:2]\n- targets: [z:3]\n").unwrap();
        std::fs::write(path("one.json"), r#"[{"targets": ["j:1"]}]"#).unwrap();
        std::fs::write(path("other.json"), r#"[{"targets": ["j:1"]}]"#).unwrap();
        assert_eq!(refresh(&mut files), owned(&[("a.yml:0", 2), ("a.yml:1", 1), ("one.json:0", 1)]));
        assert_eq!(refresh(&mut files), owned(&[]));
        // The same number of bytes, perhaps within the tick of the file system's clock.
        std::fs::write(path("one.json"), r#"[{"targets": ["k:1"]}]"#).unwrap();
        assert_eq!(refresh(&mut files), owned(&[("one.json:0", 1)]));
        std::fs::write(path("a.yml"), "- targets: [x:1]\n").unwrap();
        assert_eq!(refresh(&mut files), owned(&[("a.yml:0", 1), ("a.yml:1", 0)]));
        std::fs::remove_file(path("a.yml")).unwrap();
        assert_eq!(refresh(&mut files), owned(&[("a.yml:0", 0)]));
        assert_eq!(refresh(&mut files), owned(&[]));
    }

    #[test]
    fn bad_file_keeps_its_last_good_groups() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yml");
        let mut files = files(&[path.display().to_string()]);
        std::fs::write(&path, "- targets: [x:1]\n").unwrap();
        assert_eq!(refresh(&mut files), owned(&[("a.yml:0", 1)]));
        std::fs::write(&path, "- targets: {broken}\n").unwrap();
        for errors in 1..=3 {
            assert_eq!(refresh(&mut files), owned(&[]));
            assert!((files.metrics.file_read_errors.get() - f64::from(errors)).abs() < f64::EPSILON);
        }
        std::fs::write(&path, "- targets: [x:1, y:2]\n").unwrap();
        assert_eq!(refresh(&mut files), owned(&[("a.yml:0", 2)]));
        assert!((files.metrics.file_read_errors.get() - 3.0).abs() < f64::EPSILON);
    }

    #[tokio::test(start_paused = true)]
    async fn discoverer_reports_at_once_and_after_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yml");
        std::fs::write(&path, "- targets: [x:1]\n").unwrap();
        let metrics = DiscoveryMetrics::new(&Registry::new()).unwrap();
        let discoverer = FileDiscoverer::new([path.display().to_string()], MAX_POLL_INTERVAL, metrics).unwrap();
        let (sender, mut updates) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let run = Box::new(discoverer).run(Updates::new(3, sender), shutdown.clone());
        let targets = |update: Option<Update>| update.unwrap().groups.iter().map(|group| group.targets.len()).sum();
        let test = async {
            let first: usize = targets(updates.recv().await);
            assert_eq!(first, 1);
            std::fs::write(&path, "- targets: [x:1, y:2]\n").unwrap();
            let second: usize = targets(updates.recv().await);
            assert_eq!(second, 2);
            shutdown.cancel();
            assert_eq!(updates.recv().await, None);
        };
        tokio::join!(run, test);
    }
}
