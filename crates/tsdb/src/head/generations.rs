//! Which series references are alive, told without a lock.
//!
//! Rule: what is told may be older than the head; a commit asks the head itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const BLOCK: usize = 1 << 14;
/// Blocks that there may be: 67 million series. Those behind are only told by a commit.
const BLOCKS: usize = 1 << 12;

/// The generation of each series id; zero where no series is.
#[derive(Debug)]
pub(crate) struct Generations(Box<[OnceLock<Box<[AtomicU32]>>]>);

impl Default for Generations {
    fn default() -> Self {
        Self((0..BLOCKS).map(|_| OnceLock::new()).collect())
    }
}

impl Generations {
    pub(super) fn set(&self, id: u32, generation: u32) {
        let Some(block) = self.0.get(id as usize / BLOCK) else { return };
        let block = block.get_or_init(|| (0..BLOCK).map(|_| AtomicU32::new(0)).collect());
        if let Some(place) = block.get(id as usize % BLOCK) {
            place.store(generation, Ordering::Release);
        }
    }

    /// Whether the id has this generation, as far as that is known.
    pub(super) fn may_be(&self, id: u32, generation: u32) -> bool {
        let Some(block) = self.0.get(id as usize / BLOCK) else { return true };
        let place = block.get().and_then(|block| block.get(id as usize % BLOCK));
        place.is_some_and(|place| place.load(Ordering::Acquire) == generation)
    }
}
