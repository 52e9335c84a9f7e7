//! From matchers to series: sorted lists of ids, united, intersected, subtracted.
//!
//! - [`LabelIndex`]: what an index must answer; the head and every segment has one.
//! - [`resolve`]: the ids that pass all matchers.
//!
//! Rule: lists are strictly ascending, in and out.

use std::borrow::Cow;

use datamodel::{MatchOp, Matcher};

use crate::bytes::Corrupt;

/// Which series carry which label.
pub(crate) trait LabelIndex {
    /// All series.
    fn all(&self) -> Vec<u32>;

    /// The series with exactly this label.
    fn postings(&self, name: &str, value: &str) -> Result<Cow<'_, [u32]>, Corrupt>;

    /// Calls for each label that any of the series has, once or more; `None` stands for all series.
    fn for_each_label(&self, series: Option<&[u32]>, visit: &mut dyn FnMut(&str, &str)) -> Result<(), Corrupt>;

    /// The series that have the label with a value that is wanted.
    fn union_where(&self, name: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<u32>, Corrupt>;
}

/// The series that pass all matchers, ascending by id.
pub(crate) fn resolve(index: &dyn LabelIndex, matchers: &[Matcher]) -> Result<Vec<u32>, Corrupt> {
    let mut included: Vec<Cow<'_, [u32]>> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| !matcher.matches_absent()) {
        let list = match matcher.op() {
            MatchOp::Equal => index.postings(matcher.name(), matcher.value())?,
            _ => Cow::Owned(index.union_where(matcher.name(), &mut |value| matcher.matches(value))?),
        };
        if list.is_empty() {
            return Ok(Vec::new());
        }
        included.push(list);
    }
    included.sort_by_key(|list| list.len());
    let mut lists = included.into_iter();
    let mut found = lists.next().map_or_else(|| index.all(), Cow::into_owned);
    for list in lists {
        intersect(&mut found, &list);
    }
    for matcher in matchers.iter().filter(|matcher| matcher.matches_absent()) {
        if found.is_empty() {
            break;
        }
        let excluded = index.union_where(matcher.name(), &mut |value| !matcher.matches(value))?;
        subtract(&mut found, &excluded);
    }
    Ok(found)
}

/// The first place in `list` whose id is not below `id`, by doubling steps: cheap when it is near.
fn gallop(list: &[u32], id: u32) -> usize {
    let mut step = 1;
    while step < list.len() && list[step] < id {
        step *= 2;
    }
    let from = step / 2;
    let to = (step + 1).min(list.len());
    from + list[from..to].partition_point(|candidate| *candidate < id)
}

/// Keeps what is in `list` as well.
pub(crate) fn intersect(found: &mut Vec<u32>, mut list: &[u32]) {
    found.retain(|id| {
        list = &list[gallop(list, *id)..];
        list.first() == Some(id)
    });
}

/// Removes what is in `list`.
pub(crate) fn subtract(found: &mut Vec<u32>, mut list: &[u32]) {
    found.retain(|id| {
        list = &list[gallop(list, *id)..];
        list.first() != Some(id)
    });
}

/// Unites lists that share nothing, as the values of one label do.
pub(crate) fn union(lists: &[Cow<'_, [u32]>]) -> Vec<u32> {
    let mut all = lists.concat();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_are_sets(a in proptest::collection::btree_set(0u32..300, 0..80),
                          b in proptest::collection::btree_set(0u32..300, 0..80)) {
            let list: Vec<u32> = b.iter().copied().collect();
            let mut both: Vec<u32> = a.iter().copied().collect();
            intersect(&mut both, &list);
            prop_assert_eq!(both.into_iter().collect::<BTreeSet<_>>(), &a & &b);
            let mut left: Vec<u32> = a.iter().copied().collect();
            subtract(&mut left, &list);
            prop_assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), &a - &b);
        }
    }
}
