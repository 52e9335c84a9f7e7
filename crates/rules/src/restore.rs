//! The state of alerts after a restart, from the series that were written before it.
//!
//! Rule: time that the server was down does not count as time in which the alert was active, and an alert
//! that is restored does not fire before the grace period.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::time::TimeRange;
use datamodel::{Labels, METRIC_NAME, Matcher, Timestamp, is_stale_nan};
use storage::{QueryError, Queryable, Samples, SelectHints};

use crate::alert::{ALERT_NAME, ActiveAlerts, AlertTimes, FOR_STATE};
use crate::rule::AlertingRule;

/// How long the server may have been down for states to be restored, unless the owner says otherwise.
pub const OUTAGE_TOLERANCE: Duration = Duration::from_secs(3600);

/// The least time that a restored alert stays pending, unless the owner says otherwise; a rule whose `for` is
/// shorter is not restored.
pub const FOR_GRACE_PERIOD: Duration = Duration::from_secs(600);

/// Sets back when the active alerts of a rule became active.
pub(crate) fn restore(
    rule: &AlertingRule,
    alerts: &mut ActiveAlerts,
    storage: &dyn Queryable,
    at: Timestamp,
    times: &AlertTimes,
) -> Result<(), QueryError> {
    let grace_period = times.grace_period;
    if rule.for_duration < grace_period || alerts.active().next().is_none() {
        return Ok(());
    }
    let before = last_states(rule, storage, at, times.outage_tolerance)?;
    for alert in alerts.active_mut() {
        let Some((down_at, active_since)) = before.get(&alert.labels) else { continue };
        let pending = down_at.since(*active_since);
        let remaining = rule.for_duration.saturating_sub(pending);
        alert.active_at = if remaining.is_zero() {
            *active_since
        } else if remaining < grace_period {
            at.saturating_add(grace_period).saturating_sub(rule.for_duration)
        } else {
            active_since.saturating_add(at.since(*down_at))
        };
    }
    Ok(())
}

/// For each alert that was active when the server went down: its last sign of life, and since when it had
/// been active.
fn last_states(
    rule: &AlertingRule,
    storage: &dyn Queryable,
    at: Timestamp,
    outage_tolerance: Duration,
) -> Result<BTreeMap<Labels, (Timestamp, Timestamp)>, QueryError> {
    let range = TimeRange { start: at.saturating_sub(outage_tolerance), end: at };
    let matchers = [Matcher::equal(METRIC_NAME, FOR_STATE), Matcher::equal(ALERT_NAME, rule.alert.as_str())];
    let querier = storage.querier(range)?;
    let mut set = querier.select(&matchers, &SelectHints::default())?;
    let mut states = BTreeMap::new();
    let mut samples = Samples::default();
    while let Some(series) = set.next() {
        let series = series?;
        samples.clear();
        series.read(range, &mut samples)?;
        if let (Some(last), Some(value)) = (samples.timestamps.last(), samples.values.last())
            && !is_stale_nan(*value)
            && value.is_finite()
        {
            // Unix seconds; what is no time saturates.
            let active_since = Timestamp::from_unix_ms((*value as i64).saturating_mul(1000));
            let labels = series.labels().without_metric_name();
            states.insert(labels, (Timestamp::from_unix_ms(*last), active_since));
        }
    }
    Ok(states)
}
