//! YAML text to checked values: strict, with positions, all errors at once.
//!
//! - [`parse`], [`parse_all`]: text to [`Document`]s of [`Node`]s, each with line and column.
//! - [`decode`]: text to a value in one step, by a decoder: any
//!   `FnMut(&Node, &mut Report) -> Option<T>`. The ready-made ones are in [`decoders`].
//! - [`mapping`]: the decoder of a struct; it takes a [`Fields`] view, which refuses unknown keys.
//! - [`relabel_configs`], [`parse_size`]: what many sections of Prometheus' configuration have.
//! - [`Errors`]: everything that is wrong, one line each: `FILE:LINE:COL: path: message`.
//!
//! ```
//! use yaml::decoders::{duration, list, string};
//!
//! struct Job { name: String, interval: Option<std::time::Duration>, targets: Vec<String> }
//!
//! fn job(node: &yaml::Node, report: &mut yaml::Report) -> Option<Job> {
//!     yaml::mapping(node, report, |fields| {
//!         let name = fields.required("name", string);
//!         let interval = fields.optional("interval", duration);
//!         let targets = fields.optional("targets", list(string));
//!         Some(Job { name: name?, interval, targets: targets.unwrap_or_default() })
//!     })
//! }
//!
//! let errors = yaml::decode("job.yml", "nmae: a\ninterval: 5", job).err().unwrap();
//! assert_eq!(errors.to_string(), "\
//! job.yml:1:1: name: required key is missing
//! job.yml:1:1: nmae: unknown key (did you mean `name`?)
//! job.yml:2:11: interval: not a valid duration: `5` (expected something like `15s` or `1h30m`)");
//! ```
//!
//! The language is YAML 1.2 (so JSON too) with what Go's yaml takes beside it and users rely on: merge
//! keys (`<<`), and `yes`, `no`, `on`, `off` where a boolean is asked for.
//!
//! Rule: a decoder binds *all* its fields before it gives up, so that one run reports every error.
#![forbid(unsafe_code)]

pub mod decoders;
mod error;
mod fields;
mod node;
mod parser;
mod relabel;
mod report;
mod size;
mod suggest;

pub use error::{Error, Errors};
pub use fields::{Fields, mapping};
pub use node::{Entry, Key, Kind, Node, Position, Scalar, Style};
pub use parser::{Document, MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use relabel::{relabel_config, relabel_configs};
pub use report::{KnownKey, Report};
pub use size::{SizeError, parse_size};
pub use suggest::nearest;

/// Parses a text that holds one document. A text without a document is a null scalar.
///
/// # Errors
///
/// The syntax, a limit ([`MAX_BYTES`], [`MAX_DEPTH`], [`MAX_NODES`]), a second document, or all duplicate
/// keys, keys that are not scalars, and unknown tags.
pub fn parse(source_name: &str, text: &str) -> Result<Document, Errors> {
    let (document, errors) = parser::single(source_name, text)?;
    if errors.is_empty() { Ok(document) } else { Err(Errors::new(source_name, errors)) }
}

/// Parses a text that may hold several documents; those without content are left out.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_all(source_name: &str, text: &str) -> Result<Vec<Document>, Errors> {
    let (documents, errors) = parser::several(source_name, text)?;
    if errors.is_empty() { Ok(documents) } else { Err(Errors::new(source_name, errors)) }
}

/// The keys that a decoder asks for on its way through a text, right or wrong, with what is wrong.
///
/// For references of what can be configured: the more keys the text has, the deeper the decoder goes.
pub fn known_keys<T>(
    source_name: &str,
    text: &str,
    decoder: impl FnOnce(&Node, &mut Report) -> Option<T>,
) -> (Vec<KnownKey>, Option<Errors>) {
    match parser::single(source_name, text) {
        Ok((document, errors)) => report::run_noting_keys(&document, errors, decoder),
        Err(errors) => (Vec::new(), Some(errors)),
    }
}

/// Parses a text that holds one document and decodes it.
///
/// # Errors
///
/// As [`parse`], together with everything that the decoder reports.
pub fn decode<T>(
    source_name: &str,
    text: &str,
    decoder: impl FnOnce(&Node, &mut Report) -> Option<T>,
) -> Result<T, Errors> {
    let (document, errors) = parser::single(source_name, text)?;
    report::run(&document, errors, decoder)
}

#[cfg(test)]
mod tests;
