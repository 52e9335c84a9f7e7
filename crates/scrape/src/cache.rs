//! What a target exposed last: the text of each series, what it became, and its reference.
//!
//! ```text
//! line n of the page ─▶ the text after the last match?  ─▶ by its hash?  ─▶ parse and relabel
//!                        (one comparison of bytes)          (one look-up)    (caller)
//! ```
//!
//! A target costs some 25 bytes a series beside the text, because there may be millions: labels are read out of the
//! text again where they are needed, and hashes are there only while a page differs from the one before.
//!
//! Rule: it holds the series of the last good page and no others, so that a target bounds it by its page.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use datamodel::MetricType;
use datamodel::exposition::SampleLine;
use storage::SeriesRef;

/// Index of an entry in the cache of its target, until the page ends.
pub(crate) type EntryId = u32;

/// A series as the target spells it, and what it became.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Reference of the storage, once it was asked for.
    pub(crate) series: Option<SeriesRef>,
    /// Where its text ends; it begins where that of the entry before ends.
    text_end: u32,
    /// The declared type, which has a say in how bounds are spelled.
    declared_type: MetricType,
    marks: u8,
}

/// What is marked of a series.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Mark {
    /// Relabelling keeps it.
    Kept = 1,
    /// It ends by a marker when it is not seen again.
    Live = 2,
    /// No page before the present one had it.
    New = 4,
    /// The present page has it.
    Seen = 8,
    /// The present page has it without a timestamp of its own: the series then ends by a marker.
    Tracked = 16,
}

impl Entry {
    pub(crate) const fn is(&self, mark: Mark) -> bool {
        self.marks & mark as u8 != 0
    }

    pub(crate) const fn set(&mut self, mark: Mark) {
        self.marks |= mark as u8;
    }
}

/// The series of a target's last good page, in its order.
#[derive(Debug, Default)]
pub(crate) struct ScrapeCache {
    entries: Vec<Entry>,
    /// The texts of the entries, one behind the other.
    text: String,
    /// Entries by the hash of their text, made when a line does not come where it is expected.
    by_hash: OnceLock<HashMap<u64, EntryId>>,
    /// Keyed by the process, so that texts cannot be chosen to collide.
    hasher: RandomState,
}

/// Follows a page: where on the last one the next line is expected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor(usize);

impl ScrapeCache {
    /// Series that it holds.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that it holds between two pages.
    pub(crate) const fn byte_len(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The text that is expected next, and whose entry it is.
    pub(crate) fn expected(&self, cursor: Cursor) -> Option<(&str, EntryId)> {
        // A page has at most some million lines.
        let id = cursor.0 as EntryId;
        (cursor.0 < self.entries.len()).then(|| (self.text_of(id), id))
    }

    /// The expected line came.
    pub(crate) const fn advance(cursor: &mut Cursor) {
        cursor.0 += 1;
    }

    /// Finds a line by its text and moves the cursor behind it.
    pub(crate) fn find(&self, cursor: &mut Cursor, line: &SampleLine<'_>) -> Option<EntryId> {
        let id = self.id_of(line.series)?;
        cursor.0 = id as usize + 1;
        self.has_type(id, line.declared_type).then_some(id)
    }

    /// The entry with this text.
    pub(crate) fn id_of(&self, text: &str) -> Option<EntryId> {
        let by_hash = self.by_hash.get_or_init(|| {
            let ids = (0..self.entries.len()).map(|id| id as EntryId);
            ids.map(|id| (self.hasher.hash_one(self.text_of(id)), id)).collect()
        });
        by_hash.get(&self.hasher.hash_one(text)).copied().filter(|id| self.text_of(*id) == text)
    }

    /// Whether an entry was made under this declared type.
    pub(crate) fn has_type(&self, id: EntryId, declared_type: MetricType) -> bool {
        self.get(id).is_some_and(|entry| entry.declared_type == declared_type)
    }

    /// Notes under which type an entry was declared last.
    pub(crate) fn set_type(&mut self, id: EntryId, declared_type: MetricType) {
        if let Some(entry) = self.get_mut(id) {
            entry.declared_type = declared_type;
        }
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id as usize)
    }

    pub(crate) fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)
    }

    /// All entries with their numbers.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        (0..).zip(&self.entries)
    }

    /// The line that an entry came from, for its labels; it has no value.
    pub(crate) fn line(&self, id: EntryId) -> SampleLine<'_> {
        let declared_type = self.get(id).map_or(MetricType::Unknown, |entry| entry.declared_type);
        SampleLine { series: self.text_of(id), value: 0.0, timestamp: None, exemplar: None, declared_type, line: 0 }
    }

    fn text_of(&self, id: EntryId) -> &str {
        let end = |id: usize| self.entries.get(id).map_or(0, |entry| entry.text_end as usize);
        let start = (id as usize).checked_sub(1).map_or(0, end);
        self.text.get(start..end(id as usize)).unwrap_or_default()
    }

    /// Begins a page: nothing of it was seen.
    pub(crate) fn begin(&mut self) {
        for entry in &mut self.entries {
            entry.marks &= Mark::Kept as u8 | Mark::Live as u8;
        }
    }

    /// Takes a series that was parsed in full. One with the same text that is there already is no longer found, and
    /// ends as if it had gone. None if there are four gigabytes of text.
    pub(crate) fn insert(&mut self, text: &str, declared_type: MetricType, is_kept: bool) -> Option<EntryId> {
        let text_end = u32::try_from(self.text.len() + text.len()).ok()?;
        let id = EntryId::try_from(self.entries.len()).ok()?;
        let marks = Mark::New as u8 | if is_kept { Mark::Kept as u8 } else { 0 };
        self.text.push_str(text);
        self.entries.push(Entry { series: None, text_end, declared_type, marks });
        let hash = self.hasher.hash_one(text);
        if let Some(by_hash) = self.by_hash.get_mut() {
            by_hash.insert(hash, id);
        }
        Some(id)
    }

    /// Ends a good page: `order` is its entries, and those that are not on it are forgotten. Whether the numbers of
    /// the others changed.
    pub(crate) fn finish(&mut self, order: &[EntryId]) -> bool {
        for entry in &mut self.entries {
            let live = if entry.is(Mark::Tracked) { Mark::Live as u8 } else { 0 };
            entry.marks = entry.marks & !(Mark::Live as u8) | live;
        }
        self.by_hash = OnceLock::new();
        let is_same = order.len() == self.entries.len() && order.iter().zip(0..).all(|(id, place)| *id == place);
        if !is_same {
            self.rearrange(order);
        }
        // Pages grow rarely: the present one is the measure.
        self.entries.shrink_to_fit();
        self.text.shrink_to_fit();
        !is_same
    }

    /// Puts the entries into the order of the page; one that is on it twice stands where it came first.
    fn rearrange(&mut self, order: &[EntryId]) {
        let mut is_placed = vec![false; self.entries.len()];
        let (mut entries, mut text) = (Vec::with_capacity(order.len()), String::with_capacity(self.text.len()));
        for id in order {
            let (Some(is_placed), Some(entry)) = (is_placed.get_mut(*id as usize), self.get(*id)) else { continue };
            if !std::mem::replace(is_placed, true) {
                text.push_str(self.text_of(*id));
                // No longer than before.
                entries.push(Entry { text_end: text.len() as u32, ..*entry });
            }
        }
        (self.entries, self.text) = (entries, text);
    }

    /// Forgets the entries from this number on: those of a page that could not be written.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
        self.text.truncate(self.entries.last().map_or(0, |entry| entry.text_end as usize));
        self.by_hash = OnceLock::new();
    }

    /// Ends all series: what comes next is new to the markers.
    pub(crate) fn end_all(&mut self) {
        self.by_hash = OnceLock::new();
        for entry in &mut self.entries {
            entry.marks &= !(Mark::Live as u8);
        }
    }

    /// Forgets references that the storage no longer knows.
    pub(crate) fn forget_refs(&mut self, unknown: &HashSet<SeriesRef>) {
        for entry in &mut self.entries {
            entry.series = entry.series.filter(|series| !unknown.contains(series));
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
        scrape(&mut cache, &["a", "b", "c"]);
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
    fn next_page_is_expected_as_the_last_one_was() {
        let mut cache = ScrapeCache::default();
        for page in [&["a", "b", "c"][..], &["c", "a", "d"], &["c", "d"], &[], &["b"]] {
            scrape(&mut cache, page);
            let mut cursor = Cursor::default();
            for name in page {
                assert_eq!(cache.expected(cursor).unwrap().0, *name, "{page:?}");
                ScrapeCache::advance(&mut cursor);
            }
            assert!(cache.expected(cursor).is_none(), "{page:?}");
        }
    }

    #[test]
    fn text_that_is_twice_on_a_page_is_one_entry() {
        let mut cache = ScrapeCache::default();
        for page in [["a", "b", "a", "c"], ["a", "b", "a", "c"], ["c", "a", "a", "b"]] {
            scrape(&mut cache, &page);
            let ids: Vec<_> = page.iter().map(|name| cache.id_of(name).unwrap()).collect();
            assert_eq!((cache.len(), cache.text.len()), (3, 3));
            let mut cursor = Cursor::default();
            for (name, id) in page.iter().zip(ids) {
                assert_eq!(find(&cache, &mut cursor, name), Some(id), "{page:?}");
            }
        }
    }

    #[test]
    fn cache_holds_the_last_good_page_and_nothing_else() {
        let mut cache = ScrapeCache::default();
        for scrape_number in 1..50 {
            let names: Vec<String> = (0..100).map(|line| format!("m{:04}", scrape_number * 20 + line)).collect();
            scrape(&mut cache, &names.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((cache.len(), cache.text.len()), (100, 500));
            assert!(cache.byte_len() <= 100 * 24 + 500, "{}", cache.byte_len());
            assert!(cache.by_hash.get().is_none());
        }
    }

    #[test]
    fn reference_stays_with_its_text_wherever_it_moves() {
        let mut cache = ScrapeCache::default();
        scrape(&mut cache, &["a", "b"]);
        let b = cache.id_of("b").unwrap();
        cache.get_mut(b).unwrap().series = Some(SeriesRef(7));
        scrape(&mut cache, &["x", "b", "a"]);
        let of = |name| cache.get(cache.id_of(name).unwrap()).unwrap().series;
        assert_eq!((of("a"), of("b"), of("x")), (None, Some(SeriesRef(7)), None));
    }

    #[test]
    fn same_text_again_takes_the_place_of_the_first() {
        let mut cache = ScrapeCache::default();
        scrape(&mut cache, &["m"]);
        let first = cache.id_of("m").unwrap();
        cache.begin();
        let second = cache.insert("m", MetricType::Histogram, true).unwrap();
        assert_ne!(second, first);
        assert_eq!(cache.id_of("m"), Some(second));
        assert!(cache.finish(&[second]));
        assert_eq!(cache.len(), 1);
        assert!(cache.has_type(0, MetricType::Histogram));
    }

    fn scrape(cache: &mut ScrapeCache, names: &[&str]) {
        cache.begin();
        let mut order = Vec::new();
        for name in names {
            let id = cache.id_of(name).or_else(|| cache.insert(name, MetricType::Unknown, true)).unwrap();
            order.push(id);
        }
        cache.finish(&order);
    }

    fn find(cache: &ScrapeCache, cursor: &mut Cursor, name: &str) -> Option<EntryId> {
        let page = format!("{name} 1\n");
        match Parser::new(page.as_bytes(), Format::PrometheusText004).next() {
            Ok(Some(PageEntry::Sample(line))) => cache.find(cursor, &line),
            other => panic!("{other:?}"),
        }
    }
}
