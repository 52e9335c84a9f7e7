//! Samples behind newer ones: inside the window they are taken, wherever the newer ones are.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::Labels;
use proptest::prelude::*;
use storage::Appendable;

use super::{Answer, Bits, Value, append, everything, folder, open, options};
use crate::TsdbOptions;

const WINDOW_MS: i64 = 5000;

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(usize, i64, u8)>),
    Seal,
    Compact,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0usize..6, prop_oneof![2 => Just(0i64), 3 => -8i64..2], 0u8..3);
    prop_oneof![
        10 => proptest::collection::vec(sample, 1..10).prop_map(Step::Batch),
        1 => Just(Step::Seal),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
    ]
}

fn labels(n: usize) -> Labels {
    Labels::from_pairs([("n", n.to_string())])
}

/// What should be stored, and the rule of the window.
#[derive(Default)]
struct Model(BTreeMap<usize, BTreeMap<i64, u8>>);

impl Model {
    /// Takes a batch; returns how many samples are refused.
    fn take(&mut self, batch: &BTreeMap<(usize, i64), u8>) -> usize {
        let newest = self.0.values().filter_map(|samples| samples.last_key_value()).map(|(at, _)| *at).max();
        let start = newest.map_or(i64::MAX, |newest| newest - WINDOW_MS);
        let before: BTreeMap<usize, i64> =
            self.0.iter().filter_map(|(n, samples)| Some((*n, *samples.last_key_value()?.0))).collect();
        let mut refused = 0;
        for ((n, at), value) in batch {
            let samples = self.0.entry(*n).or_default();
            let last = before.get(n).copied();
            let known = samples.get(at);
            if last.is_none_or(|last| last < *at) || (known.is_none() && *at >= start) {
                samples.insert(*at, *value);
            } else if known != Some(value) || (last != Some(*at) && *at < start) {
                refused += 1;
            }
        }
        refused
    }

    fn answer(&self) -> Answer {
        let bits = |value: &u8| Bits::Float(f64::from(*value).to_bits());
        let series = self.0.iter().filter(|(_, samples)| !samples.is_empty());
        series
            .map(|(n, samples)| {
                (labels(*n).to_string(), samples.iter().map(|(at, value)| (*at, bits(value))).collect())
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]
    #[test]
    fn late_samples_are_taken_inside_the_window(steps in proptest::collection::vec(step(), 1..30)) {
        let folder = folder();
        let wanted = || TsdbOptions {
            out_of_order_window: Duration::from_millis(WINDOW_MS.unsigned_abs()),
            ..options(folder.path())
        };
        let (mut tsdb, _) = open(wanted());
        let mut group = tsdb.appender().create_group();
        let mut model = Model::default();
        let mut now = 100_000;
        for step in steps {
            match step {
                Step::Batch(samples) => {
                    now += 1000;
                    let batch: BTreeMap<_, _> =
                        samples.into_iter().map(|(n, off, value)| ((n, now + off * 1000), value)).collect();
                    let names: Vec<Labels> = (0..6).map(labels).collect();
                    let rows: Vec<_> =
                        batch.iter().map(|((n, at), v)| (&names[*n], *at, Value::Float(f64::from(*v)))).collect();
                    let refused = append(&tsdb, Some(group), &rows);
                    prop_assert_eq!(refused.len(), model.take(&batch), "{:?}", refused);
                }
                Step::Seal => tsdb.seal().unwrap(),
                Step::Compact => tsdb.compact().unwrap(),
                Step::Restart => {
                    drop(tsdb);
                    tsdb = open(wanted()).0;
                    group = tsdb.appender().create_group();
                }
            }
            prop_assert_eq!(everything(&tsdb), model.answer());
        }
    }
}
