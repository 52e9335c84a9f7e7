//! Nodes and data to text.
//!
//! Rule: steps and bytes are counted before they are spent.

use std::cmp::Ordering;

use super::parse::{Command, Function, Node, Operand, Pipeline};
use super::{MAX_OUTPUT_BYTES, MAX_STEPS, TemplateError, Value};

pub(super) fn execute(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut run = Run { output: String::new(), steps: 0, variables: vec![(String::new(), data.clone())] };
    run.nodes(nodes, data)?;
    Ok(run.output)
}

struct Run {
    output: String,
    steps: usize,
    /// Innermost last.
    variables: Vec<(String, Value)>,
}

fn failed(reason: impl Into<String>) -> TemplateError {
    TemplateError::Execute(reason.into())
}

impl Run {
    fn step(&mut self) -> Result<(), TemplateError> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(TemplateError::Limit("steps")) } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.output.len() + text.len() > MAX_OUTPUT_BYTES {
            return Err(TemplateError::Limit("bytes of output"));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        for node in nodes {
            self.step()?;
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.declare.is_empty() {
                        self.write(&print(&value))?;
                    }
                }
                Node::If { pipeline, is_with, then, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipeline(pipeline, dot)?;
                    let inner = if *is_with { &value } else { dot };
                    if truth(&value) {
                        self.nodes(then, inner)?;
                    } else {
                        self.nodes(otherwise, dot)?;
                    }
                    self.variables.truncate(scope);
                }
                Node::Range { pipeline, body, otherwise } => {
                    let scope = self.variables.len();
                    self.range(pipeline, body, otherwise, dot)?;
                    self.variables.truncate(scope);
                }
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let elements: Vec<(Value, Value)> = match self.commands(&pipeline.commands, dot)? {
            Value::List(list) => {
                let numbered = list.iter().zip(0_i64..);
                numbered.map(|(element, index)| (Value::Int(index), Value::Text(element.clone()))).collect()
            }
            Value::Map(map) => {
                map.iter().map(|(name, value)| (Value::Text(name.clone()), Value::Text(value.clone()))).collect()
            }
            Value::Nil => Vec::new(),
            other => return Err(failed(format!("range can't iterate over {}", print(&other)))),
        };
        if elements.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let scope = self.variables.len();
        for (key, element) in elements {
            self.step()?;
            match pipeline.declare.as_slice() {
                [value] => self.variables.push((value.clone(), element.clone())),
                [index, value] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((value.clone(), element.clone()));
                }
                _ => {}
            }
            self.nodes(body, &element)?;
            self.variables.truncate(scope);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.commands(&pipeline.commands, dot)?;
        if let Some(name) = pipeline.declare.first() {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match known {
                Some((_, slot)) if pipeline.assign => *slot = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, commands: &[Command], dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for command in commands {
            self.step()?;
            let value = match command {
                Command::Operand(operand) => self.operand(operand, dot)?,
                Command::Call(function, operands) => {
                    let mut arguments = Vec::with_capacity(operands.len() + 1);
                    for operand in operands {
                        arguments.push(self.operand(operand, dot)?);
                    }
                    arguments.extend(piped.take());
                    call(*function, arguments)?
                }
            };
            piped = Some(value);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Dot(names) => fields(dot, names),
            Operand::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| failed(format!("undefined variable ${name}")))?;
                fields(value, names)
            }
            Operand::Text(text) => Ok(Value::Text(text.clone())),
            Operand::Int(number) => Ok(Value::Int(*number)),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Nil => Ok(Value::Nil),
            Operand::Nested(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                fields(&value, names)
            }
        }
    }
}

fn fields(value: &Value, names: &[String]) -> Result<Value, TemplateError> {
    let Some((name, names)) = names.split_first() else {
        return Ok(value.clone());
    };
    match value {
        Value::Record(record) => {
            let known = record.get(name.as_str());
            fields(known.ok_or_else(|| failed(format!("can't evaluate field {name}: there is none")))?, names)
        }
        Value::Map(map) => fields(&map.get(name).cloned().map_or(Value::Nil, Value::Text), names),
        other => Err(failed(format!("can't evaluate field {name} of {}", print(other)))),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Nil => false,
        Value::Bool(value) => *value,
        Value::Int(number) => *number != 0,
        Value::Text(text) => !text.is_empty(),
        Value::List(list) => !list.is_empty(),
        Value::Map(map) => !map.is_empty(),
        Value::Record(_) => true,
    }
}

/// As Go's `fmt.Print` writes it.
fn print(value: &Value) -> String {
    match value {
        Value::Nil => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(list) => format!("[{}]", list.join(" ")),
        Value::Map(map) => {
            let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Record(record) => {
            let values: Vec<String> = record.values().map(print).collect();
            format!("{{{}}}", values.join(" "))
        }
    }
}

fn call(function: Function, arguments: Vec<Value>) -> Result<Value, TemplateError> {
    match function {
        Function::Print => Ok(Value::Text(joined(&arguments, false))),
        Function::Println => Ok(Value::Text(joined(&arguments, true) + "\n")),
        Function::Printf => printf(&arguments),
        Function::And => Ok(pick(arguments, false)),
        Function::Or => Ok(pick(arguments, true)),
        Function::Not => match arguments.as_slice() {
            [value] => Ok(Value::Bool(!truth(value))),
            _ => Err(wrong_arguments(function)),
        },
        Function::Len => match arguments.as_slice() {
            [Value::Text(text)] => Ok(length(text.len())),
            [Value::List(list)] => Ok(length(list.len())),
            [Value::Map(map)] => Ok(length(map.len())),
            _ => Err(wrong_arguments(function)),
        },
        Function::Index => index(arguments),
        Function::Join => match arguments.as_slice() {
            [Value::List(list), Value::Text(separator)] => Ok(Value::Text(list.join(separator))),
            [Value::Text(separator), Value::List(list)] => Ok(Value::Text(list.join(separator))),
            _ => Err(wrong_arguments(function)),
        },
        Function::Eq => match arguments.split_first() {
            Some((first, others)) if !others.is_empty() => Ok(Value::Bool(others.contains(first))),
            _ => Err(wrong_arguments(function)),
        },
        Function::Ne => match arguments.as_slice() {
            [a, b] => Ok(Value::Bool(a != b)),
            _ => Err(wrong_arguments(function)),
        },
        Function::Lt => compare(function, &arguments, Ordering::is_lt),
        Function::Le => compare(function, &arguments, Ordering::is_le),
        Function::Gt => compare(function, &arguments, Ordering::is_gt),
        Function::Ge => compare(function, &arguments, Ordering::is_ge),
    }
}

fn wrong_arguments(function: Function) -> TemplateError {
    failed(format!("wrong arguments for {}", function.name()))
}

fn length(len: usize) -> Value {
    Value::Int(i64::try_from(len).unwrap_or(i64::MAX))
}

/// The first value whose truth is `wanted`, else the last one.
fn pick(arguments: Vec<Value>, wanted: bool) -> Value {
    let mut last = Value::Nil;
    for argument in arguments {
        if truth(&argument) == wanted {
            return argument;
        }
        last = argument;
    }
    last
}

fn compare(function: Function, arguments: &[Value], holds: fn(Ordering) -> bool) -> Result<Value, TemplateError> {
    let ordering = match arguments {
        [Value::Int(a), Value::Int(b)] => a.cmp(b),
        [Value::Text(a), Value::Text(b)] => a.cmp(b),
        _ => return Err(wrong_arguments(function)),
    };
    Ok(Value::Bool(holds(ordering)))
}

fn index(arguments: Vec<Value>) -> Result<Value, TemplateError> {
    let mut arguments = arguments.into_iter();
    let mut value = arguments.next().ok_or_else(|| wrong_arguments(Function::Index))?;
    for key in arguments {
        value = match (value, key) {
            // A map of texts has the empty text for every other name.
            (Value::Map(map), Value::Text(name)) => Value::Text(map.get(&name).cloned().unwrap_or_default()),
            (Value::List(list), Value::Int(at)) => {
                let element = usize::try_from(at).ok().and_then(|at| list.get(at).cloned());
                Value::Text(element.ok_or_else(|| failed(format!("index out of range: {at}")))?)
            }
            _ => return Err(wrong_arguments(Function::Index)),
        };
    }
    Ok(value)
}

/// As Go's `fmt.Sprint`: a space between two operands when neither is a text; with `always`, everywhere.
fn joined(values: &[Value], always: bool) -> String {
    let mut text = String::new();
    let mut previous: Option<&Value> = None;
    for value in values {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if previous.is_some_and(|previous| always || (!is_text(previous) && !is_text(value))) {
            text.push(' ');
        }
        text.push_str(&print(value));
        previous = Some(value);
    }
    text
}

/// The verbs `%s`, `%v`, `%d`, `%q` and `%%`, without flags.
fn printf(arguments: &[Value]) -> Result<Value, TemplateError> {
    let Some((Value::Text(format), values)) = arguments.split_first() else {
        return Err(wrong_arguments(Function::Printf));
    };
    let mut values = values.iter();
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let verb = chars.next();
        if verb == Some('%') {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| failed("printf has fewer arguments than verbs"))?;
        match (verb, value) {
            (Some('s' | 'v'), value) => text.push_str(&print(value)),
            (Some('d'), Value::Int(number)) => text.push_str(&number.to_string()),
            (Some('q'), Value::Text(value)) => text.push_str(&datamodel::labels::Quoted(value).to_string()),
            (Some(verb), _) => return Err(failed(format!("printf cannot print this value with `%{verb}`"))),
            (None, _) => return Err(failed("printf format ends in `%`")),
        }
    }
    if values.next().is_some() {
        return Err(failed("printf has more arguments than verbs"));
    }
    Ok(Value::Text(text))
}
