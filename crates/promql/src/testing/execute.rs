//! Commands on an engine with a storage in memory.
//!
//! Rule: an instant case runs three ways: as it stands, pinned by `@` at other times, and as the middle step
//! of a range.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamodel::float::parse_float;
use datamodel::histogram::ClassicHistogram;
use datamodel::{Labels, LabelsBuilder, METRIC_NAME, Sample, Timestamp};

use crate::engine::{Engine, InstantSample, QueryContext, QueryValue};
use crate::testing::at_modifier::pinned;
use crate::testing::compare::{compare, compare_annotations, points};
use crate::testing::script::{Command, Eval, Load, When};
use crate::testing::sequence::SequenceValue;
use crate::testing::storage::{Loaded, ScriptStorage};
use crate::testing::{CaseFailure, ScriptError, ScriptReport};

/// Distance of the steps around an instant case that runs as a range.
const RANGE_STEP: Duration = Duration::from_secs(60);

pub(super) fn run(engine: &Engine, commands: &[Command]) -> Result<ScriptReport, ScriptError> {
    let mut report = ScriptReport::default();
    let mut state = State { engine, storage: ScriptStorage::default() };
    for command in commands {
        match command {
            Command::Clear => state.storage = ScriptStorage::default(),
            Command::Load(load) => {
                state.load(load).map_err(|message| ScriptError { line: load.line, message })?;
            }
            Command::Eval(eval) => {
                report.total += 1;
                if let Err(message) = state.eval(eval) {
                    report.failures.push(CaseFailure { line: eval.line, expr: eval.expr.clone(), message });
                }
            }
        }
    }
    Ok(report)
}

struct State<'a> {
    engine: &'a Engine,
    storage: ScriptStorage,
}

fn ms(unix_ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(unix_ms)
}

impl State<'_> {
    fn load(&mut self, load: &Load) -> Result<(), String> {
        let time = |index: usize| load.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX));
        for loaded in &load.series {
            let values = loaded.values.iter().enumerate().map(|(index, value)| {
                let at = time(index);
                let start = loaded.starts.get(index).copied().flatten().map(|start| at.saturating_add(start));
                Loaded { at, start, value }
            });
            self.storage.load(&loaded.labels, values)?;
        }
        if !load.with_native {
            return Ok(());
        }
        for (labels, histograms) in natives(load)? {
            let mut values = Vec::with_capacity(histograms.len());
            for (at, classic) in histograms {
                let histogram = classic.to_native().map_err(|error| format!("{labels}: {error}"))?;
                values.push((at, SequenceValue::Histogram(Arc::new(histogram), false)));
            }
            let values = values.iter().map(|(at, value)| Loaded { at: *at, start: None, value });
            self.storage.load(&labels, values)?;
        }
        Ok(())
    }

    fn eval(&self, eval: &Eval) -> Result<(), String> {
        match eval.when {
            When::Range { start, end, step } => {
                let context = QueryContext::default();
                let step = Eval::step(step);
                let result = self.engine.range(&self.storage, &eval.expr, ms(start), ms(end), step, &context);
                match (result, &eval.expectations.fail) {
                    (Ok(result), None) => {
                        compare_annotations(&eval.expectations, &result.annotations)?;
                        compare(eval, &result.value)
                    }
                    (result, _) => expect_failure(eval, result.map(|_| ())),
                }
            }
            When::Instant(at) => {
                self.instant(eval, &eval.expr, at)?;
                let expr = self.engine.parse(&eval.expr).map_err(|error| error.to_string());
                // What does not parse was expected to fail, or the line above failed.
                let Ok(expr) = expr else { return Ok(()) };
                let Some((text, times)) = pinned(&expr, at) else { return Ok(()) };
                for time in times {
                    self.instant(eval, &text, time).map_err(|message| format!("{message} ({text} at {time} ms)"))?;
                }
                Ok(())
            }
        }
    }

    fn instant(&self, eval: &Eval, text: &str, at: i64) -> Result<(), String> {
        let context = QueryContext::default();
        let result = match (self.engine.instant(&self.storage, text, ms(at), &context), &eval.expectations.fail) {
            (Ok(result), None) => result,
            (result, _) => return expect_failure(eval, result.map(|_| ())),
        };
        compare_annotations(&eval.expectations, &result.annotations)?;
        compare(eval, &result.value)?;
        let changes_with_range = ["start()", "end()", "range()", "step()"].iter().any(|call| text.contains(call));
        let has_no_range = matches!(result.value, QueryValue::String { .. }) || eval.range_vector.is_some();
        if changes_with_range || has_no_range {
            return Ok(());
        }
        self.as_range(eval, text, at, &result.value).map_err(|message| format!("as a range: {message}"))
    }

    fn as_range(&self, eval: &Eval, text: &str, at: i64, instant: &QueryValue) -> Result<(), String> {
        let (start, end) = (ms(at).saturating_sub(RANGE_STEP), ms(at).saturating_add(RANGE_STEP));
        let context = QueryContext::default();
        let result = self.engine.range(&self.storage, text, start, end, RANGE_STEP, &context);
        let QueryValue::RangeVector(series) = result.map_err(|error| error.to_string())?.value else {
            return Err("no range vector".to_owned());
        };
        if eval.expectations.is_ordered {
            return Ok(());
        }
        let middle = series.iter().flat_map(|series| {
            let points = points(series).filter(|(time, _)| *time == at);
            points.map(|(_, value)| InstantSample {
                labels: series.labels.clone(),
                timestamp: ms(at),
                value,
                newest_input: None,
            })
        });
        let middle: Vec<InstantSample> = middle.collect();
        if let QueryValue::Scalar(_) = instant {
            let Some(crate::Value::Float(value)) = middle.first().map(|sample| sample.value.clone()) else {
                return Err("no value at the middle step".to_owned());
            };
            return compare(eval, &QueryValue::Scalar(Sample { timestamp: ms(at), value }));
        }
        compare(eval, &QueryValue::InstantVector(middle))
    }
}

fn expect_failure(eval: &Eval, result: Result<(), crate::EvalError>) -> Result<(), String> {
    match (result, &eval.expectations.fail) {
        (Err(error), Some(expected)) => {
            let text = error.to_string();
            let is_missing = matches!(error, crate::EvalError::Unsupported { .. });
            if expected.matches(&text) && !is_missing {
                return Ok(());
            }
            Err(format!("expected the error {}, got: {text}", expected.shown()))
        }
        (Err(error), None) => Err(error.to_string()),
        (Ok(()), _) => Err("expected an error".to_owned()),
    }
}

/// Classic histograms by their base labels and time.
type Natives = BTreeMap<Labels, BTreeMap<i64, ClassicHistogram>>;

fn natives(load: &Load) -> Result<Natives, String> {
    let mut natives = Natives::new();
    for loaded in &load.series {
        let name = loaded.labels.metric_name().unwrap_or_default();
        let le = loaded.labels.get("le").and_then(|le| parse_float(le).ok());
        let (base, is_bucket, is_sum) = if let Some(base) = name.strip_suffix("_bucket") {
            if loaded.labels.get("le").is_none() {
                return Err(format!("expected bucket label in metric {}", loaded.labels));
            }
            (base, true, false)
        } else if let Some(base) = name.strip_suffix("_sum") {
            (base, false, true)
        } else if let Some(base) = name.strip_suffix("_count") {
            (base, false, false)
        } else {
            continue;
        };
        if is_bucket && le.is_none() {
            continue;
        }
        let mut builder = LabelsBuilder::new(&loaded.labels);
        builder.set(METRIC_NAME, base).remove("le");
        let by_time = natives.entry(builder.build()).or_default();
        for (index, value) in loaded.values.iter().enumerate() {
            let SequenceValue::Float(value) = value else { continue };
            let at = load.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX));
            let classic = by_time.entry(at).or_default();
            match le {
                Some(le) if is_bucket => classic.buckets.push((le, *value)),
                _ if is_sum => classic.sum = *value,
                _ => classic.count = Some(*value),
            }
        }
    }
    Ok(natives)
}
