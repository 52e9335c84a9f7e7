//! Rows against a model: whatever a target exposes after whatever it exposed before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datamodel::exposition::Format;
use datamodel::{Labels, Timestamp};
use proptest::prelude::*;
use storage::{MemoryPool, MemoryStorage};
use tokio::time::Instant;

use super::show;
use crate::ScrapeLimits;
use crate::body::Body;
use crate::error::ScrapeError;
use crate::ingest::{Ingest, TypedPage};
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
                Some(_) => Ok(TypedPage { body: body(text.into_bytes()), format: Format::PrometheusText004 }),
                None => Err(ScrapeError::Timeout(std::time::Duration::from_secs(1))),
            };
            ingest.scrape(&storage, page, Timestamp::from_unix_ms(second * 1000), Instant::now());
        }
        let expected: Vec<String> =
            expected.iter().map(|(number, samples)| format!("m{{a=\"{number}\", b=\"x\"}}{samples}")).collect();
        prop_assert_eq!(show(&storage, "m", 0), expected);
    }

    #[test]
    fn hostile_bytes_make_no_series(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let storage = MemoryStorage::new();
        let mut ingest = Ingest::new(Arc::new(rules()), None);
        let page = TypedPage { body: body(bytes), format: Format::OpenMetrics100 };
        let report = ingest.scrape(&storage, Ok(page), Timestamp::from_unix_ms(1000), Instant::now());
        prop_assert!(report.error.is_some(), "no `# EOF`");
        prop_assert_eq!(storage.series_count(), 5);
    }
}

fn rules() -> SampleRules {
    SampleRules {
        track_timestamps: false,
        validation: NameValidation::Utf8,
        target_labels: Labels::empty(),
        honor_labels: false,
        honor_timestamps: true,
        relabel: Vec::new(),
        limits: ScrapeLimits::default(),
    }
}

fn body(bytes: Vec<u8>) -> Body {
    Body { bytes, reserved: MemoryPool::unlimited().reservation() }
}
