//! PromQL, with Prometheus 3.14's semantics.
//!
//! ```text
//!   text ─▶ lexer ─▶ parser ─▶ tree (ast) ─▶ plan ─▶ evaluator ─▶ answer + annotations
//!                      │          └─▶ printer
//!                      └─▶ ParseError with its place
//! ```
//!
//! - [`parse`]: text to a checked tree with places ([`ast`]); `Display` prints it canonically,
//!   [`pretty()`] over several lines.
//! - [`Engine`]: evaluates expressions over a [`storage::Queryable`].
//! - [`testing`]: the runner of `.test` scripts.
//! - [`completion`]: what may stand at a place in an expression that is being typed.
//! - [`functions`]: the table of functions; [`Features`]: upstream's feature flags.
//!
//! Rule: a library, never a task. No I/O, no threads, no state between queries; what is not supported is
//! refused by name, never answered differently.
#![forbid(unsafe_code)]

mod annotations;
pub mod ast;
pub mod completion;
mod engine;
mod error;
mod eval;
mod features;
pub mod functions;
mod lexer;
mod numbers;
mod parser;
mod plan;
mod pretty;
mod printer;
mod span;
pub mod testing;

pub use annotations::Annotations;
pub use ast::{Expr, ValueType, VectorSelector};
pub use engine::{
    DEFAULT_BUDGET_BYTES, DEFAULT_LOOKBACK, DEFAULT_SUBQUERY_STEP, DEFAULT_TIMEOUT, Engine, EngineOptions,
    InstantSample, QueryContext, QueryResult, QueryValue, RangeSeries, Source, Value,
};
pub use error::EvalError;
pub use features::Features;
pub use parser::{MAX_BYTES, MAX_DEPTH, ParseError, parse, parse_selector, parse_with};
pub use pretty::pretty;
pub use span::{Position, Span};
