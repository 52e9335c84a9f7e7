//! `crescendo check metrics`: a page of metrics from stdin, by the rules that a scrape does not apply.
//!
//! - `run`: reads and judges. `Lints`: what is valid and yet not as names of metrics should be.
//!
//! Rule: what breaks the format or its rules is wrong (exit code 1); what only misleads people is a finding (3).

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use datamodel::MetricType;
use datamodel::exposition::{Entry, Format, Parser};

use super::Outcome;
use crate::printer::Printer;

/// What stands below the options in the help.
pub(super) const HELP: &str = "Example:
  curl -s http://127.0.0.1:2269/metrics | crescendo check metrics

Exit codes: 0 fine, 1 no valid page, 3 names, types or texts that mislead.";

/// The largest page: ten times what the largest exporters give.
const MAX_BYTES: u64 = 100 << 20;

/// A format of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PageFormat {
    /// Prometheus' text format.
    Text,
    /// OpenMetrics 1.0.
    Openmetrics,
}

/// Arguments of `check metrics`.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// The format; default: OpenMetrics where the page ends with `# EOF`.
    #[arg(long, value_enum)]
    format: Option<PageFormat>,
}

/// Reads stdin and says what is wrong with it.
pub(super) fn run(args: &MetricsArgs, printer: Printer) -> Result<Outcome> {
    let mut page = Vec::new();
    std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut page).context("cannot read the page from stdin")?;
    ensure!(page.len() as u64 <= MAX_BYTES, "page has more than {MAX_BYTES} bytes");
    let format = args.format.map_or_else(|| Format::of_page(&page), Format::from);
    let (findings, outcome) = judge(&page, format);
    for finding in &findings {
        printer.data(finding)?;
    }
    Ok(outcome)
}

impl From<PageFormat> for Format {
    fn from(format: PageFormat) -> Self {
        match format {
            PageFormat::Text => Self::PrometheusText004,
            PageFormat::Openmetrics => Self::OpenMetrics100,
        }
    }
}

/// What is wrong with a page, and how bad that is.
fn judge(page: &[u8], format: Format) -> (Vec<String>, Outcome) {
    let mut parser = Parser::strict(page, format);
    let mut lints = Lints::default();
    loop {
        match parser.next() {
            Ok(Some(entry)) => lints.see(&entry),
            Ok(None) => break,
            Err(error) => return (vec![error.to_string()], Outcome::NotFine),
        }
    }
    let findings = lints.findings(format);
    let outcome = if findings.is_empty() { Outcome::Fine } else { Outcome::Findings };
    (findings, outcome)
}

/// What a family says about itself.
#[derive(Debug, Default)]
struct Family {
    metric_type: Option<MetricType>,
    has_help: bool,
    has_samples: bool,
}

/// What was seen of the families.
#[derive(Debug, Default)]
struct Lints {
    families: BTreeMap<String, Family>,
}

/// Suffixes of the series of a family.
const SERIES_SUFFIXES: [&str; 6] = ["_bucket", "_count", "_sum", "_total", "_created", "_info"];

/// Units that are none of the base, with the one that is.
const UNITS: [(&str, &str); 9] = [
    ("milliseconds", "seconds"),
    ("microseconds", "seconds"),
    ("nanoseconds", "seconds"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("kilobytes", "bytes"),
    ("megabytes", "bytes"),
    ("gigabytes", "bytes"),
    ("percent", "ratio"),
];

impl Lints {
    fn see(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Type { name, metric_type } => self.family(name).metric_type = Some(*metric_type),
            Entry::Help { name, text } => self.family(name).has_help |= !text.trim().is_empty(),
            Entry::Sample(line) => {
                let name = line.name();
                let family = self.family_of(&name);
                self.family(&family).has_samples = true;
            }
            _ => {}
        }
    }

    fn family(&mut self, name: &str) -> &mut Family {
        self.families.entry(name.to_owned()).or_default()
    }

    /// The family of a series: declared under its name, or under the name without a suffix.
    fn family_of(&self, series: &str) -> String {
        let declared = |name: &str| self.families.get(name).is_some_and(|family| family.metric_type.is_some());
        let mut stems = SERIES_SUFFIXES.iter().filter_map(|suffix| series.strip_suffix(suffix));
        if declared(series) {
            return series.to_owned();
        }
        stems.find(|stem| declared(stem)).unwrap_or(series).to_owned()
    }

    fn findings(&self, format: Format) -> Vec<String> {
        let mut findings = Vec::new();
        for (name, family) in self.families.iter().filter(|(_, family)| family.has_samples) {
            let mut found = |text: String| findings.push(format!("{name}: {text}"));
            if !family.has_help {
                found("no help text".to_owned());
            }
            match family.metric_type {
                None => found("no type".to_owned()),
                // OpenMetrics names the family without the suffix.
                Some(MetricType::Counter) if format == Format::PrometheusText004 && !name.ends_with("_total") => {
                    found("counter without the suffix `_total`".to_owned());
                }
                Some(MetricType::Counter) => {}
                Some(other) if name.ends_with("_total") => {
                    found(format!("`_total` on a {}, which is no counter", other.as_str()));
                }
                Some(MetricType::Gauge | MetricType::Unknown) => {
                    if let Some(suffix) = ["_count", "_sum", "_bucket"].iter().find(|suffix| name.ends_with(*suffix)) {
                        found(format!("`{suffix}` belongs to histograms and summaries"));
                    }
                }
                Some(_) => {}
            }
            let stem = name.strip_suffix("_total").unwrap_or(name);
            if let Some((unit, base)) = UNITS.iter().find(|(unit, _)| stem.rsplit('_').next() == Some(*unit)) {
                found(format!("unit `{unit}`, where the base unit is `{base}`"));
            }
            if name.chars().any(char::is_uppercase) {
                found("capital letters in the name".to_owned());
            }
            if name.contains(':') {
                found("a colon in the name, which is for recording rules".to_owned());
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(page: &str, expected: &[&str], outcome: Outcome) {
        let page = page.as_bytes();
        let (findings, found) = judge(page, Format::of_page(page));
        assert_eq!((findings.iter().map(String::as_str).collect::<Vec<_>>(), found), (expected.to_vec(), outcome));
    }

    #[test]
    fn page_without_a_fault_is_fine() {
        check("", &[], Outcome::Fine);
        let page = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n\
                    # HELP b_seconds B.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 1\nb_seconds_sum 1\nb_seconds_count 1\n";
        check(page, &[], Outcome::Fine);
        check("# HELP a A.\n# TYPE a counter\na_total 1\n# EOF\n", &[], Outcome::Fine);
    }

    #[test]
    fn what_misleads_is_found() {
        check(
            "a 1\n# HELP b B.\n# TYPE b counter\nb 1\n# HELP C_total C.\n# TYPE C_total gauge\nC_total 1\n\
             # HELP d_milliseconds D.\n# TYPE d_milliseconds gauge\nd_milliseconds 1\n# HELP e:f E.\n# TYPE e:f gauge\ne:f 1\n",
            &[
                "C_total: `_total` on a gauge, which is no counter",
                "C_total: capital letters in the name",
                "a: no help text",
                "a: no type",
                "b: counter without the suffix `_total`",
                "d_milliseconds: unit `milliseconds`, where the base unit is `seconds`",
                "e:f: a colon in the name, which is for recording rules",
            ],
            Outcome::Findings,
        );
    }

    #[test]
    fn broken_page_is_no_page() {
        let (findings, outcome) = judge(b"a{b=} 1\n", Format::PrometheusText004);
        assert_eq!((findings.len(), outcome), (1, Outcome::NotFine));
        // Valid lines in an order that OpenMetrics forbids.
        let (findings, outcome) = judge(b"a 1\n# TYPE a gauge\n# EOF\n", Format::OpenMetrics100);
        assert_eq!((findings.len(), outcome), (1, Outcome::NotFine), "{findings:?}");
    }
}
