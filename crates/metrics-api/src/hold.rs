//! Never scale down on absence: ages, states, and the floor under answers with held inputs.
//!
//! - [`Ages`]: until when a value is fresh, and until when it counts at all.
//! - [`SampleState`]: fresh or held; what is expired is no value any more.
//! - `Floor`: the highest answer of the last five minutes to the same question.
//!
//! Rule: an answer with a held input is never below that floor; a fresh answer is never changed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use datamodel::Timestamp;

/// How far back the floor looks: the stabilisation window that the HPA has by default.
pub const FLOOR_WINDOW: Duration = Duration::from_mins(5);
/// The floor keeps the highest answer of each such slice of the window.
const SLICE: Duration = Duration::from_secs(5);
/// Questions whose answers are remembered; with 62 slices of 16 bytes they take 4 MiB. The question that
/// was not asked for longest goes first.
pub const MAX_QUESTIONS: usize = 4_096;

/// Until when a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    fresh: Duration,
    hold: Duration,
}

impl Ages {
    /// The ages for a scrape interval: fresh for two intervals, at least a minute (a recording rule may lie
    /// in between); held for three, at least 90 s.
    #[must_use]
    pub fn for_interval(scrape_interval: Duration) -> Self {
        Self {
            fresh: scrape_interval.saturating_mul(2).max(Duration::from_mins(1)),
            hold: scrape_interval.saturating_mul(3).max(Duration::from_secs(90)),
        }
    }

    /// How old a sample may be that counts as fresh.
    #[must_use]
    pub const fn fresh(self) -> Duration {
        self.fresh
    }

    /// How old a sample may be that counts at all.
    #[must_use]
    pub const fn hold(self) -> Duration {
        self.hold
    }

    /// The state of a sample; `None` when it is expired.
    #[must_use]
    pub fn state(self, sampled: Timestamp, now: Timestamp) -> Option<SampleState> {
        let age = now.since(sampled);
        if age <= self.fresh {
            Some(SampleState::Fresh)
        } else if age <= self.hold {
            Some(SampleState::Held)
        } else {
            None
        }
    }
}

impl Default for Ages {
    /// For Prometheus' usual interval of 30 s.
    fn default() -> Self {
        Self::for_interval(Duration::from_secs(30))
    }
}

/// How a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleState {
    /// Its inputs are recent.
    Fresh,
    /// An input comes from a target that does not answer; its last sample counts.
    Held,
}

impl SampleState {
    /// The name in documents and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Held => "held",
        }
    }
}

/// Remembers the highest answers to each question.
#[derive(Debug, Default)]
pub(crate) struct Floor(HashMap<String, Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// Begin of the slice and its highest total, ascending by time.
    slices: VecDeque<(Timestamp, f64)>,
    asked: Timestamp,
}

impl Floor {
    /// Notes the total of an answer as it was measured, and gives the highest of the window, this one
    /// included.
    pub(crate) fn note(&mut self, question: &str, total: f64, now: Timestamp) -> f64 {
        if !self.0.contains_key(question) {
            self.make_room(now);
        }
        let answers = self.0.entry(question.to_owned()).or_default();
        answers.asked = now;
        // A slice counts until its end has left the window.
        answers.slices.retain(|(begin, _)| now.since(*begin) <= FLOOR_WINDOW + SLICE);
        match answers.slices.back_mut() {
            Some((begin, highest)) if now.since(*begin) < SLICE => *highest = highest.max(total),
            _ => answers.slices.push_back((now, total)),
        }
        answers.slices.iter().map(|(_, highest)| *highest).fold(total, f64::max)
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.0.len() < MAX_QUESTIONS {
            return;
        }
        self.0.retain(|_, answers| now.since(answers.asked) <= FLOOR_WINDOW);
        if self.0.len() >= MAX_QUESTIONS {
            let oldest = self.0.iter().min_by_key(|(_, answers)| answers.asked).map(|(question, _)| question.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
    }
}

/// Raises the held values so that the total reaches `floor`, each by the same amount. Without a held value,
/// or above the floor, nothing changes.
pub(crate) fn raise_to(floor: f64, values: &mut [(f64, SampleState)]) {
    let total: f64 = values.iter().map(|(value, _)| value).sum();
    let held = values.iter().filter(|(_, state)| *state == SampleState::Held).count();
    if held == 0 || total >= floor {
        return;
    }
    let share = (floor - total) / held as f64;
    for (value, _) in values.iter_mut().filter(|(_, state)| *state == SampleState::Held) {
        *value += share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_fresh_then_held_then_expired() {
        let ages = Ages::for_interval(Duration::from_secs(30));
        for (age, expected) in [
            (0, Some(SampleState::Fresh)),
            (60, Some(SampleState::Fresh)),
            (61, Some(SampleState::Held)),
            (90, Some(SampleState::Held)),
            (91, None),
        ] {
            assert_eq!(ages.state(at(1_000 - age), at(1_000)), expected, "{age} s");
        }
        assert_eq!(Ages::for_interval(Duration::from_secs(2)).hold(), Duration::from_secs(90));
        assert_eq!(Ages::for_interval(Duration::from_mins(1)).hold(), Duration::from_mins(3));
    }

    #[test]
    fn floor_is_the_highest_answer_of_five_minutes() {
        let mut floor = Floor::default();
        assert_eq!(floor.note("q", 12.0, at(0)).to_bits(), 12_f64.to_bits());
        assert_eq!(floor.note("q", 3.0, at(299)).to_bits(), 12_f64.to_bits());
        assert_eq!(floor.note("q", 4.0, at(306)).to_bits(), 4_f64.to_bits());
        assert_eq!(floor.note("other", 1.0, at(302)).to_bits(), 1_f64.to_bits());
    }

    #[test]
    fn questions_are_bounded() {
        let mut floor = Floor::default();
        for index in 0..2 * MAX_QUESTIONS {
            floor.note(&index.to_string(), 1.0, at(i64::try_from(index).unwrap() / 1_000));
        }
        assert!(floor.0.len() <= MAX_QUESTIONS);
        assert!(floor.0.contains_key(&(2 * MAX_QUESTIONS - 1).to_string()));
    }

    #[test]
    fn held_values_carry_what_is_missing_to_the_floor() {
        let (fresh, held) = (SampleState::Fresh, SampleState::Held);
        check(20.0, &[(4.0, fresh), (2.0, held), (0.0, held)], &[4.0, 9.0, 7.0]);
        check(20.0, &[(4.0, fresh), (2.0, fresh)], &[4.0, 2.0]);
        check(5.0, &[(4.0, fresh), (2.0, held)], &[4.0, 2.0]);
    }

    proptest::proptest! {
        /// Whatever the answers before: with a held value, the total is not below any of five minutes.
        #[test]
        fn held_answer_is_never_below_the_floor(
            answers in proptest::collection::vec((0_i64..60, proptest::collection::vec((0.0..100.0, proptest::bool::ANY), 1..5)), 1..40)
        ) {
            let mut floor = Floor::default();
            let mut now = 0;
            let mut history: Vec<(i64, f64)> = Vec::new();
            for (pause, values) in answers {
                now += pause;
                let state = |held: bool| if held { SampleState::Held } else { SampleState::Fresh };
                let measured: Vec<_> = values.iter().map(|(value, held)| (*value, state(*held))).collect();
                let total = measured.iter().map(|(value, _)| value).sum();
                let highest = floor.note("q", total, at(now));
                let mut raised = measured.clone();
                raise_to(highest, &mut raised);
                let answered: f64 = raised.iter().map(|(value, _)| value).sum();
                let is_held = measured.iter().any(|(_, state)| *state == SampleState::Held);
                for (when, before) in history.iter().filter(|(when, _)| is_held && now - when <= 300) {
                    proptest::prop_assert!(answered >= before - 1e-9, "{answered} at {now} after {before} at {when}");
                }
                if !is_held {
                    proptest::prop_assert_eq!(raised, measured);
                }
                history.push((now, total));
            }
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000)
    }

    #[track_caller]
    fn check(floor: f64, values: &[(f64, SampleState)], expected: &[f64]) {
        let mut values = values.to_vec();
        raise_to(floor, &mut values);
        let raised: Vec<String> = values.iter().map(|(value, _)| value.to_string()).collect();
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(raised, expected);
    }
}
