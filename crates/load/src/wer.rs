//! Word error rate: how far a transcript is from the text that was read.
//!
//! - [`normalize`]: a text to plain words, so that spelling that cannot be heard does not count.
//! - [`WordErrors`]: substitutions, insertions and deletions against the words that were read.
//!
//! Rule: pure; case, punctuation and the way numbers are written never count as errors.

use std::iter::Sum;
use std::ops::Add;

/// Errors of a transcript, and the words of the text that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordErrors {
    /// Least number of words to replace, insert or delete to come from one text to the other.
    pub errors: usize,
    /// Words in the text that was read.
    pub words: usize,
}

impl WordErrors {
    /// Compares a transcript with the text that was read; both are normalized first. Takes time
    /// proportional to the product of their lengths and memory to the transcript's.
    #[must_use]
    pub fn between(reference: &str, transcript: &str) -> Self {
        let reference = normalize(reference);
        let transcript = normalize(transcript);
        Self { errors: edit_distance(&reference, &transcript), words: reference.len() }
    }

    /// Errors per word; above 1 is possible. Zero errors of zero words are rate 0, and any errors of
    /// zero words are rate 1.
    #[must_use]
    pub fn rate(self) -> f64 {
        match (self.errors, self.words) {
            (0, 0) => 0.0,
            (_, 0) => 1.0,
            (errors, words) => errors as f64 / words as f64,
        }
    }
}

impl Add for WordErrors {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { errors: self.errors + other.errors, words: self.words + other.words }
    }
}

impl Sum for WordErrors {
    fn sum<I: Iterator<Item = Self>>(texts: I) -> Self {
        texts.fold(Self::default(), Add::add)
    }
}

/// The words of a text, in lower case, without punctuation, with numbers below a hundred and
/// English titles written out.
#[must_use]
pub fn normalize(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace(['\u{2019}', '\u{2018}'], "'");
    let mut words = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '\'') {
        let word = word.trim_matches('\'');
        match word {
            "" => {}
            "mr" => words.push("mister".to_owned()),
            "mrs" => words.push("missus".to_owned()),
            "dr" => words.push("doctor".to_owned()),
            _ => match word.parse::<usize>().ok().and_then(number_words) {
                Some(number) => words.extend(number.split(' ').map(str::to_owned)),
                None => words.push(word.to_owned()),
            },
        }
    }
    words
}

/// English words of a number below a hundred.
fn number_words(number: usize) -> Option<String> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    if let Some(small) = SMALL.get(number) {
        return Some((*small).to_owned());
    }
    let tens = TENS.get((number / 10).checked_sub(2)?)?;
    match (number % 10, SMALL.get(number % 10)) {
        (1.., Some(small)) => Some(format!("{tens} {small}")),
        _ => Some((*tens).to_owned()),
    }
}

/// Levenshtein's distance between two sequences.
fn edit_distance<T: PartialEq>(from: &[T], to: &[T]) -> usize {
    let mut distances: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut diagonal = row;
        let mut left = row + 1;
        if let Some(first) = distances.first_mut() {
            *first = left;
        }
        for (b, cell) in to.iter().zip(distances.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    distances.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spelling_that_cannot_be_heard_does_not_count() {
        check("He was not an ill-disposed young man.", "he was not an ill disposed young man", 0);
        check("Mr. John Dashwood", "and mister john dashwood", 1);
        check("the 10 of clubs", "the ten of clubs", 0);
        check("42, 20 and 0", "forty two twenty and zero", 0);
        check("don\u{2019}t", "don't", 0);
        check("it's 'quoted'", "it's quoted", 0);
    }

    #[test]
    fn each_kind_of_error_counts_once() {
        check("a b c d", "a x c d", 1);
        check("a b c d", "a c d", 1);
        check("a b c d", "a b b c d", 1);
        check("a b c d", "", 4);
        check("", "a b", 2);
        check("", "", 0);
    }

    #[test]
    fn the_rate_is_per_word_that_was_read() {
        let errors = WordErrors::between("a b c d", "a b c x y");
        assert_eq!(errors, WordErrors { errors: 2, words: 4 });
        assert!((errors.rate() - 0.5).abs() < 1e-12);
        assert!((WordErrors::between("", "x").rate() - 1.0).abs() < 1e-12);
        assert!(WordErrors::between("", "").rate().abs() < 1e-12);
        let sum: WordErrors = [errors, errors].into_iter().sum();
        assert_eq!(sum, WordErrors { errors: 4, words: 8 });
    }

    proptest! {
        #[test]
        fn the_distance_is_a_metric(
            a in proptest::collection::vec(0..4_u8, 0..12),
            b in proptest::collection::vec(0..4_u8, 0..12),
            c in proptest::collection::vec(0..4_u8, 0..12),
        ) {
            prop_assert_eq!(edit_distance(&a, &a), 0);
            prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
            prop_assert!(edit_distance(&a, &c) <= edit_distance(&a, &b) + edit_distance(&b, &c));
            prop_assert!(edit_distance(&a, &b) >= a.len().abs_diff(b.len()));
            prop_assert!(edit_distance(&a, &b) <= a.len().max(b.len()));
        }
    }

    fn check(reference: &str, transcript: &str, errors: usize) {
        assert_eq!(WordErrors::between(reference, transcript).errors, errors, "{reference:?} {transcript:?}");
    }
}
