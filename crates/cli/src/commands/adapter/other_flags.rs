//! Flags of prometheus-adapter that have no effect here, or that are refused, each with its reason.
//!
//! Rule: as in [`other_flags`](crate::commands::other_flags): refused where their absence would be noticed.

use crate::commands::other_flags::Fate::{Noted, Refused};
use crate::commands::other_flags::{FlagRow, FlagTable, OtherFlags};

/// prometheus-adapter's flags that are not served.
pub(super) struct UpstreamFlags;

/// Those that were given.
pub(super) type OtherAdapterFlags = OtherFlags<UpstreamFlags>;

impl FlagTable for UpstreamFlags {
    const FLAGS: &'static [FlagRow] = &FLAGS;
}

const LOG: &str = "`--log.level` and `--log.format` choose what is logged, to standard error";
const HTTP2: &str = "HTTP/1.1 is spoken";
const AUDIT: &str = "there is no audit log; metrics count requests and refusals";
const WATCHES: &str = "objects are watched, not listed with each question";
const PROFILING: &str = "there are no profiles of a Go runtime";

#[rustfmt::skip]
const FLAGS: [FlagRow; 51] = [
    ("add-dir-header", false, Noted(LOG)),
    ("alsologtostderr", false, Noted(LOG)),
    ("audit-log-batch-buffer-size", true, Refused(AUDIT)),
    ("audit-log-batch-max-size", true, Refused(AUDIT)),
    ("audit-log-batch-max-wait", true, Refused(AUDIT)),
    ("audit-log-batch-throttle-burst", true, Refused(AUDIT)),
    ("audit-log-batch-throttle-enable", false, Refused(AUDIT)),
    ("audit-log-batch-throttle-qps", true, Refused(AUDIT)),
    ("audit-log-compress", false, Refused(AUDIT)),
    ("audit-log-format", true, Refused(AUDIT)),
    ("audit-log-maxage", true, Refused(AUDIT)),
    ("audit-log-maxbackup", true, Refused(AUDIT)),
    ("audit-log-maxsize", true, Refused(AUDIT)),
    ("audit-log-mode", true, Refused(AUDIT)),
    ("audit-log-path", true, Refused(AUDIT)),
    ("audit-log-truncate-enabled", false, Refused(AUDIT)),
    ("audit-log-version", true, Refused(AUDIT)),
    ("audit-policy-file", true, Refused(AUDIT)),
    ("audit-webhook-batch-max-size", true, Refused(AUDIT)),
    ("audit-webhook-config-file", true, Refused(AUDIT)),
    ("audit-webhook-initial-backoff", true, Refused(AUDIT)),
    ("audit-webhook-mode", true, Refused(AUDIT)),
    ("client-burst", true, Noted(WATCHES)),
    ("client-qps", true, Noted(WATCHES)),
    ("contention-profiling", false, Noted(PROFILING)),
    ("debug-socket-path", true, Refused(PROFILING)),
    ("disable-http2", false, Noted(HTTP2)),
    ("disable-http2-serving", false, Noted(HTTP2)),
    ("enable-priority-and-fairness", false, Noted("at most 256 requests are served at once")),
    ("http2-max-streams-per-connection", true, Noted(HTTP2)),
    ("log-backtrace-at", true, Noted(LOG)),
    ("log-dir", true, Refused(LOG)),
    ("log-file", true, Refused(LOG)),
    ("log-file-max-size", true, Noted(LOG)),
    ("log-flush-frequency", true, Noted(LOG)),
    ("log-json-info-buffer-size", true, Noted(LOG)),
    ("log-json-split-stream", false, Noted(LOG)),
    ("logging-format", true, Noted(LOG)),
    ("logtostderr", false, Noted(LOG)),
    ("one-output", false, Noted(LOG)),
    ("permit-address-sharing", false, Refused("the address is taken by this process alone")),
    ("permit-port-sharing", false, Refused("the port is taken by this process alone")),
    ("profiling", false, Noted(PROFILING)),
    ("skip-headers", false, Noted(LOG)),
    ("skip-log-headers", false, Noted(LOG)),
    ("stderrthreshold", true, Noted(LOG)),
    ("tls-sni-cert-key", true, Refused("one certificate is served")),
    ("v", true, Noted(LOG)),
    ("vmodule", true, Noted(LOG)),
    ("audit-webhook-batch-max-wait", true, Refused(AUDIT)),
    ("audit-webhook-version", true, Refused(AUDIT)),
];
