//! Who reads recorded series beside the rules.
//!
//! Rule: a text of a document that is PromQL is taken as a query; any other text reads the names it contains.

use promql::Expr;
use yaml::{Kind, Node};

use super::group::reads;

/// A document of which every text may be a query: a dashboard, mapping rules, a manifest.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    queries: Vec<Expr>,
    texts: Vec<String>,
}

impl Reader {
    /// Reads a document, YAML or JSON; several of them in one file.
    ///
    /// # Errors
    ///
    /// The text is neither.
    pub fn parse(file: &str, text: &str) -> Result<Self, yaml::Errors> {
        let mut reader = Self::default();
        for document in yaml::parse_all(file, text)? {
            reader.collect(document.root());
        }
        Ok(reader)
    }

    fn collect(&mut self, node: &Node) {
        match &node.kind {
            Kind::Scalar(scalar) => match promql::parse(&scalar.text) {
                Ok(query) => self.queries.push(query),
                Err(_) => self.texts.push(scalar.text.to_string()),
            },
            Kind::Sequence(items) => items.iter().for_each(|item| self.collect(item)),
            Kind::Mapping(entries) => entries.iter().for_each(|entry| self.collect(&entry.value)),
        }
    }

    /// Whether the document reads series of this name.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.queries.iter().any(|query| reads(query, name)) || self.texts.iter().any(|text| contains_name(text, name))
    }
}

/// Whether a text contains a name as a whole.
fn contains_name(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.match_indices(name).any(|(at, found)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let behind = text.get(at + found.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })
}
