//! The report: a table for people, a document for scripts.
//!
//! Rule: both say the same; the shape of the document is documented in the help and does not change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::checks::Section;
use super::finding::{Finding, Lag, Verdict};

/// Everything that is told.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) sections: Vec<Section>,
    pub(super) lags: Vec<Lag>,
}

/// In the order in which they are counted.
const VERDICTS: [Verdict; 5] = [Verdict::Ok, Verdict::Wrong, Verdict::Warning, Verdict::Unknown, Verdict::NotChecked];

impl Report {
    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections.iter().flat_map(|section| &section.findings)
    }

    /// How many findings stand so.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.findings().filter(|finding| finding.verdict == verdict).count()
    }

    /// For people: verdict, check and what was found; what was asked and what to do below.
    pub(super) fn table(&self) -> String {
        let width = self.findings().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for section in &self.sections {
            // Writing to a text cannot fail.
            writeln!(text, "{}", section.title).ok();
            for Finding { check, verdict, asked, found, remedy } in &section.findings {
                writeln!(text, "  {:<11}  {check:<width$}  {found}", verdict.word()).ok();
                let indent = " ".repeat(15 + width);
                writeln!(text, "{indent}  asked: {asked}").ok();
                if !remedy.is_empty() {
                    writeln!(text, "{indent}  to do: {remedy}").ok();
                }
            }
            text.push('\n');
        }
        let told = VERDICTS.map(|verdict| (self.count(verdict), verdict.word().to_lowercase()));
        let told: Vec<String> =
            told.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        text.push_str(&told.join(", "));
        text
    }

    /// For scripts.
    pub(super) fn document(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "check": finding.check, "verdict": finding.verdict.key(), "asked": finding.asked,
                "found": finding.found, "remedy": finding.remedy,
            })
        };
        let section = |section: &Section| {
            let findings: Vec<Value> = section.findings.iter().map(finding).collect();
            json!({"title": section.title, "findings": findings})
        };
        let lag = |lag: &Lag| {
            json!({
                "autoscaler": lag.autoscaler, "metric": lag.metric, "pulled": lag.is_pulled,
                "scrape_seconds": lag.scrape.as_secs_f64(), "rules_seconds": lag.rules.as_secs_f64(),
                "sync_seconds": lag.sync.as_secs_f64(), "worst_seconds": lag.worst().as_secs_f64(),
                "hold_seconds": lag.hold.as_secs_f64(),
            })
        };
        let summary: BTreeMap<&str, usize> =
            VERDICTS.into_iter().map(|verdict| (verdict.key(), self.count(verdict))).collect();
        json!({
            "sections": self.sections.iter().map(section).collect::<Vec<_>>(),
            "lag": self.lags.iter().map(lag).collect::<Vec<_>>(),
            "summary": summary,
        })
    }
}
