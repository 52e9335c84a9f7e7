//! "Status → Targets" and "Status → Service Discovery": are the pods found, and do they answer?
//!
//! - [`discovery()`], [`up`], [`intervals`]. [`Trouble`]: the kinds of errors of a scrape, each with what helps.
//!
//! Rule: a target that is down is a finding of its own, with the words of the server.

use std::time::Duration;

use datamodel::time::{format_duration, parse_duration};

use super::super::facts::{Expected, Facts, Target};
use super::super::finding::{Asked, Finding, Question, listed};
use crate::printer::clean;

/// Targets that are down and told one by one.
const MAX_TOLD: usize = 20;

/// The interval beyond which an autoscaler of queues sees only what is over.
const SLOW: Duration = Duration::from_mins(1);

/// A range holds four scrapes, or one that fails makes a hole: a quarter of the seed's `[5m]`.
const FOUR_IN_FIVE_MINUTES: Duration = Duration::from_secs(75);

/// Whether a target is one of the workers: by its job, or by the monitor that made its pool.
fn is_expected(target: &Target, expected: &Expected) -> bool {
    let of_monitor = format!("serviceMonitor/{}/{}/", expected.namespace, expected.service);
    target.labels.get("job").is_some_and(|job| *job == expected.job) || target.scrape_pool.starts_with(&of_monitor)
}

/// The workers among the targets.
pub(super) fn expected(facts: &Facts) -> Vec<&Target> {
    let targets = facts.prometheus.targets.known().map(|targets| targets.active_targets.as_slice());
    targets.unwrap_or_default().iter().filter(|target| is_expected(target, &facts.expected)).collect()
}

/// The longest interval at which the workers are scraped.
pub(super) fn interval(facts: &Facts) -> Option<Duration> {
    expected(facts).iter().filter_map(|target| parse_duration(&target.scrape_interval).ok()).max()
}

/// "Status → Service Discovery: should show ServiceMonitor".
pub(super) fn discovery(facts: &Facts) -> Vec<Finding> {
    let Expected { job, service, namespace, .. } = &facts.expected;
    let question = Question::new("service discovery", format!("/api/v1/targets: are there targets of job `{job}`?"));
    let targets = match question.answer(&facts.prometheus.targets) {
        Ok(targets) => targets,
        Err(finding) => return vec![finding],
    };
    let found = expected(facts);
    if !found.is_empty() {
        let mut pools: Vec<&str> = found.iter().map(|target| target.scrape_pool.as_str()).collect();
        pools.sort_unstable();
        pools.dedup();
        return vec![question.ok(format!("{} in {}", count(found.len(), "target"), listed(&pools)))];
    }
    let of_service = |label: &&String| **label == *service;
    let dropped = targets.dropped_targets.iter().filter(|target| {
        let name = |key: &str| target.discovered_labels.get(key);
        name("__meta_kubernetes_service_name").as_ref().is_some_and(of_service)
            || target.scrape_pool.starts_with(&format!("serviceMonitor/{namespace}/{service}/"))
            || target.scrape_pool == *job
    });
    let dropped = dropped.count();
    if dropped > 0 {
        return vec![question.wrong(
            format!("none; {} found and dropped by relabelling", count(dropped, "target")),
            format!(
                "/service-discovery shows their labels: the Service needs the labels of `spec.selector` of the \
                 ServiceMonitor, and a port with the name of `spec.endpoints[].port` (`kubectl get svc {service} -n {namespace} -o yaml`)"
            ),
        )];
    }
    let pools = match &facts.prometheus.pools {
        Asked::Answer(pools) => pools.clone(),
        _ => targets.active_targets.iter().map(|target| target.scrape_pool.clone()).collect(),
    };
    let has_pool = pools.iter().any(|pool| pool == job || pool.contains(&format!("/{service}/")));
    let finding = if has_pool {
        question.wrong(
            "the job is there, and nothing is found for it",
            format!(
                "are there pods, and are they ready? `kubectl get endpoints {service} -n {namespace}`; may the server list \
                 them? its log says what it is refused"
            ),
        )
    } else {
        let others = if pools.is_empty() { "there is no job at all".to_owned() } else { listed(&pools) };
        question.wrong(
            format!("no such job; there are: {others}"),
            format!(
                "in a cluster: is there a ServiceMonitor `{service}` in `{namespace}`, and does the operator select it \
                 (`serviceMonitorSelectorNilUsesHelmValues: false`)? with a file: a `scrape_configs` entry; \
                 `--job` names another"
            ),
        )
    };
    vec![finding]
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// "Lightning ASR endpoints should be UP".
pub(super) fn up(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("targets up", format!("/api/v1/targets: health of job `{}`", facts.expected.job));
    if let Err(finding) = question.answer(&facts.prometheus.targets) {
        return vec![finding];
    }
    let targets = expected(facts);
    let (up, others): (Vec<&Target>, Vec<&Target>) = targets.iter().copied().partition(|target| target.health == "up");
    let (down, fresh): (Vec<&Target>, Vec<&Target>) =
        others.iter().copied().partition(|target| target.health == "down");
    let mut findings = Vec::new();
    if targets.is_empty() {
        return vec![question.not_checked("there is no target: see service discovery")];
    }
    if down.is_empty() {
        findings.push(question.ok(format!("{} of {} UP", up.len(), targets.len())));
    }
    for target in down.iter().take(MAX_TOLD) {
        let error = clean(&target.last_error);
        let found = format!("{} is DOWN: {error}", target.scrape_url);
        findings.push(question.wrong(found, Trouble::of(&target.last_error).remedy(target, &facts.expected)));
    }
    if down.len() > MAX_TOLD {
        let rest = down.len() - MAX_TOLD;
        findings.push(question.wrong(format!("{} more are DOWN", count(rest, "target")), "/targets lists them all"));
    }
    if !fresh.is_empty() {
        let urls: Vec<&str> = fresh.iter().map(|target| target.scrape_url.as_str()).collect();
        let found = format!("not scraped yet: {}", listed(&urls));
        findings.push(question.warning(found, "ask again after one scrape interval"));
    }
    findings
}

/// Why a scrape fails, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Refused,
    Unreachable,
    Name,
    Timeout,
    NotFound,
    Unauthorized,
    Status,
    Scheme,
    Tls,
    Limit,
    Format,
    Broken,
    Other,
}

/// Words of Prometheus' errors and of ours, in lower case; the first row that matches counts.
const WORDS: [(Trouble, &[&str]); 12] = [
    (Trouble::Refused, &["connection refused"]),
    (Trouble::Name, &["no such host", "failed to lookup address", "name or service not known"]),
    (Trouble::Unreachable, &["no route to host", "network is unreachable", "host is unreachable"]),
    (
        Trouble::Scheme,
        &[
            "http response to https client",
            "malformed http response",
            "first record does not look like",
            "invalidcontenttype",
        ],
    ),
    (Trouble::Tls, &["x509", "tls", "certificate"]),
    (Trouble::NotFound, &["http status 404"]),
    (Trouble::Unauthorized, &["http status 401", "http status 403"]),
    (Trouble::Status, &["http status"]),
    (Trouble::Timeout, &["deadline exceeded", "timeout", "timed out", "no complete answer within"]),
    (Trouble::Limit, &["limit"]),
    (
        Trouble::Format,
        &["breaks its format", "content-type", "expected", "invalid metric", "unsupported", "gzip", "parse"],
    ),
    (Trouble::Broken, &["eof", "connection reset", "broken http answer", "broken pipe"]),
];

impl Trouble {
    pub(super) fn of(error: &str) -> Self {
        let error = error.to_lowercase();
        let row = WORDS.iter().find(|(_, words)| words.iter().any(|word| error.contains(word)));
        row.map_or(Self::Other, |(trouble, _)| *trouble)
    }

    fn remedy(self, target: &Target, expected: &Expected) -> String {
        let Expected { namespace, service, .. } = expected;
        let (url, timeout) = (&target.scrape_url, &target.scrape_timeout);
        match self {
            Self::Refused => format!(
                "nothing listens there: does the pod run (`kubectl get pods -n {namespace}`), and is the port of the \
                 Service that of the server (2269)?"
            ),
            Self::Unreachable => "the address is not reached: a pod that is gone, a node that is down, or a \
                                  NetworkPolicy that does not let the scraper in"
                .to_owned(),
            Self::Name => "the name has no address: does the Service exist in that namespace, and is the name whole \
                           (`NAME.NAMESPACE.svc`)?"
                .to_owned(),
            Self::Timeout => format!(
                "no page within {timeout}: `curl -m 10 {url}` from where the scraper is; a NetworkPolicy that drops, \
                 or a worker without CPU; only then a longer `scrapeTimeout`"
            ),
            Self::NotFound => format!(
                "the server has no such page: `path` of the ServiceMonitor (`metrics_path` of the job) must be \
                 `/metrics`, and the port that of the metrics (`kubectl get svc {service} -n {namespace} -o yaml`)"
            ),
            Self::Unauthorized => {
                "the server wants to know who asks: `authorization`, `basicAuth` or `bearerTokenSecret` \
                                   of the endpoint"
                    .to_owned()
            }
            Self::Status => format!("`curl -i {url}`: the server itself fails; its log says why"),
            Self::Scheme => "one side speaks TLS and the other does not: `scheme` of the endpoint".to_owned(),
            Self::Tls => {
                "the certificate is not accepted: `tlsConfig` needs the authority that signed it (`ca`) and the \
                          name in it (`serverName`)"
                    .to_owned()
            }
            Self::Limit => {
                "the page is larger than the job allows: drop what nobody reads by `metricRelabelings` or at its \
                            source, or raise the limit that is named"
                    .to_owned()
            }
            Self::Format => format!("what comes is no page of metrics: `curl -s {url} | crescendo check metrics`"),
            Self::Broken => {
                "the connection breaks: the server ends while it answers (restarts in `kubectl get pods`), or \
                             something between does"
                    .to_owned()
            }
            Self::Other => format!("`curl -i {url}` from where the scraper is, and the log of the scraper"),
        }
    }
}

/// "Balance responsiveness vs storage": the intervals, and whether scrapes fit into them.
pub(super) fn intervals(facts: &Facts) -> Vec<Finding> {
    let question =
        Question::new("scrape interval", format!("/api/v1/targets: interval of job `{}`", facts.expected.job));
    if let Err(finding) = question.answer(&facts.prometheus.targets) {
        return vec![finding];
    }
    let Some(interval) = interval(facts) else {
        return vec![question.not_checked("no target says its interval")];
    };
    let text = format_duration(interval);
    let finding = if interval > FOUR_IN_FIVE_MINUTES {
        question.wrong(
            format!("{text}: `rate(…[5m])` holds fewer than four scrapes"),
            "30s or less (`scrapeInterval`); or longer ranges in queries and rules",
        )
    } else if interval > SLOW && !facts.is_pulled {
        question.warning(
            format!("{text}: an autoscaler sees a queue only when it is over"),
            "15s for fast scaling, 30s for normal (`scrapeInterval`)",
        )
    } else {
        let tier = match interval.as_secs() {
            0..=15 => "fast",
            16..=30 => "normal",
            _ => "cost-optimized",
        };
        question.ok(format!("{text} ({tier})"))
    };
    let mut findings = vec![finding];
    let slow: Vec<&str> =
        expected(facts).iter().filter(|target| is_slow(target)).map(|target| target.scrape_url.as_str()).collect();
    if !slow.is_empty() {
        findings.push(question.warning(
            format!("the last scrape took more than half of its timeout: {}", listed(&slow)),
            "a worker that needs CPU for its page, or a page that grew: `scrape_samples_scraped`",
        ));
    }
    findings
}

fn is_slow(target: &Target) -> bool {
    let timeout = parse_duration(&target.scrape_timeout).unwrap_or_default();
    target.health == "up" && !timeout.is_zero() && target.last_scrape_duration > timeout.as_secs_f64() / 2.0
}
