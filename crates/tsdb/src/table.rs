//! A hash table of ids whose keys live elsewhere: eight bytes a place, open addressing.
//!
//! Rule: the table stores 32 bits of the hash and the id; the caller compares the keys.

/// Ids by the hash of their keys.
#[derive(Debug, Default)]
pub(crate) struct IdTable {
    /// Upper hash bits and id + 1; zero marks a free place. The length is a power of two, or zero.
    places: Vec<(u32, u32)>,
    len: usize,
}

const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl IdTable {
    /// The id with this hash for which `same` holds.
    pub(crate) fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = tag(hash) as usize & mask;
        loop {
            let (found, id) = self.places[at];
            if id == 0 {
                return None;
            }
            if found == tag(hash) && same(id - 1) {
                return Some(id - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds an id; the caller knows that its key is not there.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        // At most three quarters full, so that a search ends soon.
        if (self.len + 1) * 4 > self.places.len() * 3 {
            let doubled = (self.places.len() * 2).max(16);
            let old = std::mem::replace(&mut self.places, vec![(0, 0); doubled]);
            for (tag, id) in old.into_iter().filter(|(_, id)| *id != 0) {
                self.place(tag, id);
            }
        }
        self.place(tag(hash), id + 1);
        self.len += 1;
    }

    fn place(&mut self, tag: u32, id: u32) {
        let mask = self.places.len() - 1;
        let mut at = tag as usize & mask;
        while self.places[at].1 != 0 {
            at = (at + 1) & mask;
        }
        self.places[at] = (tag, id);
    }

    /// Removes an id and closes the gap behind it.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let Some(mask) = self.places.len().checked_sub(1) else { return };
        let mut gap = tag(hash) as usize & mask;
        while self.places[gap] != (tag(hash), id + 1) {
            if self.places[gap].1 == 0 {
                return;
            }
            gap = (gap + 1) & mask;
        }
        self.len -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let (tag, id) = self.places[at];
            if id == 0 {
                break;
            }
            let home = tag as usize & mask;
            // The entry may move into the gap unless its home lies between the gap and itself.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places[gap] = (tag, id);
                gap = at;
            }
        }
        self.places[gap] = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn table_agrees_with_a_map(steps in proptest::collection::vec((any::<bool>(), 0u32..40), 0..200)) {
            // Few different hashes, so that chains and gaps occur.
            let hash = |id: u32| u64::from(id % 7) << 32;
            let mut table = IdTable::default();
            let mut model = HashMap::new();
            for (insert, id) in steps {
                if insert && model.insert(id, ()).is_none() {
                    table.insert(hash(id), id);
                } else if !insert {
                    model.remove(&id);
                    table.remove(hash(id), id);
                }
                for id in 0..40 {
                    let found = table.find(hash(id), |candidate| candidate == id);
                    prop_assert_eq!(found.is_some(), model.contains_key(&id));
                }
            }
        }
    }
}
