//! Waiting for a state, with a deadline and the last thing that was seen.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Asks until `done` accepts the answer; a failing question counts as "not yet".
///
/// # Errors
///
/// The deadline passed; the last answer or its failure is named.
pub async fn until<T, F>(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> F,
    mut done: impl FnMut(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    loop {
        let answer = ask().await;
        if let Ok(value) = &answer
            && done(value)
        {
            return answer;
        }
        if started.elapsed() > timeout {
            match answer {
                Ok(value) => bail!("not within {timeout:?}: {what}; last seen: {value:?}"),
                Err(error) => bail!("not within {timeout:?}: {what}; last failure: {error:#}"),
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
