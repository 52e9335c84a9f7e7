//! Why a request has no answer, in the words of upstream first and in ours behind them.
//!
//! Rule: every error names the stage that failed; `message` begins with the text that prometheus-adapter
//! gives, so that whoever matches on it still can.

use crate::names::GroupResource;
use crate::naming::query::BuildError;
use crate::objects::ListError;
use crate::source::SourceError;

/// The stages of a request. The names are part of the API: they stand in `details.causes[].reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The request itself.
    Request,
    /// Who asks.
    Authentication,
    /// What the asker may do.
    Authorization,
    /// Which rule publishes the metric.
    Rule,
    /// Which objects exist.
    Objects,
    /// The query that the rule gives.
    Query,
    /// The engine that evaluates it.
    Source,
    /// The samples that it found.
    Samples,
}

impl Stage {
    /// The name in answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "Request",
            Self::Authentication => "Authentication",
            Self::Authorization => "Authorization",
            Self::Rule => "Rule",
            Self::Objects => "Objects",
            Self::Query => "Query",
            Self::Source => "Source",
            Self::Samples => "Samples",
        }
    }
}

/// A metric of objects that was asked for, as far as an error names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The metric.
    pub metric: String,
    /// The resource, as it was asked for.
    pub resource: GroupResource,
    /// The object, where one was named.
    pub name: Option<String>,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server could not find the metric {} for {}", self.metric, self.resource)?;
        match &self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No rule publishes the metric for this resource.
    #[error("{wanted}")]
    NotRegistered {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// What is known instead.
        hint: String,
    },
    /// No rule publishes the external metric.
    #[error("the server could not find the metric {metric} for {}", if namespace == "default" { "namespaces" } else { "" })]
    ExternalNotRegistered {
        /// The metric.
        metric: String,
        /// The namespace of the request.
        namespace: String,
        /// What is known instead.
        hint: String,
    },
    /// The selector matches no object.
    #[error("{wanted}")]
    NoObjects {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// Where was looked.
        hint: String,
    },
    /// The objects exist, but none has a usable sample.
    #[error("{wanted}")]
    NoSamples {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// What was found.
        hint: String,
    },
    /// The query of an external metric gives nothing usable.
    #[error("the server could not find the metric {metric} for ")]
    NoExternalSamples {
        /// The metric.
        metric: String,
        /// What was found.
        hint: String,
    },
    /// The rule gives no query for this request.
    #[error("{wanted}")]
    BuildQuery {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// The series whose rule it is.
        series: String,
        /// What is wrong.
        source: BuildError,
    },
    /// The rule of an external metric gives no query for this request.
    #[error("Internal error occurred: unable to fetch metrics")]
    BuildExternalQuery {
        /// The metric.
        metric: String,
        /// What is wrong.
        reason: String,
    },
    /// The source has no answer.
    #[error("Internal error occurred: unable to fetch metrics")]
    Fetch(#[source] SourceError),
    /// The source answers with reservations.
    #[error("Internal error occurred: unable to fetch metrics")]
    Warnings(Vec<String>),
    /// The query evaluates to something that is no metric.
    #[error("Internal error occurred: unable to fetch metrics")]
    ResultType {
        /// The type.
        found: &'static str,
        /// The query.
        query: String,
    },
    /// The query of an external metric evaluates to something that is no metric.
    #[error("encountered an unexpected query result type")]
    ExternalResultType {
        /// The type.
        found: &'static str,
        /// The query.
        query: String,
    },
    /// The objects could not be listed.
    #[error("Internal error occurred: unable to list matching resources")]
    ListObjects(#[source] ListError),
    /// The request is malformed.
    #[error("{0}")]
    BadRequest(String),
    /// There is nothing at that path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// The path belongs to an API that is known and not served.
    #[error("the server could not find the requested resource")]
    NotServed {
        /// The group.
        group: &'static str,
        /// What to use instead.
        instead: &'static str,
    },
    /// The path takes only `GET`.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// It is not known who asks.
    #[error("Unauthorized")]
    Unauthorized(String),
    /// The asker may not do this.
    #[error("{action} is forbidden: {reason}")]
    Forbidden {
        /// What was asked for.
        action: String,
        /// Why it is refused.
        reason: String,
    },
    /// More requests than are served at once.
    #[error("too many requests, please try again later")]
    TooManyRequests,
    /// The request took longer than it may.
    #[error("Timeout: request did not complete within the allotted timeout")]
    Timeout,
}

impl ApiError {
    /// The HTTP status and the `reason` of the `Status` object.
    #[must_use]
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::NotRegistered { .. }
            | Self::ExternalNotRegistered { .. }
            | Self::NoObjects { .. }
            | Self::NoSamples { .. }
            | Self::NoExternalSamples { .. }
            | Self::BuildQuery { .. }
            | Self::NoSuchPath
            | Self::NotServed { .. } => (404, "NotFound"),
            Self::BuildExternalQuery { .. }
            | Self::Fetch(_)
            | Self::Warnings(_)
            | Self::ResultType { .. }
            | Self::ExternalResultType { .. }
            | Self::ListObjects(_) => (500, "InternalError"),
            Self::BadRequest(_) => (400, "BadRequest"),
            Self::MethodNotAllowed => (405, "MethodNotAllowed"),
            Self::Unauthorized(_) => (401, "Unauthorized"),
            Self::Forbidden { .. } => (403, "Forbidden"),
            Self::TooManyRequests => (429, "TooManyRequests"),
            Self::Timeout => (504, "Timeout"),
        }
    }

    /// The stage that failed.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self {
            Self::NotRegistered { .. } | Self::ExternalNotRegistered { .. } => Stage::Rule,
            Self::NoObjects { .. } | Self::ListObjects(_) => Stage::Objects,
            Self::NoSamples { .. } | Self::NoExternalSamples { .. } => Stage::Samples,
            Self::BuildQuery { .. }
            | Self::BuildExternalQuery { .. }
            | Self::ResultType { .. }
            | Self::ExternalResultType { .. } => Stage::Query,
            Self::Fetch(_) | Self::Warnings(_) | Self::Timeout => Stage::Source,
            Self::Unauthorized(_) => Stage::Authentication,
            Self::Forbidden { .. } => Stage::Authorization,
            Self::BadRequest(_)
            | Self::NoSuchPath
            | Self::NotServed { .. }
            | Self::MethodNotAllowed
            | Self::TooManyRequests => Stage::Request,
        }
    }

    /// What upstream does not say; empty where it says all.
    #[must_use]
    pub fn explanation(&self) -> String {
        match self {
            Self::NotRegistered { hint, .. }
            | Self::ExternalNotRegistered { hint, .. }
            | Self::NoObjects { hint, .. }
            | Self::NoSamples { hint, .. }
            | Self::NoExternalSamples { hint, .. } => hint.clone(),
            Self::BuildQuery { series, source, .. } => {
                format!("the rule of series `{series}` gives no query: {source}")
            }
            Self::BuildExternalQuery { metric, reason } => format!("the rule of `{metric}` gives no query: {reason}"),
            Self::Fetch(source) => source.to_string(),
            Self::Warnings(warnings) => format!("source answers with warnings: {}", warnings.join("; ")),
            Self::ResultType { found, query } | Self::ExternalResultType { found, query } => {
                format!("the query `{}` gives a {found}", excerpt(query))
            }
            Self::ListObjects(source) => source.to_string(),
            Self::Unauthorized(reason) => reason.clone(),
            Self::NotServed { group, instead } => format!("{group} is not served here: {instead}"),
            Self::BadRequest(_)
            | Self::NoSuchPath
            | Self::MethodNotAllowed
            | Self::Forbidden { .. }
            | Self::TooManyRequests
            | Self::Timeout => String::new(),
        }
    }

    /// The whole message of an answer: upstream's text, and behind `; ` what that does not say.
    #[must_use]
    pub fn message(&self) -> String {
        let explanation = self.explanation();
        if explanation.is_empty() { self.to_string() } else { format!("{self}; {explanation}") }
    }

    /// The cause that is ours, alone.
    #[must_use]
    pub fn cause(&self) -> String {
        let explanation = self.explanation();
        if explanation.is_empty() { self.to_string() } else { explanation }
    }

    /// What to do about it, for those who run the metrics API.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NotRegistered { wanted, .. } => format!(
                "give the metric a rule: its `seriesQuery` must find the series, its `resources` must name the label of \
                 the series for {}, and for namespaces where these are asked for",
                wanted.resource
            ),
            Self::ExternalNotRegistered { .. } => {
                "give the metric a rule in `externalRules` whose `seriesQuery` finds the series".to_owned()
            }
            Self::NoObjects { wanted, .. } => {
                format!("compare the selector of the scale target with the labels of its {}", wanted.resource)
            }
            Self::NoSamples { .. } | Self::NoExternalSamples { .. } => {
                "see at `/targets` whether the targets are scraped, and what the query gives at `/query`".to_owned()
            }
            Self::BuildQuery { .. } | Self::BuildExternalQuery { .. } => {
                "correct `metricsQuery` of the rule, or the selector of the metric in the HPA".to_owned()
            }
            Self::ResultType { .. } | Self::ExternalResultType { .. } => {
                "let `metricsQuery` of the rule give an instant vector".to_owned()
            }
            Self::Fetch(source) => source.remedy().to_owned(),
            Self::Warnings(_) => "bring all parts of the source back: a partial answer is never used".to_owned(),
            Self::ListObjects(ListError::Forbidden { resource, .. }) => {
                format!("let the account of the metrics API get, list and watch {resource}")
            }
            Self::ListObjects(_) => "see whether the Kubernetes API answers".to_owned(),
            Self::Unauthorized(_) => "see which authorities and tokens the metrics API takes".to_owned(),
            Self::Forbidden { action, .. } => format!("bind a role to the user that allows it: {action}"),
            Self::NotServed { instead, .. } => (*instead).to_owned(),
            Self::TooManyRequests | Self::Timeout => "see what takes the metrics API so long, and ask again".to_owned(),
            Self::BadRequest(_) | Self::NoSuchPath | Self::MethodNotAllowed => "correct the request".to_owned(),
        }
    }
}

impl SourceError {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "see whether the source runs, and whether its URL and credentials are right",
            Self::Timeout(_) => "make the query cheaper, for example by a recording rule",
            Self::Refused { .. } => "correct `metricsQuery` of the rule",
            Self::NotCovered { .. } => "wait until the data cover the range, or look back less far",
            Self::TooLarge(_) => "let the rule find fewer series",
        }
    }
}

/// The begin of a text that may be long, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let mut begin: String = chars.by_ref().take(300).collect();
    if chars.next().is_some() {
        begin.push('…');
    }
    begin
}
