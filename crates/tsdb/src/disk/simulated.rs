//! A disk in memory that forgets, when its power is taken away, what was not synced.
//!
//! ```text
//! step 1 … step k - 1    step k: the power is gone, this and every later call fails
//!                              └─▶ after_power_loss: what was synced, and any part of the rest
//! ```
//!
//! Rule: it is as forgetful as a disk may be: unsynced names and bytes stay or vanish each for itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::lock::FolderLock;
use crate::options::OpenError;

use super::mapped::Mapped;
use super::{Disk, DiskFile};

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsynced {
    Lost,
    Kept,
    /// Each name and each run of bytes as a seed decides.
    Either(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Folder,
    /// Index of the content.
    File(usize),
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

/// Names that change together, in one folder.
#[derive(Clone, Debug)]
struct Change {
    folder: PathBuf,
    names: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Debug, Default)]
struct State {
    steps: u64,
    dies_at: Option<u64>,
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    unsynced: Vec<Change>,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    content: usize,
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    /// Counts a step that changes something; fails from the last one on.
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.dies_at.is_some_and(|last| self.steps >= last) { Err(no_power()) } else { Ok(()) }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        if self.dies_at.is_some_and(|last| self.steps >= last) {
            return Err(no_power());
        }
        match self.names.get(path) {
            Some(Node::File(content)) => Ok(*content),
            _ => Err(not_found()),
        }
    }

    fn change(&mut self, names: Vec<(PathBuf, Option<Node>)>) -> io::Result<()> {
        let folder = names.first().and_then(|(path, _)| path.parent()).ok_or_else(not_found)?.to_path_buf();
        if self.names.get(&folder) != Some(&Node::Folder) {
            return Err(not_found());
        }
        for (path, node) in &names {
            set(&mut self.names, path, *node);
        }
        self.unsynced.push(Change { folder, names });
        Ok(())
    }

    fn sync_folder(&mut self, folder: &Path) {
        let (synced, left) = self.unsynced.drain(..).partition(|change: &Change| change.folder == folder);
        self.unsynced = left;
        for (path, node) in Vec::into_iter(synced).flat_map(|change| change.names) {
            set(&mut self.durable, &path, node);
        }
    }
}

fn set(names: &mut BTreeMap<PathBuf, Node>, path: &Path, node: Option<Node>) {
    match node {
        Some(node) => names.insert(path.to_path_buf(), node),
        None => names.remove(path),
    };
}

impl SimulatedDisk {
    /// A disk with one empty folder, whose power goes at this step.
    pub(crate) fn new(folder: &Path, dies_at: Option<u64>) -> Self {
        let names = BTreeMap::from([(folder.to_path_buf(), Node::Folder)]);
        Self(Arc::new(Mutex::new(State { dies_at, durable: names.clone(), names, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Whether the power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        let state = self.state();
        state.dies_at.is_some_and(|last| state.steps >= last)
    }

    /// The disk when the power is back; it goes again at a later step, if at all.
    pub(crate) fn after_power_loss(&self, unsynced: Unsynced, dies_at: Option<u64>) -> Self {
        let state = self.state();
        let mut random = StdRng::seed_from_u64(if let Unsynced::Either(seed) = unsynced { seed } else { 0 });
        let mut stays = |unsynced: Unsynced| match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Either(_) => random.random_bool(0.5),
        };
        let mut names = state.durable.clone();
        for (path, node) in state.unsynced.iter().filter(|_| stays(unsynced)).flat_map(|change| &change.names) {
            set(&mut names, path, *node);
        }
        // What lies in a folder without a name is lost with it.
        let lost: Vec<PathBuf> = names
            .keys()
            .filter(|path| path.ancestors().skip(1).any(|above| above.parent().is_some() && gone(&names, above)))
            .cloned()
            .collect();
        names.retain(|path, _| !lost.contains(path));
        let contents = state.contents.iter().map(|content| {
            let kept = match unsynced {
                Unsynced::Lost => content.synced.clone(),
                Unsynced::Kept => content.bytes.clone(),
                Unsynced::Either(_) => part_of(content, &mut random),
            };
            Content { synced: kept.clone(), bytes: kept }
        });
        let contents = contents.collect();
        let state = State { dies_at, contents, durable: names.clone(), names, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The paths of all files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }
}

/// Whether a folder that simulated paths lie in has no name. Folders above the first are not simulated.
fn gone(names: &BTreeMap<PathBuf, Node>, folder: &Path) -> bool {
    let top = names.keys().next().map(PathBuf::as_path).unwrap_or(folder);
    folder.starts_with(top) && !names.contains_key(folder)
}

/// Synced bytes, and behind them some of the others: cut anywhere, and with a hole of zeros.
fn part_of(content: &Content, random: &mut StdRng) -> Vec<u8> {
    let Content { bytes, synced } = content;
    if bytes.len() <= synced.len() || !bytes.starts_with(synced) {
        return if random.random_bool(0.5) { bytes.clone() } else { synced.clone() };
    }
    let mut kept = bytes.clone();
    kept.truncate(random.random_range(synced.len()..=bytes.len()));
    if kept.len() > synced.len() && random.random_bool(0.3) {
        let hole = random.random_range(synced.len()..kept.len());
        kept[hole..].fill(0);
    }
    kept
}

impl Disk for SimulatedDisk {
    fn lock(&self, _folder: &Path) -> Result<Option<FolderLock>, OpenError> {
        Ok(None)
    }

    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        if self.state().names.contains_key(folder) {
            return Ok(());
        }
        folder.parent().map_or(Ok(()), |parent| self.create_folders(parent))?;
        self.create_folder(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.names.contains_key(folder) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(vec![(folder.to_path_buf(), Some(Node::Folder))])?;
        state.step()?;
        folder.parent().into_iter().for_each(|parent| state.sync_folder(parent));
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        Ok(state.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.state().names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.step()?;
        state.contents.push(Content::default());
        let content = state.contents.len() - 1;
        state.change(vec![(path.to_path_buf(), Some(Node::File(content)))])?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), content }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.file(path).map(|content| state.contents[content].bytes.clone())
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        self.read(path).map(Mapped::memory)
    }

    fn cut(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.file(path)?;
        let content = &mut state.contents[content];
        content.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        content.synced = content.bytes.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.file(from)?;
        state.change(vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(Node::File(content)))])
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.file(path)?;
        state.change(vec![(path.to_path_buf(), None)])
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.file(from)?;
        state.change(vec![(to.to_path_buf(), Some(Node::File(content)))])
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.sync_folder(folder);
        Ok(())
    }

    fn byte_len(&self, folder: &Path) -> u64 {
        let state = self.state();
        let within = state.names.iter().filter(|(path, _)| path.starts_with(folder));
        let len = |node: &Node| if let Node::File(content) = node { state.contents[*content].bytes.len() } else { 0 };
        within.map(|(_, node)| len(node) as u64).sum()
    }
}

impl DiskFile for SimulatedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let alive = state.step();
        // The write during which the power goes may have been half done.
        let written = if alive.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        state.contents[self.content].bytes.extend_from_slice(written);
        alive
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        state.contents[self.content].bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        let content = &mut state.contents[self.content];
        content.synced = content.bytes.clone();
        Ok(())
    }
}
