//! Reading a worker's page: line by line, labels only where they are asked for.
#![expect(clippy::unwrap_used, reason = "a bench may fail by panic")]

use std::fmt::Write;

use datamodel::exposition::{Entry, Format, Parser};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

/// Samples of the page: four histograms of 20 buckets, counters and gauges, as a worker has them.
const SAMPLES: usize = 100;

fn page() -> String {
    let mut page = String::new();
    for number in 0..SAMPLES {
        if number % 25 == 0 {
            writeln!(page, "# HELP asr_metric_{} What it measures\n# TYPE asr_metric_{0} gauge", number / 25).unwrap();
        }
        let value = number as f64 * 1.375;
        writeln!(page, "asr_metric_{}{{pod=\"lightning-asr-x7k2p\",le=\"{number}\"}} {value}", number / 25).unwrap();
    }
    page
}

#[divan::bench]
fn values_only(bencher: Bencher<'_, '_>) {
    let page = page();
    let counted = bencher.counter(BytesCount::of_str(&page)).counter(ItemsCount::new(SAMPLES));
    counted.bench_local(|| {
        let mut parser = Parser::new(page.as_bytes(), Format::PrometheusText004);
        let mut sum = 0.0;
        while let Some(entry) = parser.next().unwrap() {
            if let Entry::Sample(sample) = entry {
                sum += sample.value;
            }
        }
        sum
    });
}
