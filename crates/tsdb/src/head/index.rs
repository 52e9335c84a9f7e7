//! Names of the series in the head: strings once, pairs once, label sets as lists of pair ids.
//!
//! ```text
//! symbol: text ─▶ u32    pair: (name, value) ─▶ u32, with its postings    set: [pair] in one arena
//! ```
//!
//! Rule: nothing is removed but series; [`Index::rebuilt`] makes a new index without what is left over.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use datamodel::Labels;

use crate::bytes::Corrupt;
use crate::postings::{LabelIndex, union};
use crate::table::IdTable;

/// Strings by number.
#[derive(Debug, Default)]
struct Symbols {
    text: String,
    ends: Vec<u32>,
    table: IdTable,
    /// Keyed by the process, so that label values cannot be chosen to collide.
    hasher: RandomState,
}

impl Symbols {
    fn get(&self, id: u32) -> &str {
        let id = id as usize;
        let start = id.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(id).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or("")
    }

    fn find(&self, text: &str) -> Option<u32> {
        self.table.find(self.hasher.hash_one(text), |id| self.get(id) == text)
    }

    /// `None` when four gigabytes of text are reached.
    fn intern(&mut self, text: &str) -> Option<u32> {
        if let Some(id) = self.find(text) {
            return Some(id);
        }
        let end = u32::try_from(self.text.len() + text.len()).ok()?;
        let id = u32::try_from(self.ends.len()).ok()?;
        self.text.push_str(text);
        self.ends.push(end);
        self.table.insert(self.hasher.hash_one(text), id);
        Some(id)
    }
}

#[derive(Debug)]
struct Pair {
    name: u32,
    value: u32,
    postings: Vec<u32>,
}

/// Where a label set lies in the arena.
#[derive(Clone, Copy, Debug, Default)]
struct SetAt {
    start: u32,
    len: u32,
}

/// Labels and postings of the series in the head.
#[derive(Debug, Default)]
pub(crate) struct Index {
    symbols: Symbols,
    pairs: Vec<Pair>,
    pair_table: IdTable,
    /// Pairs by name symbol.
    names: BTreeMap<u32, Vec<u32>>,
    arena: Vec<u32>,
    /// By series id; the length is zero where no series is.
    sets: Vec<SetAt>,
    set_table: IdTable,
    live: usize,
}

/// Mixes well enough for ids that the process hands out itself.
const fn mix(hash: u64, id: u32) -> u64 {
    (hash ^ id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The hash of a set of pairs, as numbers that the process hands out itself.
pub(crate) fn hash_set(pairs: &[u32]) -> u64 {
    pairs.iter().fold(0x51_7c_c1_b7, |hash, id| mix(hash, *id))
}

impl Index {
    fn set(&self, series: u32) -> &[u32] {
        let at = self.sets.get(series as usize).copied().unwrap_or_default();
        self.arena.get(at.start as usize..(at.start + at.len) as usize).unwrap_or(&[])
    }

    fn find_pair(&self, name: u32, value: u32) -> Option<u32> {
        let hash = mix(mix(0, name), value);
        self.pair_table.find(hash, |id| {
            let pair = &self.pairs[id as usize];
            pair.name == name && pair.value == value
        })
    }

    /// Number of series.
    pub(crate) const fn len(&self) -> usize {
        self.live
    }

    /// Number of pairs that any series, present or past, has had since the last rebuild.
    pub(crate) const fn pairs_len(&self) -> usize {
        self.pairs.len()
    }

    /// Number of strings.
    pub(crate) const fn symbols_len(&self) -> usize {
        self.symbols.ends.len()
    }

    /// Bytes that the index holds, nearly.
    pub(crate) fn byte_len(&self) -> usize {
        let postings: usize = self.arena.len() * 4;
        self.symbols.text.len()
            + self.symbols.ends.len() * 16
            + self.pairs.len() * 60
            + postings
            + self.sets.len() * 8
            + self.arena.len() * 4
            + self.live * 12
    }

    /// The series with this label set, ascending by name.
    pub(crate) fn find<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<u32> {
        // Nearly all sets fit; the others take one allocation.
        let (mut few, mut many) = ([0; 24], Vec::new());
        let mut len = 0;
        for (name, value) in labels {
            let pair = self.find_pair(self.symbols.find(name)?, self.symbols.find(value)?)?;
            match few.get_mut(len) {
                Some(place) => *place = pair,
                None if many.is_empty() => many = few.iter().copied().chain([pair]).collect(),
                None => many.push(pair),
            }
            len += 1;
        }
        let pairs = if many.is_empty() { few.get(..len)? } else { many.as_slice() };
        self.set_table.find(hash_set(pairs), |id| self.set(id) == pairs)
    }

    /// Names a series that [`find`](Self::find) did not find. `None` when the index is full.
    pub(crate) fn insert(&mut self, series: u32, labels: &Labels) -> Option<()> {
        let mut pairs = Vec::with_capacity(16);
        for (name, value) in labels {
            pairs.push(self.intern_pair(name, value)?);
        }
        let start = u32::try_from(self.arena.len()).ok()?;
        let len = u32::try_from(pairs.len()).ok()?;
        start.checked_add(len)?;
        for pair in &pairs {
            let postings = &mut self.pairs[*pair as usize].postings;
            match postings.last() {
                Some(last) if *last > series => {
                    let at = postings.partition_point(|id| *id < series);
                    postings.insert(at, series);
                }
                _ => postings.push(series),
            }
        }
        let id = series as usize;
        if self.sets.len() <= id {
            self.sets.resize(id + 1, SetAt::default());
        }
        self.sets[id] = SetAt { start, len };
        self.set_table.insert(hash_set(&pairs), series);
        self.arena.extend_from_slice(&pairs);
        self.live += 1;
        Some(())
    }

    fn intern_pair(&mut self, name: &str, value: &str) -> Option<u32> {
        let name = self.symbols.intern(name)?;
        let value = self.symbols.intern(value)?;
        if let Some(id) = self.find_pair(name, value) {
            return Some(id);
        }
        let id = u32::try_from(self.pairs.len()).ok()?;
        self.pairs.push(Pair { name, value, postings: Vec::new() });
        self.pair_table.insert(mix(mix(0, name), value), id);
        self.names.entry(name).or_default().push(id);
        Some(id)
    }

    /// Forgets series (ascending ids). Their strings and pairs stay until a rebuild.
    pub(crate) fn remove(&mut self, series: &[u32]) {
        let mut touched = Vec::new();
        for id in series {
            let set = self.set(*id).to_vec();
            if set.is_empty() {
                continue;
            }
            self.set_table.remove(hash_set(&set), *id);
            self.sets[*id as usize] = SetAt::default();
            self.live -= 1;
            touched.extend_from_slice(&set);
        }
        touched.sort_unstable();
        touched.dedup();
        for pair in touched {
            crate::postings::subtract(&mut self.pairs[pair as usize].postings, series);
        }
    }

    /// The same series with the same ids in a new index, if more than half of the arena is left over
    /// from series that are gone.
    pub(crate) fn rebuilt(&self) -> Option<Self> {
        let used: usize = self.sets.iter().map(|at| at.len as usize).sum();
        if used * 2 >= self.arena.len() || self.arena.len() < 4096 {
            return None;
        }
        let mut new = Self::default();
        for id in 0..u32::try_from(self.sets.len()).ok()? {
            if !self.set(id).is_empty() {
                new.insert(id, &self.labels(id))?;
            }
        }
        Some(new)
    }

    /// The symbols of a label set: name and value, ascending by name.
    pub(crate) fn symbols_of(&self, series: u32) -> impl ExactSizeIterator<Item = (u32, u32)> {
        self.set(series).iter().map(|pair| {
            let pair = &self.pairs[*pair as usize];
            (pair.name, pair.value)
        })
    }

    /// The labels of a series, as numbers of pairs.
    pub(crate) fn pairs_of(&self, series: u32) -> &[u32] {
        self.set(series)
    }

    /// Name and value of a pair; empty for an unknown one.
    pub(crate) fn pair_text(&self, pair: u32) -> (&str, &str) {
        let pair = self.pairs.get(pair as usize);
        pair.map_or(("", ""), |pair| (self.symbol(pair.name), self.symbol(pair.value)))
    }

    /// The text of a symbol.
    pub(crate) fn symbol(&self, id: u32) -> &str {
        self.symbols.get(id)
    }

    /// The labels of a series; empty for an unknown one.
    pub(crate) fn labels(&self, series: u32) -> Labels {
        let pairs: Vec<(&str, &str)> =
            self.symbols_of(series).map(|(name, value)| (self.symbol(name), self.symbol(value))).collect();
        Labels::from_sorted(&pairs)
    }

    /// For each label name its values with the number of series that have them; only those with any.
    pub(crate) fn cardinality(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, usize)>)> {
        self.names.iter().map(|(name, pairs)| {
            let values = pairs.iter().map(|pair| &self.pairs[*pair as usize]).filter(|pair| !pair.postings.is_empty());
            (self.symbol(*name), values.map(|pair| (self.symbol(pair.value), pair.postings.len())))
        })
    }
}

impl LabelIndex for Index {
    fn for_each_label(&self, series: Option<&[u32]>, visit: &mut dyn FnMut(&str, &str)) -> Result<(), Corrupt> {
        let mut visit_pair = |pair: &Pair| visit(self.symbol(pair.name), self.symbol(pair.value));
        let Some(series) = series else {
            self.pairs.iter().filter(|pair| !pair.postings.is_empty()).for_each(visit_pair);
            return Ok(());
        };
        let seen: HashSet<u32> = series.iter().flat_map(|id| self.set(*id)).copied().collect();
        seen.iter().for_each(|pair| visit_pair(&self.pairs[*pair as usize]));
        Ok(())
    }

    fn all(&self) -> Vec<u32> {
        let with_len = self.sets.iter().zip(0..).filter(|(at, _)| at.len > 0);
        with_len.map(|(_, id)| id).collect()
    }

    fn postings(&self, name: &str, value: &str) -> Result<Cow<'_, [u32]>, Corrupt> {
        let found = || self.find_pair(self.symbols.find(name)?, self.symbols.find(value)?);
        Ok(found().map_or(Cow::Borrowed(&[]), |pair| Cow::Borrowed(&self.pairs[pair as usize].postings)))
    }

    fn union_where(&self, name: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<u32>, Corrupt> {
        let Some(pairs) = self.symbols.find(name).and_then(|name| self.names.get(&name)) else {
            return Ok(Vec::new());
        };
        let pairs = pairs.iter().map(|pair| &self.pairs[*pair as usize]);
        let lists = pairs.filter(|pair| !pair.postings.is_empty() && wanted(self.symbol(pair.value)));
        Ok(union(&lists.map(|pair| Cow::Borrowed(pair.postings.as_slice())).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use datamodel::{MatchOp, Matcher};
    use proptest::prelude::*;

    use super::*;
    use crate::postings::resolve;

    fn label_set() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[abc]", "[xyz]{1,2}", 1..4).prop_map(Labels::from_pairs)
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let op =
            prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
        let value = prop_oneof!["[xyz]{0,2}", Just("x.*".to_owned()), Just("(y|zz)?".to_owned())];
        (op, "[abcd]", value).prop_map(|(op, name, value)| Matcher::new(op, name, value).unwrap())
    }

    proptest! {
        #[test]
        fn index_agrees_with_matching_each_set(
            sets in proptest::collection::btree_set(label_set(), 0..30),
            gone in proptest::collection::vec(any::<bool>(), 30),
            matchers in proptest::collection::vec(matcher(), 0..4),
        ) {
            let mut index = Index::default();
            for (labels, id) in sets.iter().zip(0..) {
                index.insert(id, labels).unwrap();
            }
            let removed: Vec<u32> = (0..sets.len()).filter(|id| gone[*id]).map(|id| id as u32).collect();
            index.remove(&removed);
            let expected: Vec<u32> = sets
                .iter()
                .zip(0u32..)
                .filter(|(labels, id)| !removed.contains(id) && matchers.iter().all(|m| m.matches_labels(labels)))
                .map(|(_, id)| id)
                .collect();
            prop_assert_eq!(resolve(&index, &matchers).unwrap(), expected);
            for (labels, id) in sets.iter().zip(0u32..) {
                let there = !removed.contains(&id);
                prop_assert_eq!(index.find(labels), there.then_some(id));
                if there {
                    prop_assert_eq!(&index.labels(id), labels);
                }
            }
        }
    }
}
