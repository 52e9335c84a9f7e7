//! The pull parser.
//!
//! Rule: what Prometheus' own parser of a format takes or refuses, this one takes or refuses.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::rules::Rules;
use super::scan::{self, At, blanks, rest};
use super::{Entry, Exemplar, Format, MAX_LINE_BYTES, ParseError, Reason, SampleLine};
use crate::float::{parse_float, shown};
use crate::metadata::MetricType;
use crate::time::Timestamp;

/// Reads a page entry by entry.
#[derive(Debug)]
pub struct Parser<'a> {
    page: &'a [u8],
    format: Format,
    /// Where the next line begins.
    at: usize,
    /// The number of that line, from 1.
    line: u32,
    declared_type: MetricType,
    finished: bool,
    rules: Option<Box<Rules>>,
}

impl<'a> Parser<'a> {
    /// Starts at the head of a page.
    #[must_use]
    pub const fn new(page: &'a [u8], format: Format) -> Self {
        Self { page, format, at: 0, line: 1, declared_type: MetricType::Unknown, finished: false, rules: None }
    }

    /// As [`new`](Self::new), and an OpenMetrics page must also obey the rules about families: names and
    /// their suffixes, order, units, values, exemplars, histograms that fit together. Prometheus applies few
    /// of them, and well-known exporters break some: this is for checking a page, not for scraping one.
    #[must_use]
    pub fn strict(page: &'a [u8], format: Format) -> Self {
        let rules = (format == Format::OpenMetrics100).then(Box::default);
        Self { rules, ..Self::new(page, format) }
    }

    /// The next entry; `None` at the end of the page.
    ///
    /// # Errors
    ///
    /// The page breaks its format here. Further calls give `None`.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results invites to skip the errors")]
    pub fn next(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        if self.finished {
            return Ok(None);
        }
        let entry = match self.format {
            Format::PrometheusText004 => self.text_entry(),
            Format::OpenMetrics100 => self.openmetrics_entry(),
        };
        match self.obey(entry) {
            Ok(Some((entry, end))) => {
                self.advance(end);
                Ok(Some(entry))
            }
            Ok(None) => {
                self.finished = true;
                Ok(None)
            }
            Err((at, reason)) => {
                self.finished = true;
                Err(self.error(at, reason))
            }
        }
    }

    /// Applies the rules about families, if any are to be applied.
    fn obey(&mut self, entry: At<Option<(Entry<'a>, usize)>>) -> At<Option<(Entry<'a>, usize)>> {
        let Some(rules) = &mut self.rules else { return entry };
        let obeyed = match &entry {
            Ok(Some((entry, _))) => rules.entry(entry),
            Ok(None) => rules.finish(),
            Err(_) => Ok(()),
        };
        obeyed.map_err(|reason| (self.at, reason))?;
        entry
    }

    /// Reads a sample line whose series text the caller expects, typically the one that stood at the same
    /// place of the target's last page; without checking that text again. `None` when another line comes:
    /// then call [`next`](Self::next). A strict parser always gives `None`.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_if_series(&mut self, expected: &str) -> Result<Option<SampleLine<'a>>, ParseError> {
        let end = self.at + expected.len();
        let same = self.page.get(self.at..end) == Some(expected.as_bytes());
        // A text that ends in a name may go on in the page.
        let ends = matches!(self.page.get(end), Some(b' ' | b'\t'))
            && !rest(self.page, end + blanks(self.page, end)).starts_with(b"{");
        if self.finished || self.rules.is_some() || expected.is_empty() || !same || !ends {
            return Ok(None);
        }
        match self.sample_behind(self.at, end) {
            Ok((sample, end)) => {
                self.advance(end);
                Ok(Some(sample))
            }
            Err((at, reason)) => {
                self.finished = true;
                Err(self.error(at, reason))
            }
        }
    }

    /// Moves to the line that begins at `end`.
    fn advance(&mut self, end: usize) {
        let passed = self.page.get(self.at..end).unwrap_or_default();
        let lines = if passed.len() > 1 { memchr_iter(b'\n', passed).count() } else { passed.len() };
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at = end;
    }

    /// The error at an offset of the page.
    fn error(&self, at: usize, reason: Reason) -> ParseError {
        let before = self.page.get(self.at..at.min(self.page.len())).unwrap_or_default();
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        let lines = memchr_iter(b'\n', before).count();
        // Bytes that continue a character count for no column.
        let columns = rest(before, line_start).iter().filter(|byte| *byte & 0xc0 != 0x80).count();
        ParseError {
            line: self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX)),
            column: u32::try_from(columns + 1).unwrap_or(u32::MAX),
            reason,
        }
    }

    /// Where the line that goes on at `at` ends (at its line feed, or at the end of the page).
    fn line_end(&self, at: usize) -> At<usize> {
        let end = memchr(b'\n', rest(self.page, at)).map_or(self.page.len(), |step| at + step);
        if end.saturating_sub(self.at) > MAX_LINE_BYTES { Err((self.at, Reason::LongLine)) } else { Ok(end) }
    }

    fn text(&self, start: usize, end: usize) -> At<&'a str> {
        let bytes = self.page.get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|error| (start + error.valid_up_to(), Reason::InvalidUtf8))
    }

    /// An entry of text format 0.0.4, with the start of the next line.
    fn text_entry(&mut self) -> At<Option<(Entry<'a>, usize)>> {
        let mut start = self.at + blanks(self.page, self.at);
        while self.page.get(start) == Some(&b'\n') {
            self.advance(start + 1);
            start = self.at + blanks(self.page, self.at);
        }
        match self.page.get(start) {
            None => Ok(None),
            Some(b'#') => self.text_comment(start).map(Some),
            Some(_) => self.sample(start).map(|(sample, end)| Some((Entry::Sample(sample), end))),
        }
    }

    /// A line of text format 0.0.4 that begins with `#`.
    fn text_comment(&mut self, start: usize) -> At<(Entry<'a>, usize)> {
        let keyword = start + 1 + blanks(self.page, start + 1);
        let has_gap = keyword > start + 1;
        let behind = keyword + 4;
        let name_at = behind + blanks(self.page, behind);
        let is_help = rest(self.page, keyword).starts_with(b"HELP");
        let is_type = rest(self.page, keyword).starts_with(b"TYPE");
        let line_end = self.line_end(start)?;
        if !has_gap || !(is_help || is_type) || name_at == behind {
            return Ok((Entry::Comment, line_end + 1));
        }
        let (name, behind) = self.family_name(name_at)?;
        // A quoted name may hold line feeds, so that the line ends later.
        let end = self.line_end(behind)?;
        let text = self.text((behind + 1).min(end), end)?;
        let entry = if is_help {
            Entry::Help { name, text: scan::unescape_with(text, false) }
        } else {
            Entry::Type { name, metric_type: self.declare(text, (behind + 1).min(end))? }
        };
        Ok((entry, end + 1))
    }

    /// An entry of OpenMetrics, with the start of the next line.
    fn openmetrics_entry(&mut self) -> At<Option<(Entry<'a>, usize)>> {
        let start = self.at;
        match self.page.get(start) {
            None => Err((start, Reason::NoEof)),
            Some(b'#') => self.openmetrics_comment(start),
            Some(_) => {
                let (sample, end) = self.sample(start)?;
                if end > self.page.len() {
                    return Err((self.page.len(), Reason::NoEof));
                }
                Ok(Some((Entry::Sample(sample), end)))
            }
        }
    }

    /// A line of OpenMetrics that begins with `#`; `None` for `# EOF`.
    fn openmetrics_comment(&mut self, start: usize) -> At<Option<(Entry<'a>, usize)>> {
        let line = rest(self.page, start);
        if let Some(behind) = line.strip_prefix(b"# EOF") {
            return match behind {
                b"" | b"\n" => Ok(None),
                _ => Err((start + 5, Reason::AfterEof)),
            };
        }
        let name_at = start + 7;
        let keyword = match line.get(..7) {
            Some(b"# HELP " | b"# TYPE " | b"# UNIT ") => line.get(2).copied(),
            _ => return Err((start, Reason::Expected("`# HELP `, `# TYPE `, `# UNIT ` or `# EOF`"))),
        };
        let (name, behind) = self.family_name(name_at)?;
        if self.page.get(behind) != Some(&b' ') {
            return Err((behind, Reason::Expected("a blank and a text")));
        }
        let end = self.line_end(behind)?;
        if end >= self.page.len() {
            return Err((end, Reason::NoEof));
        }
        let text = self.text(behind + 1, end)?;
        let entry = match keyword {
            Some(b'H') => Entry::Help { name, text: scan::unescape(text) },
            Some(b'T') => Entry::Type { name, metric_type: self.declare(text, (behind + 1).min(end))? },
            _ => {
                let fits = name.strip_suffix(text).is_some_and(|stem| stem.ends_with('_'));
                if !text.is_empty() && !fits {
                    let reason = Reason::Unit { family: name.into_owned(), unit: text.to_owned() };
                    return Err((behind + 1, reason));
                }
                Entry::Unit { name, unit: text }
            }
        };
        Ok(Some((entry, end + 1)))
    }

    /// The family name of a metadata line at `at`, and where it ends.
    fn family_name(&self, at: usize) -> At<(Cow<'a, str>, usize)> {
        if self.page.get(at) == Some(&b'"') {
            let end = scan::quoted(self.page, at, self.format)?;
            return Ok((scan::unescape(self.text(at + 1, end - 1)?), end));
        }
        let end = at + scan::name_len(rest(self.page, at));
        if end == at {
            return Err((at, Reason::Expected("a metric name")));
        }
        Ok((self.text(at, end)?.into(), end))
    }

    /// Notes the type of a `# TYPE` line, whose word stands at `at`.
    fn declare(&mut self, word: &str, at: usize) -> At<MetricType> {
        let openmetrics = self.format == Format::OpenMetrics100;
        let metric_type = match word {
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "summary" => MetricType::Summary,
            "untyped" if !openmetrics => MetricType::Unknown,
            "unknown" if openmetrics => MetricType::Unknown,
            "gaugehistogram" if openmetrics => MetricType::GaugeHistogram,
            "info" if openmetrics => MetricType::Info,
            "stateset" if openmetrics => MetricType::StateSet,
            _ => return Err((at, Reason::Type(shown(word)))),
        };
        self.declared_type = metric_type;
        Ok(metric_type)
    }

    /// The sample line whose series begins at `start`, and the start of the next line.
    fn sample(&self, start: usize) -> At<(SampleLine<'a>, usize)> {
        // Before anything is scanned: nothing behind a line that is too long is looked at.
        let bound = self.page.len().min(start.saturating_add(MAX_LINE_BYTES));
        let window = self.page.get(..bound).unwrap_or_default();
        let too_long = |error: (usize, Reason)| {
            if bound < self.page.len() && error.1 == Reason::OpenQuote { (start, Reason::LongLine) } else { error }
        };
        let end = scan::series(window, start, self.format).map_err(too_long)?;
        self.sample_behind(start, end)
    }

    /// The sample line whose checked series stands from `start` to `end`.
    fn sample_behind(&self, start: usize, end: usize) -> At<(SampleLine<'a>, usize)> {
        let line_end = self.line_end(end)?;
        let mut fields = Fields { parser: self, at: end, end: line_end };
        let value_at = fields.at;
        let value = match fields.word()? {
            Some((word, at)) => parse_float(word).map_err(|error| (at, Reason::Value(error)))?,
            None => return Err((value_at, Reason::Expected("a value"))),
        };
        let mut sample = SampleLine {
            series: self.text(start, end)?,
            value,
            timestamp: None,
            exemplar: None,
            declared_type: self.declared_type,
            line: self.line,
        };
        if !fields.at_exemplar() {
            sample.timestamp = match fields.word()? {
                Some((word, at)) => Some(self.timestamp(word, at)?),
                None => None,
            };
        }
        if fields.at_exemplar() {
            sample.exemplar = Some(fields.exemplar()?);
        }
        fields.finish()?;
        Ok((sample, line_end + 1))
    }

    fn timestamp(&self, word: &str, at: usize) -> At<Timestamp> {
        let invalid = || (at, Reason::Timestamp(shown(word)));
        match self.format {
            Format::PrometheusText004 => {
                let digits = word.bytes().all(|byte| byte.is_ascii_digit());
                let unix_ms = if digits { word.parse().ok() } else { None };
                unix_ms.map(Timestamp::from_unix_ms).ok_or_else(invalid)
            }
            Format::OpenMetrics100 => {
                let seconds = parse_float(word).map_err(|_any| invalid())?;
                if !seconds.is_finite() {
                    return Err(invalid());
                }
                // Parts of a millisecond are cut off, as upstream does; what is only an error of the float is none.
                let (ms, nearest) = (seconds * 1000.0, (seconds * 1000.0).round());
                let ms = if (ms - nearest).abs() < 1e-3 { nearest } else { ms };
                // At the ends of time beyond them: the storage refuses such a sample, the page is good.
                Ok(Timestamp::from_unix_ms(ms as i64))
            }
        }
    }
}

/// What follows the series on its line.
struct Fields<'p, 'a> {
    parser: &'p Parser<'a>,
    at: usize,
    end: usize,
}

impl<'a> Fields<'_, 'a> {
    /// The next word, and where it stands; `None` at the end of the line.
    fn word(&mut self) -> At<Option<(&'a str, usize)>> {
        let page = self.parser.page;
        let start = match self.parser.format {
            Format::PrometheusText004 => self.at + blanks(page, self.at),
            Format::OpenMetrics100 if self.at == self.end => self.at,
            Format::OpenMetrics100 if page.get(self.at) == Some(&b' ') => self.at + 1,
            Format::OpenMetrics100 => return Err((self.at, Reason::Expected("a blank"))),
        };
        if start >= self.end {
            // OpenMetrics has no blanks at the end of a line.
            let trailing = self.parser.format == Format::OpenMetrics100 && start > self.at;
            return if trailing {
                Err((self.at, Reason::Expected("a value or the end of the line")))
            } else {
                Ok(None)
            };
        }
        let line = page.get(start..self.end).unwrap_or_default();
        let len = line.iter().take_while(|byte| !matches!(byte, b' ' | b'\t')).count();
        self.at = start + len;
        if len == 0 {
            return Err((start, Reason::Expected("a value")));
        }
        Ok(Some((self.parser.text(start, start + len)?, start)))
    }

    /// Whether an exemplar comes (OpenMetrics).
    fn at_exemplar(&self) -> bool {
        self.parser.format == Format::OpenMetrics100 && rest(self.parser.page, self.at).starts_with(b" # {")
    }

    fn exemplar(&mut self) -> At<Exemplar<'a>> {
        let start = self.at + 3;
        let line = self.parser.page.get(..self.end).unwrap_or_default();
        let end = scan::exemplar(line, start, self.parser.format)?;
        let label_text = self.parser.text(start, end)?;
        self.at = end;
        let value = match self.word()? {
            Some((word, at)) => parse_float(word).map_err(|error| (at, Reason::Value(error)))?,
            None => return Err((self.at, Reason::Expected("the value of the exemplar"))),
        };
        let timestamp = match self.word()? {
            Some((word, at)) => Some(self.parser.timestamp(word, at)?),
            None => None,
        };
        Ok(Exemplar { label_text, value, timestamp })
    }

    fn finish(&self) -> At<()> {
        let gap = match self.parser.format {
            Format::PrometheusText004 => blanks(self.parser.page, self.at),
            Format::OpenMetrics100 => 0,
        };
        if self.at + gap < self.end { Err((self.at + gap, Reason::Expected("the end of the line"))) } else { Ok(()) }
    }
}
