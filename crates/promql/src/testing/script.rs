//! Lines to commands.
//!
//! Rule: a comment line ends a command as an empty line does.

use std::time::Duration;

use datamodel::Labels;
use datamodel::regex::Regex;
use datamodel::time::{duration_ms, parse_duration};

use crate::lexer::{TokenKind, tokenize};
use crate::parser::parse_number;
use crate::testing::ScriptError;
use crate::testing::sequence::{SequenceValue, parse_metric, parse_series};

/// A command of a script.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// `load` and `load_with_nhcb`.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) line: usize,
    /// Milliseconds between values.
    pub(super) step: i64,
    /// Whether classic histograms are also loaded as native ones with custom buckets.
    pub(super) with_native: bool,
    pub(super) series: Vec<LoadedSeries>,
}

/// One line of a load.
#[derive(Clone, Debug)]
pub(super) struct LoadedSeries {
    pub(super) labels: Labels,
    pub(super) values: Vec<SequenceValue>,
    /// Milliseconds from each sample to its start timestamp (`@st`); empty where there are none.
    pub(super) starts: Vec<Option<i64>>,
}

/// When an expression is evaluated, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// What a text must look like.
#[derive(Clone, Debug)]
pub(super) enum TextMatch {
    Any,
    Exactly(String),
    Pattern(Regex),
}

impl TextMatch {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => expected == text,
            Self::Pattern(regex) => regex.is_match(text),
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Exactly(expected) => format!("`{expected}`"),
            Self::Pattern(regex) => format!("pattern `{}`", regex.pattern()),
        }
    }
}

/// What is expected beside the value.
#[derive(Clone, Debug, Default)]
pub(super) struct Expectations {
    pub(super) is_ordered: bool,
    pub(super) fail: Option<TextMatch>,
    pub(super) warn: Vec<TextMatch>,
    pub(super) info: Vec<TextMatch>,
    pub(super) no_warn: bool,
    pub(super) no_info: bool,
}

/// The expected value.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Scalar(f64),
    String(String),
    /// Series in the order of the script.
    Series(Vec<(Labels, Vec<SequenceValue>)>),
}

/// `eval instant` and `eval range`.
#[derive(Clone, Debug)]
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) expr: String,
    pub(super) when: When,
    pub(super) expectations: Expectations,
    pub(super) expected: Expected,
    /// The grid of an expected range vector.
    pub(super) range_vector: Option<(i64, i64, i64)>,
}

fn error<T>(line: usize, message: impl Into<String>) -> Result<T, ScriptError> {
    Err(ScriptError { line: line + 1, message: message.into() })
}

/// Reads a whole script.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> =
        text.split('\n').map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let word = line.split([' ', '\t']).next().unwrap_or_default().to_lowercase();
        let body = Body { lines: &lines, first: at, next: at + 1 };
        let (command, next) = match word.as_str() {
            "" => {
                at += 1;
                continue;
            }
            "clear" => (Command::Clear, at + 1),
            word if word.starts_with("load") => parse_load(line, body)?,
            word if word.starts_with("eval") => parse_eval(line, body)?,
            _ => return error(at, format!("invalid command: {line}")),
        };
        commands.push(command);
        at = next;
    }
    Ok(commands)
}

/// The lines of a command up to the next empty one.
struct Body<'a> {
    lines: &'a [&'a str],
    first: usize,
    next: usize,
}

impl<'a> Iterator for Body<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.get(self.next).filter(|line| !line.is_empty())?;
        self.next += 1;
        Some((self.next - 1, line))
    }
}

fn millis(text: &str, line: usize) -> Result<i64, ScriptError> {
    match parse_duration(text) {
        Ok(duration) => Ok(duration_ms(duration)),
        Err(cause) => error(line, cause.to_string()),
    }
}

fn parse_load(line: &str, mut body: Body<'_>) -> Result<(Command, usize), ScriptError> {
    let at = body.first;
    let mut words = line.split_whitespace();
    let with_native = match words.next() {
        Some("load") => false,
        Some("load_with_nhcb") => true,
        _ => return error(at, "invalid load command: load[_with_nhcb] STEP"),
    };
    let (Some(step), None) = (words.next(), words.next()) else {
        return error(at, "invalid load command: load[_with_nhcb] STEP");
    };
    let step = millis(step, at)?;
    let mut series: Vec<LoadedSeries> = Vec::new();
    let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
    for (at, line) in body.by_ref() {
        let end = line.find([' ', '\t']).unwrap_or(line.len());
        let (head, rest) = line.split_at(end);
        if let Some(metric) = head.strip_suffix("@st") {
            if pending.is_some() {
                return error(at, "@st line has no following sample line");
            }
            let labels = parse_metric(metric).map_err(|message| ScriptError { line: at + 1, message })?.0;
            pending = Some((labels, parse_starts(rest, at)?));
            continue;
        }
        let (labels, values) = parse_series(line).map_err(|message| ScriptError { line: at + 1, message })?;
        let starts = match pending.take() {
            Some((metric, _)) if metric != labels => {
                return error(at, "@st metric does not match the following sample line metric");
            }
            Some((_, starts)) if starts.len() != values.len() => {
                let (starts, values) = (starts.len(), values.len());
                return error(at, format!("@st line has {starts} values but sample line has {values}"));
            }
            Some((_, starts)) => starts,
            None => Vec::new(),
        };
        // Of two lines for one series the last counts.
        series.retain(|loaded| loaded.labels != labels);
        series.push(LoadedSeries { labels, values, starts });
    }
    if pending.is_some() {
        return error(body.next, "@st line has no following sample line");
    }
    Ok((Command::Load(Load { line: at + 1, step, with_native, series }), body.next))
}

/// `_x2 -30s 0s+1mx3`: milliseconds from each sample to its start.
fn parse_starts(text: &str, line: usize) -> Result<Vec<Option<i64>>, ScriptError> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        let Some(values) = parse_start_item(item) else {
            return error(line, format!("invalid @st item: {item}"));
        };
        starts.extend(values);
    }
    Ok(starts)
}

fn parse_start_item(item: &str) -> Option<Vec<Option<i64>>> {
    const MAX_TIMES: usize = 1_000_000;
    let times = |text: &str| text.parse::<usize>().ok().filter(|times| *times < MAX_TIMES);
    if let Some(rest) = item.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { times(rest.strip_prefix('x')?).filter(|times| *times > 0)? };
        return Some(vec![None; count]);
    }
    let (base, rest) = signed_duration(item)?;
    if rest.is_empty() {
        return Some(vec![Some(base)]);
    }
    if let Some(count) = rest.strip_prefix('x') {
        return Some(vec![Some(base); times(count)? + 1]);
    }
    let (step, rest) = signed_duration(rest)?;
    let count = times(rest.strip_prefix('x')?)?;
    let mut value = base;
    let mut values = Vec::with_capacity(count + 1);
    for _ in 0..=count {
        values.push(Some(value));
        value = value.saturating_add(step);
    }
    Some(values)
}

fn signed_duration(text: &str) -> Option<(i64, &str)> {
    let (is_negative, body) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let digits = body.find(|c: char| !c.is_ascii_digit()).unwrap_or(body.len());
    let unit = body.get(digits..)?.find(|c: char| !c.is_ascii_alphabetic() || c == 'x');
    let end = unit.map_or(body.len(), |unit| digits + unit);
    let (duration, rest) = body.split_at(end);
    let ms = duration_ms(parse_duration(duration).ok()?);
    Some((if is_negative { -ms } else { ms }, rest))
}

fn parse_eval(line: &str, mut body: Body<'_>) -> Result<(Command, usize), ScriptError> {
    let at = body.first;
    let Some((word, rest)) = line.split_once([' ', '\t']) else {
        return error(at, format!("invalid evaluation command: {line}"));
    };
    let mut expectations = Expectations::default();
    match word.strip_prefix("eval") {
        Some("") => {}
        Some("_ordered") => expectations.is_ordered = true,
        Some("_fail") => expectations.fail = Some(TextMatch::Any),
        Some("_warn") => expectations.warn.push(TextMatch::Any),
        Some("_info") => expectations.info.push(TextMatch::Any),
        _ => return error(at, format!("invalid evaluation command: {line}")),
    }
    let (when, expr) = parse_when(rest.trim_start(), at)?;
    let mut eval =
        Eval { line: at + 1, expr, when, expectations, expected: Expected::Series(Vec::new()), range_vector: None };
    for (at, line) in body.by_ref() {
        if parse_expected(&mut eval, line, at)? {
            break;
        }
    }
    Ok((Command::Eval(Box::new(eval)), body.next))
}

/// A word and what follows it.
fn word<'a>(text: &'a str, line: usize, wanted: &str) -> Result<(&'a str, &'a str), ScriptError> {
    let text = text.trim_start();
    match text.split_once([' ', '\t']) {
        Some((word, rest)) if wanted.is_empty() || word == wanted => Ok((word, rest.trim_start())),
        _ => error(line, format!("expected `{wanted}`: {text}")),
    }
}

fn parse_when(text: &str, line: usize) -> Result<(When, String), ScriptError> {
    let (kind, rest) = word(text, line, "")?;
    match kind {
        "instant" => {
            let (at, expr) = word(word(rest, line, "at")?.1, line, "")?;
            Ok((When::Instant(millis(at, line)?), expr.trim().to_owned()))
        }
        "range" => {
            let (start, rest) = word(word(rest, line, "from")?.1, line, "")?;
            let (end, rest) = word(word(rest, line, "to")?.1, line, "")?;
            let (step, expr) = word(word(rest, line, "step")?.1, line, "")?;
            let (start, end, step) = (millis(start, line)?, millis(end, line)?, millis(step, line)?);
            if end < start {
                return error(line, "end is before start");
            }
            Ok((When::Range { start, end, step }, expr.trim().to_owned()))
        }
        _ => error(line, format!("expected `instant` or `range`: {text}")),
    }
}

/// Reads one line of what is expected. True if it is the last one.
fn parse_expected(eval: &mut Eval, line: &str, at: usize) -> Result<bool, ScriptError> {
    if let Some(rest) = line.strip_prefix("expected_fail_message").filter(|_| eval.expectations.fail.is_some()) {
        eval.expectations.fail = Some(TextMatch::Exactly(rest.trim().to_owned()));
        return Ok(true);
    }
    if let Some(rest) = line.strip_prefix("expected_fail_regexp").filter(|_| eval.expectations.fail.is_some()) {
        eval.expectations.fail = Some(pattern(rest.trim(), at)?);
        return Ok(true);
    }
    if let Some(rest) = line.strip_prefix("expect range vector") {
        let (start, rest) = word(word(rest, at, "from")?.1, at, "")?;
        let (end, rest) = word(word(rest, at, "to")?.1, at, "")?;
        let step = rest.strip_prefix("step").map(str::trim).unwrap_or_default();
        eval.range_vector = Some((millis(start, at)?, millis(end, at)?, millis(step, at)?));
        return Ok(false);
    }
    if let Some(rest) = line.strip_prefix("expect string") {
        let tokens = tokenize(rest.trim_start());
        let [string, end] = tokens.as_slice() else { return error(at, format!("bad string: {line}")) };
        let (TokenKind::String(bytes), TokenKind::Eof) = (&string.kind, &end.kind) else {
            return error(at, format!("bad string: {line}"));
        };
        eval.expected = Expected::String(String::from_utf8_lossy(bytes).into_owned());
        return Ok(false);
    }
    if line == "expect" || line.starts_with("expect ") {
        parse_expect(&mut eval.expectations, line, at)?;
        return Ok(false);
    }
    if let Some(value) = parse_number(line) {
        eval.expected = Expected::Scalar(value);
        return Ok(true);
    }
    let (labels, values) = parse_series(line).map_err(|message| ScriptError { line: at + 1, message })?;
    if values.len() > 1 && matches!(eval.when, When::Instant(_)) && eval.range_vector.is_none() {
        return error(at, "several values of an instant evaluation need an `expect range vector` line");
    }
    let Expected::Series(series) = &mut eval.expected else {
        return error(at, format!("a series beside another expectation: {line}"));
    };
    series.push((labels, values));
    Ok(false)
}

fn pattern(text: &str, at: usize) -> Result<TextMatch, ScriptError> {
    match Regex::unanchored(text) {
        Ok(regex) => Ok(TextMatch::Pattern(regex)),
        Err(cause) => error(at, cause.to_string()),
    }
}

fn parse_expect(expectations: &mut Expectations, line: &str, at: usize) -> Result<(), ScriptError> {
    let rest = line.strip_prefix("expect").unwrap_or_default().trim_start();
    let (kind, rest) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let rest = rest.trim();
    let text = if rest.is_empty() {
        TextMatch::Any
    } else if let Some(text) = rest.strip_prefix("msg:") {
        TextMatch::Exactly(text.trim().to_owned())
    } else if let Some(text) = rest.strip_prefix("regex:") {
        pattern(text.trim(), at)?
    } else {
        return error(at, format!("invalid expect line: {line}"));
    };
    match kind {
        "ordered" => expectations.is_ordered = true,
        "fail" if expectations.fail.is_some() => return error(at, "several expect fail lines"),
        "fail" => expectations.fail = Some(text),
        "warn" => expectations.warn.push(text),
        "info" => expectations.info.push(text),
        "no_warn" => expectations.no_warn = true,
        "no_info" => expectations.no_info = true,
        _ => return error(at, format!("invalid expect line: {line}")),
    }
    let contradicts = (expectations.no_warn && !expectations.warn.is_empty())
        || (expectations.no_info && !expectations.info.is_empty());
    if contradicts { error(at, "contradicting expect lines") } else { Ok(()) }
}

impl Eval {
    /// The step of a range as a duration.
    pub(super) fn step(step: i64) -> Duration {
        Duration::from_millis(step.unsigned_abs())
    }
}
