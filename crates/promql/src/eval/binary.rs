//! Arithmetic and comparison between a vector and a scalar, and between two vectors.
//!
//! Rule: between vectors, what matches what is decided by labels alone, once; values only step by step.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datamodel::{Labels, LabelsBuilder};

use crate::annotations::Note;
use crate::ast::{Cardinality, Matching};
use crate::error::EvalError;
use crate::eval::map::Equals;
use crate::eval::sample_op::sample_binary;
use crate::eval::series::{Column, EvalSeries, Grid, METADATA_LABELS, Made, Merger, NO_INPUT, Point, PointKey};
use crate::eval::{Evaluator, Sink};
use crate::plan::{VectorScalarPlan, VectorVectorPlan};

impl Evaluator<'_> {
    pub(super) fn vector_scalar(
        &self,
        plan: &VectorScalarPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let scalar = self.scalar(&plan.scalar, grid)?;
        let drops_name = plan.op.changes_meaning() || plan.is_bool;
        let mut body = |sink: &mut Sink<'_>| {
            self.vector(&plan.vector, grid, &mut |series| {
                let mut column = Column::new(grid.steps);
                for (index, point) in series.column.iter() {
                    if let Some(made) = self.vector_scalar_sample(plan, point, scalar.at(index)) {
                        column.set_made(index, made);
                    }
                }
                if column.is_empty() {
                    return Ok(());
                }
                let drop_name = series.drop_name || drops_name;
                sink(EvalSeries { column, drop_name, newest: series.newest.max(scalar.newest), ..series })
            })
        };
        if drops_name {
            self.dropping_names(plan.vector.has_one_name(), Equals::Join, sink, &mut body)
        } else {
            body(sink)
        }
    }

    fn vector_scalar_sample(&self, plan: &VectorScalarPlan, point: Point<'_>, scalar: f64) -> Option<Made> {
        let other = Point::Float(scalar);
        let (left, right) = if plan.scalar_is_left { (other, point) } else { (point, other) };
        let outcome = match sample_binary(plan.op, left, right) {
            Ok(outcome) => outcome,
            Err(note) => {
                self.note(note, plan.span);
                return None;
            }
        };
        if plan.is_bool {
            return Some(Made::Float(f64::from(u8::from(outcome.holds))));
        }
        if !outcome.holds {
            return None;
        }
        // A comparison keeps the vector's value, on whichever side it stands.
        Some(match point {
            Point::Float(value) if plan.op.is_comparison() => Made::Float(value),
            Point::Histogram(histogram) if plan.op.is_comparison() => Made::Histogram(Arc::clone(histogram)),
            _ => outcome.made,
        })
    }

    pub(super) fn vector_vector(
        &self,
        plan: &VectorVectorPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let left = self.collect(&plan.left, grid)?;
        let right = self.collect(&plan.right, grid)?;
        // The "many" side first, the "one" side second.
        let is_swapped = plan.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if is_swapped { (&right.series, &left.series) } else { (&left.series, &right.series) };
        let mut join = Join::new(self, plan, many, one, is_swapped);
        for index in 0..grid.steps {
            if index % 64 == 0 {
                self.check_alive()?;
            }
            join.step(grid, index)?;
            // Of several in one step only the last is told, as upstream has it.
            if let Some(note) = join.last_note.take() {
                self.note(note, plan.span);
            }
        }
        let mut memory = self.budget.reservation();
        memory.grow(join.merger.byte_len())?;
        join.merger.into_series().into_iter().try_for_each(sink)
    }
}

/// The labels by which series of both sides find each other.
pub(super) fn signature(labels: &Labels, matching: &Matching) -> Labels {
    let is_listed = |name: &str| matching.labels.iter().any(|label| **label == *name);
    if matching.is_on {
        labels.filter(is_listed)
    } else {
        labels.filter(|name| name != datamodel::METRIC_NAME && !is_listed(name))
    }
}

/// The labels of a match group as errors and filled-in series show them.
fn match_labels(labels: &Labels, matching: &Matching) -> Labels {
    let is_listed = |name: &str| matching.labels.iter().any(|label| **label == *name);
    if matching.is_on {
        labels.filter(is_listed)
    } else {
        labels.filter(|name| name != datamodel::METRIC_NAME && !is_listed(name))
    }
}

/// Numbers for signatures, the same on both sides.
#[derive(Debug, Default)]
pub(super) struct Signatures(HashMap<Labels, usize>);

impl Signatures {
    pub(super) fn number(&mut self, series: &[EvalSeries], matching: &Matching) -> Vec<usize> {
        let mut numbers = Vec::with_capacity(series.len());
        for series in series {
            let next = self.0.len();
            numbers.push(*self.0.entry(signature(&series.labels, matching)).or_insert(next));
        }
        numbers
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One operand of a match: a series, or a value that fills its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Operand {
    Series(usize),
    Fill,
}

struct Join<'a> {
    evaluator: &'a Evaluator<'a>,
    plan: &'a VectorVectorPlan,
    many: &'a [EvalSeries],
    one: &'a [EvalSeries],
    is_swapped: bool,
    many_numbers: Vec<usize>,
    one_numbers: Vec<usize>,
    /// For each signature the series of the "one" side that has a sample at this step.
    one_by_number: Vec<Option<usize>>,
    matched: HashSet<usize>,
    results: HashMap<(Operand, Operand), Labels>,
    merger: Merger,
    last_note: Option<Note>,
}

impl<'a> Join<'a> {
    fn new(
        evaluator: &'a Evaluator<'a>,
        plan: &'a VectorVectorPlan,
        many: &'a [EvalSeries],
        one: &'a [EvalSeries],
        is_swapped: bool,
    ) -> Self {
        let mut signatures = Signatures::default();
        let many_numbers = signatures.number(many, &plan.matching);
        let one_numbers = signatures.number(one, &plan.matching);
        Self {
            evaluator,
            plan,
            many,
            one,
            is_swapped,
            many_numbers,
            one_numbers,
            one_by_number: vec![None; signatures.len()],
            matched: HashSet::new(),
            results: HashMap::new(),
            merger: Merger::default(),
            last_note: None,
        }
    }

    /// What stands in for a missing series of the "one" and of the "many" side. Upstream fills the right
    /// side of the swapped pair with the right value; so does this.
    const fn fills(&self) -> (Option<f64>, Option<f64>) {
        (self.plan.matching.fill_right, self.plan.matching.fill_left)
    }

    fn step(&mut self, grid: Grid, index: usize) -> Result<(), EvalError> {
        let present = |series: &[EvalSeries]| series.iter().any(|series| series.column.is_present(index));
        let (one_fill, many_fill) = self.fills();
        let (has_many, has_one) = (present(self.many), present(self.one));
        let has_fill = one_fill.is_some() || many_fill.is_some();
        if !(has_many && has_one) && !(has_fill && (has_many || has_one)) {
            return Ok(());
        }
        self.index_one_side(index)?;
        self.matched.clear();
        let mut inserted: HashSet<(usize, Labels)> = HashSet::new();
        let (many, one) = (self.many, self.one);
        for (place, series) in many.iter().enumerate() {
            let Some(point) = series.column.get(index) else { continue };
            let number = self.many_numbers.get(place).copied().unwrap_or_default();
            let partner = self.one_by_number.get(number).copied().flatten();
            let (operand, other) = match (partner.and_then(|at| one.get(at)), one_fill) {
                (Some(series), _) => match series.column.get(index) {
                    Some(point) => (Operand::Series(partner.unwrap_or_default()), point),
                    None => continue,
                },
                (None, Some(fill)) => (Operand::Fill, Point::Float(fill)),
                (None, None) => continue,
            };
            self.pair(grid, index, number, (Operand::Series(place), point), (operand, other), &mut inserted)?;
        }
        let Some(fill) = many_fill else { return Ok(()) };
        for (place, series) in one.iter().enumerate() {
            let Some(point) = series.column.get(index) else { continue };
            let number = self.one_numbers.get(place).copied().unwrap_or_default();
            if self.matched.contains(&number) {
                continue;
            }
            let filled = (Operand::Fill, Point::Float(fill));
            self.pair(grid, index, number, filled, (Operand::Series(place), point), &mut inserted)?;
        }
        Ok(())
    }

    fn index_one_side(&mut self, index: usize) -> Result<(), EvalError> {
        self.one_by_number.fill(None);
        for (place, series) in self.one.iter().enumerate() {
            if !series.column.is_present(index) {
                continue;
            }
            let number = self.one_numbers.get(place).copied().unwrap_or_default();
            let Some(slot) = self.one_by_number.get_mut(number) else { continue };
            if let Some(other) = slot.and_then(|other| self.one.get(other)) {
                return Err(self.many_to_many(&series.labels, &other.labels));
            }
            *slot = Some(place);
        }
        Ok(())
    }

    fn many_to_many(&self, new: &Labels, old: &Labels) -> EvalError {
        let (a, b) = (labels_text(new), labels_text(old));
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        EvalError::ManyToMany {
            group: labels_text(&match_labels(new, &self.plan.matching)),
            side: if self.is_swapped { "left" } else { "right" },
            first,
            second,
        }
    }

    /// Applies the operation to one pair: many side first.
    fn pair(
        &mut self,
        grid: Grid,
        index: usize,
        number: usize,
        many: (Operand, Point<'_>),
        one: (Operand, Point<'_>),
        inserted: &mut HashSet<(usize, Labels)>,
    ) -> Result<(), EvalError> {
        let plan = self.plan;
        let (left, right) = if self.is_swapped { (one.1, many.1) } else { (many.1, one.1) };
        let outcome = match sample_binary(plan.op, left, right) {
            Ok(outcome) => outcome,
            Err(note) => {
                self.last_note = Some(note);
                return Ok(());
            }
        };
        if let Some(note) = outcome.note {
            self.last_note = Some(note);
        }
        let made = if plan.is_bool { Made::Float(f64::from(u8::from(outcome.holds))) } else { outcome.made };
        let labels = self.result_labels(many.0, one.0);
        if plan.matching.cardinality == Cardinality::OneToOne {
            if !self.matched.insert(number) {
                return Err(EvalError::ImplicitManyToOne);
            }
        } else {
            self.matched.insert(number);
            if !inserted.insert((number, labels.clone())) {
                return Err(EvalError::AmbiguousGrouping);
            }
        }
        if !outcome.holds && !plan.is_bool {
            return Ok(());
        }
        let newest = self.newest(self.many, many.0).max(self.newest(self.one, one.0));
        let drop_name = plan.is_bool && self.evaluator.features.delayed_name_removal;
        let key = PointKey { labels: &labels, drop_name, steps: grid.steps, index, newest };
        self.merger.add_point(&key, made)
    }

    #[expect(clippy::unused_self, reason = "reads better beside the other operand's")]
    fn newest(&self, side: &[EvalSeries], operand: Operand) -> i64 {
        match operand {
            Operand::Series(at) => side.get(at).map_or(NO_INPUT, |series| series.newest),
            Operand::Fill => NO_INPUT,
        }
    }

    fn operand_labels(&self, side: &[EvalSeries], operand: Operand, other: Option<&Labels>) -> Labels {
        match operand {
            Operand::Series(at) => side.get(at).map_or_else(Labels::empty, |series| series.labels.clone()),
            Operand::Fill => other.map_or_else(Labels::empty, |other| match_labels(other, &self.plan.matching)),
        }
    }

    fn result_labels(&mut self, many: Operand, one: Operand) -> Labels {
        if let Some(labels) = self.results.get(&(many, one)) {
            return labels.clone();
        }
        let of_series = |side: &[EvalSeries], operand: Operand| match operand {
            Operand::Series(at) => side.get(at).map(|series| series.labels.clone()),
            Operand::Fill => None,
        };
        let (many_series, one_series) = (of_series(self.many, many), of_series(self.one, one));
        let many_labels = self.operand_labels(self.many, many, one_series.as_ref());
        let one_labels = self.operand_labels(self.one, one, many_series.as_ref());
        let labels = self.combine_labels(&many_labels, &one_labels);
        self.results.insert((many, one), labels.clone());
        labels
    }

    fn combine_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let plan = self.plan;
        let matching = &plan.matching;
        let mut builder = LabelsBuilder::new(many);
        let drops_now = plan.is_bool && !self.evaluator.features.delayed_name_removal;
        if plan.op.changes_meaning() || drops_now {
            METADATA_LABELS.iter().for_each(|name| {
                builder.remove(name);
            });
        }
        if matching.cardinality == Cardinality::OneToOne {
            let is_listed = |name: &str| matching.labels.iter().any(|label| **label == *name);
            builder.retain(|name, _| is_listed(name) == matching.is_on);
        }
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or_default());
        }
        builder.build()
    }
}

/// Labels as upstream's errors print them: `{__name__="a", b="c"}`.
fn labels_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = datamodel::labels::Quoted(value);
            if datamodel::labels::is_legacy_label_name(name) {
                format!("{name}={value}")
            } else {
                format!("{}={value}", datamodel::labels::Quoted(name))
            }
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
