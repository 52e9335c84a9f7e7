//! `/api/v1/format_query`, `/api/v1/parse_query`, `/api/v1/query_exemplars`.
//!
//! Rule: nothing is evaluated; the parser of queries answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use datamodel::Matcher;
use datamodel::float::write_api;
use promql::Expr;
use serde_json::{Value, json as value};
use storage::{Exemplar, SeriesExemplars};

use super::answer::{number, object, success};
use super::{Shared, tree};
use crate::error::ApiError;
use crate::params::Params;

fn parse(shared: &Shared, params: &Params) -> Result<Expr, ApiError> {
    shared.parts.engine.parse(params.get("query")).map_err(|error| ApiError::parameter("query", error))
}

pub(super) async fn format(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    Ok(success(&promql::pretty(&parse(&shared, &params)?).into()))
}

pub(super) async fn syntax_tree(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    Ok(success(&tree::tree(&parse(&shared, &params)?)))
}

pub(super) async fn exemplars(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let range = params.range()?;
    if range.end < range.start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = shared.parts.engine.parse(params.get("query")).map_err(|error| ApiError::bad_data(error.to_string()))?;
    let selectors: Vec<Vec<Matcher>> = expr.selectors().map(|selector| selector.matchers.clone()).collect();
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Some(exemplars) = shared.parts.exemplars.clone() else { return Ok(success(&value!([]))) };
    let work = move || exemplars.exemplars(range, &selectors);
    let found = shared.gate.run(shared.parts.engine.options().timeout, Arc::default(), work).await?;
    let found = found.map_err(|error| ApiError::storage(&error))?;
    Ok(success(&found.iter().map(series_value).collect::<Vec<_>>().into()))
}

fn series_value(found: &SeriesExemplars) -> Value {
    let one = |exemplar: &Exemplar| {
        let mut text = String::new();
        write_api(&mut text, exemplar.value);
        value!({
            "labels": object(&exemplar.labels),
            "value": text,
            "timestamp": number(exemplar.at.unix_seconds()),
        })
    };
    let exemplars: Vec<Value> = found.exemplars.iter().map(one).collect();
    value!({"seriesLabels": object(&found.series), "exemplars": exemplars})
}
