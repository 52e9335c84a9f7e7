//! `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/NAME/values`.
//!
//! Rule: several selectors are a union; answers are sorted and without duplicates.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use axum::response::Response;
use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher};
use storage::{Querier, QueryError, SelectHints};

use super::Shared;
use super::answer::json_text;
use crate::error::ApiError;
use crate::json::{TRUNCATED, Writer};
use crate::params::Params;

/// The most series of one answer without a limit of its own. Memory stays below some 500 MB with label sets
/// of 500 bytes.
const MAX_SERIES: usize = 1_000_000;

pub(super) async fn series(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let (range, selectors) = (params.range()?, params.selectors()?);
    let cancel = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&cancel);
    let most = limit.unwrap_or(MAX_SERIES).min(MAX_SERIES);
    let (found, cut) = read(&shared, range, cancel, move |querier| {
        let mut found: BTreeSet<Labels> = BTreeSet::new();
        let hints = SelectHints { labels_only: true, ..SelectHints::default() };
        for matchers in &selectors {
            let mut set = querier.select(matchers, &hints)?;
            while let Some(series) = set.next() {
                if stop.load(Ordering::Relaxed) {
                    return Err(QueryError::Cancelled);
                }
                found.insert(series?.labels().clone());
                // The smallest ones are kept, so that the answer does not depend on the order of selectors.
                if found.len() > most + 1 {
                    found.pop_last();
                }
            }
        }
        let cut = found.len() > most;
        Ok((found.into_iter().take(most).collect::<Vec<Labels>>(), cut))
    })
    .await?;
    Ok(listing(cut, |writer| writer.array(&found, Writer::labels)))
}

pub(super) async fn label_names(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    names(&shared, &params, |querier, matchers, limit| querier.label_names(matchers, limit)).await
}

pub(super) async fn label_values(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let name = unescape_name(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    names(&shared, &params, move |querier, matchers, limit| querier.label_values(&name, matchers, limit)).await
}

/// Lists names or values: the union over all selectors.
async fn names(
    shared: &Arc<Shared>,
    params: &Params,
    list: impl Fn(&dyn Querier, &[Matcher], Option<usize>) -> Result<Vec<Arc<str>>, QueryError> + Send + 'static,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let (range, mut selectors) = (params.range()?, params.plain_selectors()?);
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    // One more than asked for shows that there are more.
    let storage_limit = limit.map(|limit| limit.saturating_add(1));
    let found = read(shared, range, Arc::default(), move |querier| {
        let mut found: BTreeSet<Arc<str>> = BTreeSet::new();
        for matchers in &selectors {
            found.extend(list(querier, matchers, storage_limit)?);
        }
        Ok(found)
    })
    .await?;
    let most = limit.unwrap_or(usize::MAX);
    let cut = found.len() > most;
    Ok(listing(cut, |writer| writer.array(found.iter().take(most), |writer, text| writer.text(text))))
}

fn listing(cut: bool, write: impl FnOnce(&mut Writer)) -> Response {
    let warnings: &[String] = &if cut { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    json_text(Writer::success(write, warnings, &[]))
}

/// Reads the storage, in a turn of the gate.
async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    range: TimeRange,
    cancel: Arc<AtomicBool>,
    work: impl FnOnce(&dyn Querier) -> Result<T, QueryError> + Send + 'static,
) -> Result<T, ApiError> {
    let patience = shared.parts.engine.options().timeout;
    let queryable = Arc::clone(&shared.parts.queryable);
    let run = move || {
        let querier = queryable.querier(range)?;
        work(&*querier)
    };
    shared.gate.run(patience, cancel, run).await?.map_err(|error| ApiError::storage(&error))
}

/// Undoes the escaping of label names in paths: `U__my_2e_label` is `my.label`. A name that is no such
/// escaping stays as it is.
fn unescape_name(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut plain = String::with_capacity(rest.len());
    while let Some((before, behind)) = rest.split_once('_') {
        plain.push_str(before);
        if let Some(behind) = behind.strip_prefix('_') {
            plain.push('_');
            rest = behind;
            continue;
        }
        let Some((code, behind)) = behind.split_once('_') else { return name.to_owned() };
        match u32::from_str_radix(code, 16).ok().and_then(char::from_u32) {
            Some(c) if code.bytes().all(|byte| byte.is_ascii_hexdigit()) => plain.push(c),
            _ => return name.to_owned(),
        }
        rest = behind;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        for (escaped, plain) in [
            ("job", "job"),
            ("U__my_2e_label", "my.label"),
            ("U__a__b", "a_b"),
            ("U___e9_", "é"),
            ("U__a_zz_b", "U__a_zz_b"),
            ("U__a_2e", "U__a_2e"),
            ("U__", ""),
        ] {
            assert_eq!(unescape_name(escaped), plain, "{escaped}");
        }
    }
}
