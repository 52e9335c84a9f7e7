//! Rows against a model: whatever a target exposes after whatever it exposed before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datamodel::exposition::{Format, HistogramForm, PageFormat};
use datamodel::protobuf::Writer;
use datamodel::{Labels, Timestamp};
use proptest::prelude::*;
use storage::{MemoryPool, MemoryStorage};
use tokio::time::Instant;

use super::show;
use crate::ScrapeLimits;
use crate::body::Body;
use crate::error::ScrapeError;
use crate::ingest::{Ingest, TypedPage};
use crate::native::NativeHistograms;
use crate::page::SampleRules;
use crate::protocol::NameValidation;

/// A page: lines of series number, spelling and value; none for a failed scrape.
type Page = Option<Vec<(u8, bool, u16)>>;

fn page() -> impl Strategy<Value = Page> {
    let line = (0..8_u8, any::<bool>(), any::<u16>());
    proptest::option::weighted(0.8, proptest::collection::vec(line, 0..10))
}

proptest! {
    #[test]
    fn storage_holds_what_pages_said_and_markers_where_series_ended(pages in proptest::collection::vec(page(), 1..8)) {
        let storage = MemoryStorage::new();
        let mut ingest = Ingest::new(Arc::new(rules()), None);
        let mut expected: BTreeMap<u8, String> = BTreeMap::new();
        let mut live: BTreeMap<u8, u16> = BTreeMap::new();
        for (second, page) in (1_i64..).zip(&pages) {
            let mut present: BTreeMap<u8, u16> = BTreeMap::new();
            let mut text = String::new();
            for (number, swapped, value) in page.iter().flatten() {
                // The first line of a series counts.
                present.entry(*number).or_insert(*value);
                let (a, b) = (format!("a=\"{number}\""), "b=\"x\"");
                let (first, last) = if *swapped { (b, a.as_str()) } else { (a.as_str(), b) };
                writeln!(text, "m{{{first},{last}}} {value}").unwrap();
            }
            for (number, value) in &present {
                write!(expected.entry(*number).or_default(), " {value}@{second}").unwrap();
            }
            for number in live.keys().filter(|number| !present.contains_key(number)) {
                write!(expected.entry(*number).or_default(), " stale@{second}").unwrap();
            }
            live = present;
            let page = match page {
                Some(_) => Ok(TypedPage { body: body(text.into_bytes()), format: TEXT }),
                None => Err(ScrapeError::Timeout(std::time::Duration::from_secs(1))),
            };
            // Where a page is read makes no difference to what becomes of it.
            let usual = page.as_ref().ok().and_then(|page| ingest.read_usual(page));
            let read = usual.unwrap_or_else(|| ingest.read(page));
            ingest.scrape(&storage, read, Timestamp::from_unix_ms(second * 1000), Instant::now());
        }
        let expected: Vec<String> =
            expected.iter().map(|(number, samples)| format!("m{{a=\"{number}\", b=\"x\"}}{samples}")).collect();
        prop_assert_eq!(show(&storage, "m", 0), expected);
    }

    #[test]
    fn hostile_bytes_make_no_series(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let storage = MemoryStorage::new();
        let mut ingest = Ingest::new(Arc::new(rules()), None);
        let page = TypedPage { body: body(bytes), format: PageFormat::Text(Format::OpenMetrics100) };
        let page = ingest.read(Ok(page));
        let report = ingest.scrape(&storage, page, Timestamp::from_unix_ms(1000), Instant::now());
        prop_assert!(report.error.is_some(), "no `# EOF`");
        prop_assert_eq!(storage.series_count(), 5);
    }
}

const TEXT: PageFormat = PageFormat::Text(Format::PrometheusText004);

fn rules() -> SampleRules {
    SampleRules {
        track_timestamps: false,
        validation: NameValidation::Utf8,
        target_labels: Labels::empty(),
        honor_labels: false,
        honor_timestamps: true,
        relabel: Vec::new(),
        limits: ScrapeLimits::default(),
        native: NativeHistograms::default(),
    }
}

fn body(bytes: Vec<u8>) -> Body {
    Body { bytes, reserved: MemoryPool::unlimited().reservation() }
}

/// A page of one native histogram with so many observations in its second bucket.
fn native_page(observations: u64) -> TypedPage {
    let mut writer = Writer::default();
    writer.delimited(|family| {
        family.text(1, "latency");
        family.uint(3, 4);
        family.message(4, |metric| {
            metric.message(7, |histogram| {
                histogram.uint(1, observations + 1);
                histogram.double(2, 3.5);
                histogram.message(12, |span| span.uint(2, 2));
                histogram.packed_sint(13, [1, i64::try_from(observations).unwrap() - 1].into_iter());
            });
        });
    });
    TypedPage { body: body(writer.into_bytes()), format: PageFormat::Protobuf }
}

#[test]
fn native_histogram_is_stored_and_ends_by_a_marker() {
    let storage = MemoryStorage::new();
    let native = NativeHistograms { form: HistogramForm::Native, ..NativeHistograms::default() };
    let mut ingest = Ingest::new(Arc::new(SampleRules { native, ..rules() }), None);
    let at = |second| Timestamp::from_unix_ms(second * 1000);
    for second in 1..=2_i64 {
        let page = native_page(second.unsigned_abs() * 10);
        let page = ingest.read(Ok(page));
        let report = ingest.scrape(&storage, page, at(second), Instant::now());
        assert!(report.error.is_none() && report.scraped == 1, "{report:?}");
    }
    let pulled = ingest.pull(&native_page(30), at(3)).unwrap();
    assert!(pulled.samples.is_empty(), "the stored one stays in sight: {pulled:?}");
    let empty = TypedPage { body: body(Vec::new()), format: PageFormat::Protobuf };
    let empty = ingest.read(Ok(empty));
    assert!(ingest.scrape(&storage, empty, at(4), Instant::now()).error.is_none());

    let bucket = |observations| format!("(1,2]:{observations}");
    let [line] = &show(&storage, "latency", 0)[..] else { panic!("one series") };
    assert!(line.contains(&bucket(10)) && line.contains(&bucket(20)), "{line}");
    assert!(!line.contains(&bucket(30)) && line.ends_with("@2 stale@4"), "{line}");
}

#[test]
fn page_is_usual_when_it_is_small_and_mostly_known() {
    let storage = MemoryStorage::new();
    let mut ingest = Ingest::new(Arc::new(rules()), None);
    let page = |numbers: std::ops::Range<usize>, padding: usize| {
        let mut text: String = numbers.map(|number| format!("m{{n=\"{number}\"}} 1\n")).collect();
        text.push_str(&"\n".repeat(padding));
        TypedPage { body: body(text.into_bytes()), format: TEXT }
    };
    let scrape = |ingest: &mut Ingest, page: TypedPage, second: i64| {
        let read = ingest.read(Ok(page));
        assert!(ingest.scrape(&storage, read, Timestamp::from_unix_ms(second * 1000), Instant::now()).error.is_none());
    };
    assert!(ingest.read_usual(&page(0..1, 0)).is_none(), "all of the first one is new");
    scrape(&mut ingest, page(0..1_000, 0), 1);
    assert!(ingest.read_usual(&page(0..1_000, 0)).is_some());
    assert!(ingest.read_usual(&page(0..1_000, 64 * 1024)).is_none(), "large");
    assert!(ingest.read_usual(&page(0..1_200, 0)).is_some());
    assert!(ingest.read_usual(&page(0..1_201, 0)).is_none(), "more is new");
    assert!(ingest.read_usual(&page(5_000..6_000, 0)).is_none(), "all names changed");
    scrape(&mut ingest, page(0..2_001, 0), 2);
    assert!(ingest.read_usual(&page(0..1, 0)).is_none(), "so many series may end at once");
}
