//! What a target exposed last: the text of each series, its labels after relabelling, its reference.
//!
//! ```text
//! line n of the page ─▶ the text after the last match?  ─▶ by its hash?  ─▶ parse and relabel
//!                        (one comparison of bytes)          (one look-up)    (caller)
//! ```
//!
//! Rule: it holds the series of the last good page and no others, so that a target bounds it by its page.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datamodel::exposition::SampleLine;
use datamodel::{Labels, MetricType};
use storage::SeriesRef;

/// Index of an entry in the cache of its target.
pub(crate) type EntryId = u32;

/// A series as the target spells it, and what it became.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Name and labels as they stand on the page.
    text: Arc<str>,
    /// The declared type, which has a say in how bounds are spelled.
    declared_type: MetricType,
    /// Labels after relabelling; none if relabelling drops the series.
    pub(crate) labels: Option<Labels>,
    /// Reference of the storage, once it was asked for.
    pub(crate) series: Option<SeriesRef>,
    /// The scrape that saw it last.
    pub(crate) seen: u64,
    /// The scrape that saw it last without a timestamp of its own: the series then ends by a marker.
    pub(crate) tracked: u64,
    /// Its place on the last page.
    position: u32,
}

/// The series of a target's last good page.
#[derive(Debug, Default)]
pub(crate) struct ScrapeCache {
    entries: Vec<Option<Entry>>,
    free: Vec<EntryId>,
    by_text: HashMap<Arc<str>, EntryId>,
    /// Entries in the order of the last good page.
    order: Vec<EntryId>,
}

/// Follows a page: where on the last one the next line is expected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor(usize);

impl ScrapeCache {
    /// Series that it holds.
    pub(crate) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// The text that is expected next, and whose entry it is.
    pub(crate) fn expected(&self, cursor: Cursor) -> Option<(&str, EntryId)> {
        let id = *self.order.get(cursor.0)?;
        Some((&self.get(id)?.text, id))
    }

    /// The expected line came.
    pub(crate) fn advance(cursor: &mut Cursor) {
        cursor.0 += 1;
    }

    /// Finds a line by its text and moves the cursor behind it.
    pub(crate) fn find(&self, cursor: &mut Cursor, line: &SampleLine<'_>) -> Option<EntryId> {
        let id = *self.by_text.get(line.series)?;
        let entry = self.get(id)?;
        cursor.0 = entry.position as usize + 1;
        (entry.declared_type == line.declared_type).then_some(id)
    }

    /// Whether an entry was made under this declared type.
    pub(crate) fn has_type(&self, id: EntryId, declared_type: MetricType) -> bool {
        self.get(id).is_some_and(|entry| entry.declared_type == declared_type)
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    /// Takes a series that was parsed in full. One with the same text and labels stays as it is; one with
    /// the same text and other labels is no longer found, and ends as if it had gone.
    pub(crate) fn insert(&mut self, text: &str, declared_type: MetricType, labels: Option<Labels>) -> EntryId {
        if let Some(&id) = self.by_text.get(text)
            && let Some(entry) = self.get_mut(id)
            && entry.labels == labels
        {
            entry.declared_type = declared_type;
            return id;
        }
        let text: Arc<str> = Arc::from(text);
        let entry =
            Entry { text: Arc::clone(&text), declared_type, labels, series: None, seen: 0, tracked: 0, position: 0 };
        let id = if let Some(id) = self.free.pop() {
            if let Some(slot) = self.entries.get_mut(id as usize) {
                *slot = Some(entry);
            }
            id
        } else {
            self.entries.push(Some(entry));
            // A page has at most some million lines.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_text.insert(text, id);
        id
    }

    /// Ends a good scrape: `order` is its page, and what `scrape` did not see is forgotten.
    pub(crate) fn finish(&mut self, scrape: u64, order: Vec<EntryId>) {
        for (position, id) in order.iter().enumerate() {
            if let Some(entry) = self.get_mut(*id) {
                entry.position = u32::try_from(position).unwrap_or(u32::MAX);
            }
        }
        self.order = order;
        for (id, slot) in self.entries.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|entry| entry.seen != scrape)
                && let Some(entry) = slot.take()
            {
                let id = u32::try_from(id).unwrap_or(u32::MAX);
                if self.by_text.get(&entry.text) == Some(&id) {
                    self.by_text.remove(&entry.text);
                }
                self.free.push(id);
            }
        }
    }

    /// Forgets references that the storage no longer knows.
    pub(crate) fn forget_refs(&mut self, unknown: &HashSet<SeriesRef>) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.series.is_some_and(|series| unknown.contains(&series)) {
                entry.series = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datamodel::exposition::{Entry as PageEntry, Format, Parser};

    use super::*;

    #[test]
    fn lines_are_found_in_order_and_again_behind_a_new_one() {
        let mut cache = ScrapeCache::default();
        scrape(&mut cache, 1, &["a", "b", "c"]);
        let mut cursor = Cursor::default();
        assert_eq!(cache.expected(cursor).unwrap().0, "a");
        assert!(find(&cache, &mut cursor, "new").is_none());
        assert_eq!(cache.expected(cursor).unwrap().0, "a", "a new line does not move the place");
        assert!(find(&cache, &mut cursor, "b").is_some());
        assert_eq!(cache.expected(cursor).unwrap().0, "c", "what was found by hash leads on by place");
        ScrapeCache::advance(&mut cursor);
        assert!(cache.expected(cursor).is_none());
    }

    #[test]
    fn cache_holds_the_last_good_page_and_nothing_else() {
        let mut cache = ScrapeCache::default();
        for scrape_number in 1..50 {
            let names: Vec<String> = (0..100).map(|line| format!("m{scrape_number}_{line}")).collect();
            scrape(&mut cache, scrape_number, &names.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((cache.by_text.len(), cache.order.len()), (100, 100));
            // The pages before and after an eviction are there together only for a moment.
            assert!(cache.entries.len() <= 200, "{}", cache.entries.len());
        }
    }

    #[test]
    fn same_text_with_other_labels_is_another_series() {
        let mut cache = ScrapeCache::default();
        let labels = |value: &str| Some(Labels::from_pairs([("le", value)]));
        let first = cache.insert("m", MetricType::Unknown, labels("1"));
        assert_eq!(cache.insert("m", MetricType::Unknown, labels("1")), first);
        let second = cache.insert("m", MetricType::Histogram, labels("1.0"));
        assert_ne!(second, first);
        cache.get_mut(second).unwrap().seen = 1;
        cache.finish(1, vec![second]);
        assert!(cache.get(first).is_none());
        assert_eq!(cache.by_text.get("m"), Some(&second));
    }

    fn scrape(cache: &mut ScrapeCache, number: u64, names: &[&str]) {
        let mut order = Vec::new();
        for name in names {
            let id = cache.insert(name, MetricType::Unknown, Some(Labels::from_pairs([("__name__", name)])));
            cache.get_mut(id).unwrap().seen = number;
            order.push(id);
        }
        cache.finish(number, order);
    }

    fn find(cache: &ScrapeCache, cursor: &mut Cursor, name: &str) -> Option<EntryId> {
        let page = format!("{name} 1\n");
        match Parser::new(page.as_bytes(), Format::PrometheusText004).next() {
            Ok(Some(PageEntry::Sample(line))) => cache.find(cursor, &line),
            other => panic!("{other:?}"),
        }
    }
}
