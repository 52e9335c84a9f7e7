//! `/api/v1/query` and `/api/v1/query_range`.
//!
//! Rule: parameters are checked in upstream's order, before the query waits for its turn.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::Timestamp;
use promql::{Engine, EvalError, Expr, QueryContext, QueryResult};
use storage::Queryable;

use super::Shared;
use super::answer::json_text;
use crate::error::ApiError;
use crate::json::{QueryTimings, Writer, truncate, warnings};
use crate::params::Params;

/// The most points of one series in an answer, as upstream.
const MAX_POINTS: i64 = 11_000;

pub(super) async fn instant(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let limit = params.limit()?;
    let at = params.time_or("time", shared.parts.clock.now())?;
    let query = Query::new(&shared, &params)?;
    let run = move |queryable: &dyn Queryable, engine: &Engine, expr: &Expr, text: &str, context: &QueryContext| {
        engine.instant(queryable, (expr, text), at, context)
    };
    query.answer(&shared, limit, run).await
}

pub(super) async fn range(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration_ms("step").map_err(|problem| ApiError::parameter("step", problem))?;
    if step_ms <= 0 {
        let problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", problem));
    }
    if end.unix_ms().saturating_sub(start.unix_ms()) / step_ms > MAX_POINTS {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let step = Duration::from_millis(step_ms.unsigned_abs());
    let query = Query::new(&shared, &params)?;
    let run = move |queryable: &dyn Queryable, engine: &Engine, expr: &Expr, text: &str, context: &QueryContext| {
        engine.range(queryable, (expr, text), start, end, step, context)
    };
    query.answer(&shared, limit, run).await
}

/// An expression with its deadline.
struct Query {
    text: String,
    expr: Expr,
    context: QueryContext,
    patience: Duration,
    /// Whether the answer says what it took.
    with_stats: bool,
}

impl Query {
    fn new(shared: &Shared, params: &Params) -> Result<Self, ApiError> {
        let engine = &shared.parts.engine;
        let mut patience = engine.options().timeout;
        if !params.get("timeout").is_empty() {
            let ms = params.duration_ms("timeout").map_err(|problem| ApiError::parameter("timeout", problem))?;
            // Negative: the deadline has passed already.
            patience = patience.min(Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        }
        let mut lookback_delta = None;
        if !params.get("lookback_delta").is_empty() {
            let wrong = |problem| ApiError::bad_data(format!("error parsing lookback delta duration: {problem}"));
            let ms = params.duration_ms("lookback_delta").map_err(wrong)?;
            // As upstream, zero and less mean the engine's.
            lookback_delta = u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        }
        let text = params.get("query").to_owned();
        let expr = engine.parse(&text).map_err(|error| ApiError::parameter("query", error))?;
        let deadline: Option<Timestamp> = Some(shared.parts.clock.now().saturating_add(patience));
        let context = QueryContext { deadline, lookback_delta, ..QueryContext::default() };
        let with_stats = !params.get("stats").is_empty();
        Ok(Self { text, expr, context, patience, with_stats })
    }

    async fn answer(
        self,
        shared: &Arc<Shared>,
        limit: Option<usize>,
        run: impl FnOnce(&dyn Queryable, &Engine, &Expr, &str, &QueryContext) -> Result<QueryResult, EvalError>
        + Send
        + 'static,
    ) -> Result<Response, ApiError> {
        if self.patience.is_zero() {
            return Err(EvalError::TimedOut.into());
        }
        let cancel: Arc<AtomicBool> = Arc::clone(&self.context.cancel);
        let patience = self.patience;
        let asked = shared.parts.clock.now();
        let owner = Arc::clone(shared);
        let work = move || -> Result<String, ApiError> {
            let parts = &owner.parts;
            let began = parts.clock.now();
            let queued = began.since(asked);
            owner.metrics.query_waited(queued);
            let result = run(&*parts.queryable, &parts.engine, &self.expr, &self.text, &self.context);
            let evaluated = parts.clock.now().since(began);
            owner.metrics.query_ran(evaluated);
            let timings = self.with_stats.then_some(QueryTimings { queued, evaluated });
            let QueryResult { mut value, annotations } = result?;
            let truncated = limit.is_some_and(|limit| truncate(&mut value, limit));
            let warnings = warnings(&annotations, truncated);
            Ok(Writer::success(|writer| writer.query_data(&value, timings), &warnings, &annotations.infos))
        };
        shared.gate.run(patience, cancel, work).await?.map(json_text)
    }
}
