//! Events of the parser to a tree of nodes.
//!
//! - [`Document`]: one root with the name of its source.
//! - [`single`], [`several`]: the two ways in; what is wrong but leaves a tree comes beside it.
//!
//! Rule: everything that an alias expands is counted before it is copied, so that a small text cannot
//! become a large tree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::error::{Error, Errors, push_index, push_key};
use crate::node::{Entry, Key, Kind, Node, Position, Scalar, Style, excerpt};

/// Longest text that is parsed, in bytes: ten times the largest rule files that are seen in the wild.
pub const MAX_BYTES: usize = 16 << 20;
/// Deepest nesting of lists and mappings. Kubernetes' own schemas stay below 30.
pub const MAX_DEPTH: usize = 100;
/// Most nodes of a text, those that aliases expand to included: some 100 MiB of memory.
pub const MAX_NODES: usize = 1_000_000;

/// One document of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    source_name: Arc<str>,
    root: Node,
}

impl Document {
    /// The file or other origin of the text.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// The value.
    #[must_use]
    pub const fn root(&self) -> &Node {
        &self.root
    }

    /// Decodes the document.
    ///
    /// # Errors
    ///
    /// Everything that the decoder reports.
    pub fn decode<T>(&self, decoder: impl FnOnce(&Node, &mut crate::Report) -> Option<T>) -> Result<T, Errors> {
        crate::report::run(self, Vec::new(), decoder)
    }
}

pub(crate) fn single(source_name: &str, text: &str) -> Result<(Document, Vec<Error>), Errors> {
    let (roots, errors) = build(source_name, text)?;
    let mut roots = roots.into_iter();
    let root = roots.next().unwrap_or_else(|| null(Position { line: 1, column: 1 }));
    if let Some(second) = roots.next() {
        return Err(failure(source_name, second.position, "expected one document, found a second one"));
    }
    Ok((Document { source_name: Arc::from(source_name), root }, errors))
}

pub(crate) fn several(source_name: &str, text: &str) -> Result<(Vec<Document>, Vec<Error>), Errors> {
    let (roots, errors) = build(source_name, text)?;
    let source_name: Arc<str> = Arc::from(source_name);
    let documents = roots.into_iter().filter(|root| !root.is_null());
    Ok((documents.map(|root| Document { source_name: Arc::clone(&source_name), root }).collect(), errors))
}

fn build(source_name: &str, text: &str) -> Result<(Vec<Node>, Vec<Error>), Errors> {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let message = format!("text is too long: {} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(failure(source_name, start, &message));
    }
    // The bounds are ours (`MAX_DEPTH`); the parser's own lie above them.
    let options = granit_parser::options! { block_scalar_eof_without_line_feed: true };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let step = event.map_err(|error| syntax(&error)).and_then(|(event, span)| builder.take(event, span));
        if let Err(error) = step {
            // After a syntax error the rest means nothing; what was found before still does.
            builder.errors.push(error);
            return Err(Errors::new(source_name, builder.errors));
        }
    }
    Ok((builder.roots, builder.errors))
}

fn failure(source_name: &str, position: Position, message: &str) -> Errors {
    Errors::new(source_name, vec![error_at(position, message)])
}

fn error_at(position: Position, message: impl Into<String>) -> Error {
    Error { position, path: String::new(), message: message.into() }
}

fn syntax(error: &ScanError) -> Error {
    error_at(position_of(*error.marker()), format!("syntax error: {}", error.info().replace('\n', " ")))
}

fn position_of(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

fn null(position: Position) -> Node {
    Node { position, kind: Kind::Scalar(Scalar { text: Box::from(""), style: Style::Plain }) }
}

/// A list or mapping whose end has not come yet.
struct Open {
    position: Position,
    anchor: usize,
    /// Number of nodes before this one was opened.
    nodes_before: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, names: HashSet<Box<str>>, merges: Vec<Node>, pending: Option<Pending> },
}

/// A key whose value has not come yet.
enum Pending {
    Key(Key),
    Merge,
    /// It was refused; its value is read and dropped.
    Refused,
}

/// A node that aliases may name, and how many nodes it is.
struct Anchored {
    node: Node,
    nodes: usize,
}

#[derive(Default)]
struct Builder {
    roots: Vec<Node>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    /// Nodes so far, in all documents.
    nodes: usize,
    errors: Vec<Error>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Error> {
        let position = position_of(span.start);
        let tagged = span.tag_start.map_or(position, position_of);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, position)?;
                let style = self.style(style, tag.as_deref(), tagged);
                let node = Node { position, kind: Kind::Scalar(Scalar { text: Box::from(&*text), style }) };
                self.anchor(anchor, &node, 1, position)?;
                self.add(node);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", tagged);
                self.open(position, anchor, Content::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", tagged);
                let (entries, names, merges) = (Vec::new(), HashSet::new(), Vec::new());
                self.open(position, anchor, Content::Mapping { entries, names, merges, pending: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(error_at(position, "an alias inside the node that it names"));
                };
                let nodes = anchored.nodes;
                self.count(nodes, position)?;
                let node = self.anchors.get(&anchor).map(|anchored| anchored.node.clone());
                if let Some(node) = node {
                    self.add(node);
                }
            }
            Event::DocumentEnd => self.anchors.clear(),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, position: Position) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(error_at(position, format!("too many values: at most {MAX_NODES}, with aliases expanded")));
        }
        Ok(())
    }

    /// Notes a node that aliases may name. The copy counts, too.
    fn anchor(&mut self, anchor: usize, node: &Node, nodes: usize, position: Position) -> Result<(), Error> {
        if anchor > 0 {
            self.count(nodes, position)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes });
        }
        Ok(())
    }

    fn open(&mut self, position: Position, anchor: usize, content: Content) -> Result<(), Error> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(error_at(position, format!("nested too deeply: at most {MAX_DEPTH} levels")));
        }
        let nodes_before = self.nodes;
        self.count(1, position)?;
        self.stack.push(Open { position, anchor, nodes_before, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(Open { position, anchor, nodes_before, content }) = self.stack.pop() else { return Ok(()) };
        let kind = match content {
            Content::Sequence(items) => Kind::Sequence(items),
            Content::Mapping { mut entries, mut names, merges, .. } => {
                for merged in merges {
                    self.merge(merged, &mut entries, &mut names);
                }
                Kind::Mapping(entries)
            }
        };
        let node = Node { position, kind };
        self.anchor(anchor, &node, self.nodes - nodes_before, position)?;
        self.add(node);
        Ok(())
    }

    /// Adds a node to the list or mapping that is open, or as the root.
    fn add(&mut self, node: Node) {
        let position = node.position;
        let Some(open) = self.stack.last_mut() else {
            self.roots.push(node);
            return;
        };
        let refused = match &mut open.content {
            Content::Sequence(items) => {
                items.push(node);
                None
            }
            Content::Mapping { entries, names, merges, pending } => match pending.take() {
                Some(Pending::Key(key)) => {
                    entries.push(Entry { key, value: node });
                    None
                }
                Some(Pending::Merge) => {
                    merges.push(node);
                    None
                }
                Some(Pending::Refused) => None,
                None => {
                    let (key, refused) = key_of(node, names);
                    *pending = Some(key);
                    refused
                }
            },
        };
        if let Some(message) = refused {
            self.report(position, message);
        }
    }

    /// Notes something wrong that leaves the tree whole, with the path to the open list or mapping.
    fn report(&mut self, position: Position, message: String) {
        let mut path = String::new();
        for open in &self.stack {
            match &open.content {
                Content::Sequence(items) => push_index(&mut path, items.len()),
                Content::Mapping { pending: Some(Pending::Key(key)), .. } => push_key(&mut path, &key.text),
                Content::Mapping { .. } => {}
            }
        }
        self.errors.push(Error { position, path, message });
    }

    /// Entries of `<<: mapping` or `<<: [mapping, …]`; those that are already there win.
    fn merge(&mut self, merged: Node, entries: &mut Vec<Entry>, names: &mut HashSet<Box<str>>) {
        match merged.kind {
            Kind::Mapping(more) => {
                entries.extend(more.into_iter().filter(|entry| names.insert(entry.key.text.clone())));
            }
            Kind::Sequence(items) if items.iter().all(|item| item.as_mapping().is_some()) => {
                for item in items {
                    self.merge(item, entries, names);
                }
            }
            Kind::Sequence(_) | Kind::Scalar(_) => {
                let message = "merge key `<<` needs a mapping or a list of mappings".to_owned();
                self.report(merged.position, message);
            }
        }
    }

    fn style(&mut self, style: ScalarStyle, tag: Option<&Tag>, position: Position) -> Style {
        match tag.map(|tag| (tag.core_suffix(), tag)) {
            None => match style {
                ScalarStyle::Plain => Style::Plain,
                ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
            },
            Some((Some("str"), _)) => Style::Quoted,
            Some((Some("int" | "float" | "bool" | "null"), _)) => Style::Plain,
            Some((None, tag)) if tag.original() == "!" => Style::Quoted,
            Some((_, tag)) => {
                self.refuse_tag(tag, position);
                Style::Quoted
            }
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, allowed: &str, position: Position) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(allowed)
            && tag.original() != "!"
        {
            self.refuse_tag(tag, position);
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, position: Position) {
        let message = format!("tag `{}` is not supported here", excerpt(&tag.original()));
        self.report(position, message);
    }
}

fn key_of(node: Node, names: &mut HashSet<Box<str>>) -> (Pending, Option<String>) {
    let position = node.position;
    let Kind::Scalar(scalar) = node.kind else {
        return (Pending::Refused, Some("a key must be a text, not a list or mapping".to_owned()));
    };
    if scalar.style == Style::Plain && &*scalar.text == "<<" {
        return (Pending::Merge, None);
    }
    if !names.insert(scalar.text.clone()) {
        return (Pending::Refused, Some(format!("duplicate key `{}`", excerpt(&scalar.text))));
    }
    (Pending::Key(Key { position, text: scalar.text }), None)
}
