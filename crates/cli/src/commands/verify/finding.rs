//! What a check says: what was asked, what was found, what to do.
//!
//! - [`Verdict`]: how it stands. [`Finding`]: one line of the report. [`Lag`]: how old a decision's numbers can be.
//! - [`Asked`]: an answer, or why there is none; every fact comes as one.
//!
//! Rule: what could not be looked at is a finding too, with its reason; nothing is left out.

use std::time::Duration;

/// How a checked thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It does not apply here, or was not wanted.
    NotChecked,
    /// It works, and somebody should look at it.
    Warning,
    /// It should have been looked at, and could not be.
    Unknown,
    /// It is not as it should be.
    Wrong,
}

impl Verdict {
    /// The word of the table.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotChecked => "not checked",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Wrong => "WRONG",
        }
    }

    /// The word of the JSON document.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotChecked => "not_checked",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}

/// What a check says about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The name of the check, as its table has it.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// What was asked, as a person would ask it.
    pub(super) asked: String,
    /// What was found.
    pub(super) found: String,
    /// What to do; empty where there is nothing to do.
    pub(super) remedy: String,
}

/// Makes the findings of one check.
#[derive(Clone, Debug)]
pub(super) struct Question {
    check: &'static str,
    asked: String,
}

impl Question {
    pub(super) fn new(check: &'static str, asked: impl Into<String>) -> Self {
        Self { check, asked: asked.into() }
    }

    fn finding(&self, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (asked, check) = (self.asked.clone(), self.check);
        Finding { check, verdict, asked, found: found.into(), remedy: remedy.into() }
    }

    pub(super) fn ok(&self, found: impl Into<String>) -> Finding {
        self.finding(Verdict::Ok, found, "")
    }

    pub(super) fn warning(&self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Verdict::Warning, found, remedy)
    }

    pub(super) fn wrong(&self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Verdict::Wrong, found, remedy)
    }

    pub(super) fn unknown(&self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Verdict::Unknown, found, remedy)
    }

    pub(super) fn not_checked(&self, why: impl Into<String>) -> Finding {
        self.finding(Verdict::NotChecked, why, "")
    }

    /// The answer, or the finding that says why there is none.
    pub(super) fn answer<'a, T>(&self, asked: &'a Asked<T>) -> Result<&'a T, Finding> {
        match asked {
            Asked::Answer(answer) => Ok(answer),
            Asked::NotHere(why) => Err(self.not_checked(why)),
            Asked::Failed(Failure { why, remedy }) => Err(self.unknown(why, remedy)),
        }
    }
}

/// A fact as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked<T> {
    Answer(T),
    /// Nobody was asked, or there is no such thing here: why.
    NotHere(String),
    /// There should have been an answer.
    Failed(Failure),
}

/// Why there is no answer, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) remedy: String,
}

impl<T> Asked<T> {
    pub(super) fn not_here(why: impl Into<String>) -> Self {
        Self::NotHere(why.into())
    }

    pub(super) fn failed(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed(Failure { why: why.into(), remedy: remedy.into() })
    }

    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Asked<U> {
        match self {
            Self::Answer(answer) => Asked::Answer(of(answer)),
            Self::NotHere(why) => Asked::NotHere(why),
            Self::Failed(failure) => Asked::Failed(failure),
        }
    }

    pub(super) const fn known(&self) -> Option<&T> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::NotHere(_) | Self::Failed(_) => None,
        }
    }
}

/// How old the number behind a decision can be, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    /// `NAMESPACE/NAME` of the autoscaler.
    pub(super) autoscaler: String,
    /// Type and name of the metric.
    pub(super) metric: String,
    /// Time between two scrapes; zero where targets are scraped when the autoscaler asks.
    pub(super) scrape: Duration,
    /// Time between two evaluations of the rules that write the metric.
    pub(super) rules: Duration,
    /// Time between two decisions.
    pub(super) sync: Duration,
    /// How long the last value of a target that does not answer stands in; no part of the sum.
    pub(super) hold: Duration,
    /// Whether targets are scraped when the autoscaler asks.
    pub(super) is_pulled: bool,
}

impl Lag {
    /// From a request that waits to a decision that knows of it, at worst.
    pub(super) fn worst(&self) -> Duration {
        self.scrape.saturating_add(self.rules).saturating_add(self.sync)
    }
}

/// Things of a list, with the rest counted: `a, b and 7 more`.
pub(super) fn listed<S: AsRef<str>>(things: &[S]) -> String {
    /// More nobody reads in a line.
    const SHOWN: usize = 5;
    let shown: Vec<&str> = things.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let rest = things.len().saturating_sub(SHOWN);
    let shown = shown.join(", ");
    if rest == 0 { shown } else { format!("{shown} and {rest} more") }
}
