//! `label_replace` and `label_join`.
//!
//! Rule: they see and keep names that are marked for removal; writing `__name__` takes the mark away.

use datamodel::regex::Regex;
use datamodel::{LabelsBuilder, METRIC_NAME};

use crate::error::EvalError;
use crate::eval::series::{EvalSeries, Grid, Merger};
use crate::eval::{Evaluator, Sink};
use crate::plan::{LabelReplacePlan, VectorPlan};

impl Evaluator<'_> {
    /// Changes the labels of each series; what becomes equal is joined.
    fn relabel(
        &self,
        input: &VectorPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
        change: &dyn Fn(&EvalSeries) -> Option<(datamodel::Labels, bool)>,
    ) -> Result<(), EvalError> {
        let mut merger = Merger::default();
        let mut memory = self.budget.reservation();
        self.vector(input, grid, &mut |mut series| {
            if let Some((labels, is_name)) = change(&series) {
                series.labels = labels;
                series.drop_name &= !is_name;
            }
            memory.grow(series.byte_len())?;
            merger.add(series)
        })?;
        merger.into_series().into_iter().try_for_each(sink)
    }

    pub(super) fn label_replace(
        &self,
        plan: &LabelReplacePlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let regex = Regex::anchored(&plan.pattern).map_err(|_invalid| EvalError::InvalidArgument {
            message: format!("invalid regular expression in label_replace(): {}", plan.pattern),
            span: plan.span,
        })?;
        let is_name = plan.target == METRIC_NAME;
        self.relabel(&plan.input, grid, sink, &|series| {
            let source = series.labels.get(&plan.source).unwrap_or_default();
            let value = regex.captures(source)?.expand(&plan.replacement);
            let mut builder = LabelsBuilder::new(&series.labels);
            builder.set(&plan.target, &value);
            Some((builder.build(), is_name))
        })
    }

    pub(super) fn label_join(
        &self,
        input: &VectorPlan,
        target: &str,
        separator: &str,
        sources: &[String],
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let is_name = target == METRIC_NAME;
        self.relabel(input, grid, sink, &|series| {
            let values: Vec<&str> = sources.iter().map(|name| series.labels.get(name).unwrap_or_default()).collect();
            let mut builder = LabelsBuilder::new(&series.labels);
            builder.set(target, &values.join(separator));
            Some((builder.build(), is_name))
        })
    }
}
