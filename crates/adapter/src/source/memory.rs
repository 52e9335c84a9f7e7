//! The last answers, for when the engine is away.
//!
//! Rule: a remembered answer counts as long as its newest sample does, is held as a whole, and the bounds hold
//! whatever is asked.

use std::collections::HashMap;
use std::time::Duration;

use datamodel::{Labels, Timestamp};
use metrics_api::{InstantAnswer, InstantValue};

/// Questions whose last answer is kept; 500 autoscalers ask about as many.
pub(crate) const MAX_QUESTIONS: usize = 1_024;
/// Elements of all kept answers: five lists of 10,000 pods, at some 300 bytes each.
pub(crate) const MAX_ELEMENTS: usize = 50_000;

/// The last good answer to each question.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    answers: HashMap<String, Kept>,
    elements: usize,
}

#[derive(Debug)]
struct Kept {
    answer: InstantAnswer,
    newest: Timestamp,
    asked: Timestamp,
}

impl Memory {
    /// Keeps an answer in place of the last one to the same question. One that is too large is not kept.
    pub(crate) fn keep(&mut self, question: &str, answer: &InstantAnswer, at: Timestamp) {
        self.forget(question);
        let count = elements(answer);
        if count > MAX_ELEMENTS {
            return;
        }
        while self.answers.len() >= MAX_QUESTIONS || self.elements + count > MAX_ELEMENTS {
            let oldest = self.answers.iter().min_by_key(|(_, kept)| kept.asked).map(|(question, _)| question.clone());
            let Some(oldest) = oldest else { break };
            self.forget(&oldest);
        }
        self.elements += count;
        let newest = newest(answer).unwrap_or(at);
        self.answers.insert(question.to_owned(), Kept { answer: answer.clone(), newest, asked: at });
    }

    /// The last answer to a question, if its newest sample still counts; all of it is held.
    pub(crate) fn recall(&mut self, question: &str, at: Timestamp, hold: Duration) -> Option<InstantAnswer> {
        let kept = self.answers.get_mut(question)?;
        if at.since(kept.newest) > hold {
            self.forget(question);
            return None;
        }
        kept.asked = at;
        let mut answer = kept.answer.clone();
        answer.held = match &answer.value {
            InstantValue::Vector(samples) => samples.iter().map(|sample| sample.labels.clone()).collect(),
            InstantValue::Scalar(_) | InstantValue::Other(_) => vec![Labels::empty()],
        };
        Some(answer)
    }

    fn forget(&mut self, question: &str) {
        if let Some(kept) = self.answers.remove(question) {
            self.elements -= elements(&kept.answer);
        }
    }
}

/// Elements that an answer holds, labels of lapsed series included.
fn elements(answer: &InstantAnswer) -> usize {
    let values = match &answer.value {
        InstantValue::Vector(samples) => samples.len(),
        InstantValue::Scalar(_) | InstantValue::Other(_) => 1,
    };
    values + answer.held.len() + answer.missing.len()
}

fn newest(answer: &InstantAnswer) -> Option<Timestamp> {
    match &answer.value {
        InstantValue::Vector(samples) => samples.iter().map(|sample| sample.timestamp).max(),
        InstantValue::Scalar(_) | InstantValue::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use metrics_api::SourceSample;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000)
    }

    fn answer(pods: usize, seconds: i64) -> InstantAnswer {
        let sample = |pod| SourceSample {
            labels: Labels::from_pairs([("pod", format!("p{pod}"))]),
            value: 1.0,
            timestamp: at(seconds),
        };
        InstantAnswer {
            value: InstantValue::Vector((0..pods).map(sample).collect()),
            held: Vec::new(),
            missing: Vec::new(),
            warnings: Vec::new(),
            undated: None,
        }
    }

    #[test]
    fn answer_is_held_until_its_newest_sample_expires() {
        let hold = Duration::from_secs(90);
        let mut memory = Memory::default();
        memory.keep("q", &answer(2, 100), at(110));
        let recalled = memory.recall("q", at(190), hold).unwrap();
        assert_eq!((recalled.held.len(), &recalled.value), (2, &answer(2, 100).value));
        assert_eq!(memory.recall("other", at(120), hold), None);
        assert_eq!(memory.recall("q", at(191), hold), None);
        // What has expired once does not come back.
        assert_eq!(memory.recall("q", at(150), hold), None);
        assert_eq!(memory.elements, 0);
    }

    #[test]
    fn bounds_hold() {
        let mut memory = Memory::default();
        for index in 0..2 * MAX_QUESTIONS {
            memory.keep(&index.to_string(), &answer(40, 0), at(i64::try_from(index).unwrap()));
        }
        assert!(memory.answers.len() <= MAX_QUESTIONS && memory.elements <= MAX_ELEMENTS);
        assert!(memory.answers.contains_key(&(2 * MAX_QUESTIONS - 1).to_string()));
        memory.keep("large", &answer(MAX_ELEMENTS + 1, 0), at(0));
        assert!(!memory.answers.contains_key("large"));
        memory.keep("whole", &answer(MAX_ELEMENTS, 0), at(5_000));
        assert_eq!((memory.answers.len(), memory.elements), (1, MAX_ELEMENTS));
    }
}
