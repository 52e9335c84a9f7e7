//! Nodes and data to text.
//!
//! Rule: every node and every output byte is counted; an expansion ends.

use std::cell::Cell;

use super::format::print;
use super::functions;
use super::parser::{Binding, Command, Node, Operand, OperandKind, Pipeline};
use super::value::{TemplateSample, Value};
use super::{Context, Data, Located, MAX_OUTPUT_BYTES, MAX_QUERIES, MAX_STEPS};

/// What an expansion may ask for.
pub(super) struct Runtime<'a> {
    pub(super) data: &'a Data<'a>,
    context: &'a dyn Context,
    queries: Cell<usize>,
}

impl Runtime<'_> {
    pub(super) fn query(&self, expression: &str) -> Result<Vec<TemplateSample>, String> {
        if self.queries.get() >= MAX_QUERIES {
            return Err(format!("query: more than {MAX_QUERIES} queries"));
        }
        self.queries.set(self.queries.get() + 1);
        self.context.query(expression).map_err(|error| format!("query: {error}"))
    }
}

/// Expands nodes.
pub(super) fn run(nodes: &[Node], data: &Data<'_>, context: &dyn Context) -> Result<String, Located> {
    let variables = vec![
        ("", Value::Data),
        ("labels", Value::Map(data.labels.clone())),
        ("externalLabels", Value::Map(data.external_labels.clone())),
        ("externalURL", Value::from(data.external_url)),
        ("value", Value::Float(data.value)),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let runtime = Runtime { data, context, queries: Cell::new(0) };
    let mut exec = Exec { runtime, variables, output: String::new(), steps: 0 };
    exec.nodes(nodes, &Value::Data)?;
    Ok(exec.output)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Exec<'a> {
    runtime: Runtime<'a>,
    variables: Vec<(String, Value)>,
    output: String,
    steps: usize,
}

impl Exec<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Located> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Located> {
        match node {
            Node::Text(text) => {
                self.step(0)?;
                self.write(text, 0)?;
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.binding.is_none() {
                    let text = print(&value).map_err(|error| (pipeline.at, error))?;
                    self.write(&text, pipeline.at)?;
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Branch { pipeline, sets_dot, then, otherwise } => {
                let known = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = match (value.is_true(), sets_dot) {
                    (true, true) => self.nodes(then, &value),
                    (true, false) => self.nodes(then, dot),
                    (false, _) => self.nodes(otherwise, dot),
                };
                self.variables.truncate(known);
                return flow;
            }
            Node::Range { pipeline, body, otherwise } => {
                let known = self.variables.len();
                let flow = self.range(pipeline, body, otherwise, dot);
                self.variables.truncate(known);
                return flow;
            }
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, Located> {
        let known = self.variables.len();
        let value = self.pipeline(pipeline, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Nil => Vec::new(),
            Value::Samples(samples) => {
                let index = |index: usize| Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                samples.into_iter().enumerate().map(|(at, sample)| (index(at), Value::Sample(sample))).collect()
            }
            Value::Map(labels) => labels.iter().map(|(name, value)| (Value::from(name), Value::from(value))).collect(),
            other => return Err((pipeline.at, format!("range: cannot range over {}", other.type_name()))),
        };
        if items.is_empty() {
            self.variables.truncate(known);
            return self.nodes(otherwise, dot);
        }
        for (key, value) in items {
            self.variables.truncate(known);
            match &pipeline.binding {
                Some(Binding::Declare(names)) => match names.as_slice() {
                    [index, item] => {
                        self.variables.push((index.clone(), key));
                        self.variables.push((item.clone(), value.clone()));
                    }
                    [item] => self.variables.push((item.clone(), value.clone())),
                    _ => {}
                },
                Some(Binding::Assign(name)) => self.assign(name, value.clone()),
                None => {}
            }
            if self.nodes(body, &value)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn step(&mut self, at: usize) -> Result<(), Located> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err((at, format!("more than {MAX_STEPS} steps"))) } else { Ok(()) }
    }

    fn write(&mut self, text: &str, at: usize) -> Result<(), Located> {
        if self.output.len() + text.len() > MAX_OUTPUT_BYTES {
            return Err((at, format!("output exceeds {MAX_OUTPUT_BYTES} bytes")));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Located> {
        let mut last: Option<Value> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last.take(), dot)?);
        }
        let value = last.unwrap_or(Value::Nil);
        match &pipeline.binding {
            // A range declares its variables anew for each item.
            Some(Binding::Declare(names)) => {
                if let [name] = names.as_slice() {
                    self.variables.push((name.clone(), value.clone()));
                }
            }
            Some(Binding::Assign(name)) => self.assign(name, value.clone()),
            None => {}
        }
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value) {
        if let Some((_, present)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            *present = value;
        }
    }

    fn command(&mut self, command: &Command, last: Option<Value>, dot: &Value) -> Result<Value, Located> {
        self.step(command.at)?;
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Nil) };
        let OperandKind::Function(name) = &first.kind else { return self.operand(first, dot) };
        let value = if name == "and" || name == "or" {
            self.logic(name == "and", rest, last, dot)?.ok_or((command.at, format!("{name}: wrong arguments: none")))?
        } else {
            let mut args = Vec::with_capacity(rest.len() + 1);
            for operand in rest {
                args.push(self.operand(operand, dot)?);
            }
            args.extend(last);
            functions::call(name, &args, &self.runtime).map_err(|error| (command.at, error))?
        };
        if matches!(&value, Value::Text(text) if text.len() > MAX_OUTPUT_BYTES) {
            return Err((command.at, format!("{name}: output exceeds {MAX_OUTPUT_BYTES} bytes")));
        }
        self.fields(first, value)
    }

    /// `and` gives the first false argument, `or` the first true one, else the last; the rest is not
    /// evaluated.
    fn logic(
        &mut self,
        is_and: bool,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Option<Value>, Located> {
        let mut value = None;
        for operand in operands {
            let found = self.operand(operand, dot)?;
            if found.is_true() != is_and {
                return Ok(Some(found));
            }
            value = Some(found);
        }
        Ok(last.or(value))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Located> {
        let value = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).ok_or((operand.at, format!("undefined variable `${name}`")))?
            }
            OperandKind::Function(name) => {
                self.step(operand.at)?;
                functions::call(name, &[], &self.runtime).map_err(|error| (operand.at, error))?
            }
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(value) => Value::Bool(*value),
            OperandKind::Int(value) => Value::Int(*value),
            OperandKind::Float(value) => Value::Float(*value),
            OperandKind::Literal(text) => Value::from(text.as_str()),
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        };
        self.fields(operand, value)
    }

    fn fields(&self, operand: &Operand, mut value: Value) -> Result<Value, Located> {
        for name in &operand.fields {
            value = functions::field(&value, name, &self.runtime).map_err(|error| (operand.at, error))?;
        }
        Ok(value)
    }
}
