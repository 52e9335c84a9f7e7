use datamodel::Labels;
use proptest::prelude::*;

use super::record::{Decoder, Sink, Value};
use super::replay::{Header, read_header};
use super::*;
use crate::disk::RealDisk;

/// Takes everything and keeps nothing.
struct Blind;

impl Sink for Blind {
    type Series = ();

    fn define(&mut self, _group: u32, _first: bool, _labels: &Labels) {}

    fn sample(&mut self, _series: (), _at: i64, _value: Value) {}

    fn exemplar(&mut self, _series: (), _exemplar: storage::Exemplar) {}
}

proptest! {
    #[test]
    fn any_batches_are_read_without_panic(batches in proptest::collection::vec(
        proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x80), Just(0x81), Just(0), 0u8..4], 0..60), 1..4)) {
        let mut decoder = Decoder::default();
        for batch in batches {
            decoder.decode(&batch, &mut Blind).ok();
        }
    }
}

#[test]
fn header_tells_the_version() {
    let header = |version: u16| [MAGIC.as_slice(), &version.to_le_bytes(), &7u64.to_le_bytes()].concat();
    assert_eq!(read_header(&header(VERSION)), Header::Good);
    assert_eq!(read_header(&header(VERSION + 1)), Header::Newer(VERSION + 1));
    assert_eq!(read_header(&header(0)), Header::Bad);
    assert_eq!(read_header(b"CRWAL"), Header::Bad);
}

#[test]
fn one_sync_serves_all_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let file: Arc<dyn DiskFile> = RealDisk.create_new(&folder.path().join("log")).unwrap();
    let syncer = Syncer::new(Arc::clone(&file));
    syncer.sync().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    syncer.note_written(&file);
                    syncer.sync().unwrap();
                }
            });
        }
    });
    assert!(!syncer.has_failed());
}
