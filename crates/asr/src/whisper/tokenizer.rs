//! Whisper's tokens: byte-level byte-pair encoding, read from a `tokenizer.json`.
//!
//! - [`Tokenizer`]: tokens to text and text to tokens.
//! - [`SpecialTokens`]: the ones that steer the model.
//!
//! In this family of vocabularies a token's number is also its rank: of two possible merges the
//! one with the lower number came first in training. So encoding needs the vocabulary alone.
//!
//! Rule: decoding never fails; bytes that are no UTF-8 become U+FFFD.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::error::LoadError;

/// The multilingual file has 2.5 MB.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Seconds between two neighbouring timestamp tokens.
pub const TIMESTAMP_STEP_SECONDS: f64 = 0.02;

#[derive(Deserialize)]
struct File {
    added_tokens: Vec<AddedToken>,
    model: Vocabulary,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct Vocabulary {
    vocab: HashMap<String, u32>,
}

/// Tokens with a meaning instead of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|endoftext|>`: nothing follows.
    pub end: u32,
    /// `<|startoftranscript|>`.
    pub start: u32,
    /// `<|startofprev|>`: a prompt follows.
    pub previous: u32,
    /// `<|transcribe|>`.
    pub transcribe: u32,
    /// `<|nospeech|>`, in older files `<|nocaptions|>`.
    pub no_speech: u32,
    /// `<|notimestamps|>`.
    pub no_timestamps: u32,
    /// `<|0.00|>`; all later ones are timestamps, 20 ms apart.
    pub timestamp_begin: u32,
    /// The languages with their codes, in the order of their tokens; of an English-only model the
    /// tokens exist, but mean nothing.
    pub languages: Vec<(String, u32)>,
}

/// A vocabulary.
#[derive(Debug)]
pub struct Tokenizer {
    /// The bytes of each text token, empty for special ones.
    bytes: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, u32>,
    special: SpecialTokens,
}

impl Tokenizer {
    /// Reads `tokenizer.json` for a model with `vocabulary` tokens.
    ///
    /// # Errors
    /// [`LoadError::Read`], [`LoadError::Malformed`].
    pub fn load(path: &Path, vocabulary: usize) -> Result<Self, LoadError> {
        let file: File = super::read_json(path, MAX_FILE_BYTES)?;
        Self::from_file(&file, vocabulary).map_err(|reason| LoadError::Malformed { path: path.to_owned(), reason })
    }

    fn from_file(file: &File, vocabulary: usize) -> Result<Self, String> {
        let added: HashMap<&str, u32> =
            file.added_tokens.iter().map(|token| (token.content.as_str(), token.id)).collect();
        let special = special_tokens(&added, vocabulary)?;
        let alphabet = byte_alphabet();
        let mut bytes = vec![Box::<[u8]>::default(); vocabulary];
        let mut ids = HashMap::with_capacity(file.model.vocab.len());
        for (text, id) in &file.model.vocab {
            if added.contains_key(text.as_str()) {
                continue;
            }
            let slot = usize::try_from(*id).ok().and_then(|id| bytes.get_mut(id));
            let slot = slot.ok_or_else(|| format!("token {id} is not in the model"))?;
            let decoded: Option<Box<[u8]>> = text.chars().map(|c| alphabet.get(&c).copied()).collect();
            *slot = decoded.ok_or_else(|| format!("token `{text}` is not in byte-level form"))?;
            ids.insert(slot.clone(), *id);
        }
        if let Some(byte) = (0..=u8::MAX).find(|byte| !ids.contains_key([*byte].as_slice())) {
            return Err(format!("no token for the byte {byte}"));
        }
        Ok(Self { bytes, ids, special })
    }

    /// The tokens with a meaning.
    #[must_use]
    pub const fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: there are at least 256 tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes of a token; none for a special one. A character may be spread over tokens.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        usize::try_from(token).ok().and_then(|id| self.bytes.get(id)).map_or(&[], |bytes| bytes)
    }

    /// The text of the tokens, special ones left out.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| self.token_bytes(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The tokens of a text. Takes time proportional to the text's length (for ordinary text; a
    /// run of `n` characters without a space costs `n` squared, so long runs are cut).
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        for word in split_words(text) {
            for piece in word.as_bytes().chunks(MAX_MERGED_BYTES) {
                self.encode_word(piece, &mut tokens);
            }
        }
        tokens
    }

    /// Merges the neighbours whose token has the lowest number until no two neighbours have one.
    fn encode_word(&self, word: &[u8], tokens: &mut Vec<u32>) {
        // Ends of the current parts.
        let mut ends: Vec<usize> = (1..=word.len()).collect();
        loop {
            let mut best: Option<(u32, usize)> = None;
            for i in 0..ends.len().saturating_sub(1) {
                let begin = if i == 0 { 0 } else { ends.get(i - 1).copied().unwrap_or(0) };
                let end = ends.get(i + 1).copied().unwrap_or(begin);
                let id = word.get(begin..end).and_then(|pair| self.ids.get(pair));
                if let Some(id) = id
                    && best.is_none_or(|(lowest, _)| *id < lowest)
                {
                    best = Some((*id, i));
                }
            }
            let Some((_, at)) = best else { break };
            ends.remove(at);
        }
        let mut begin = 0;
        for end in ends {
            tokens.extend(word.get(begin..end).and_then(|part| self.ids.get(part)));
            begin = end;
        }
    }
}

/// Longest run that is merged at once; no token is longer than 130 bytes.
const MAX_MERGED_BYTES: usize = 256;

fn special_tokens(added: &HashMap<&str, u32>, vocabulary: usize) -> Result<SpecialTokens, String> {
    let find = |names: &[&str]| {
        let id = names.iter().find_map(|name| added.get(name)).copied();
        let id = id.filter(|id| usize::try_from(*id).is_ok_and(|id| id < vocabulary));
        id.ok_or_else(|| format!("no token `{}`", names.first().unwrap_or(&"")))
    };
    let start = find(&["<|startoftranscript|>"])?;
    let transcribe = find(&["<|transcribe|>"])?;
    let translate = find(&["<|translate|>"])?;
    let no_timestamps = find(&["<|notimestamps|>"])?;
    // The languages stand between the start and the first task.
    let first_task = transcribe.min(translate);
    let mut languages: Vec<(String, u32)> = added
        .iter()
        .filter(|(_, id)| **id > start && **id < first_task)
        .filter_map(|(content, id)| {
            let code = content.strip_prefix("<|")?.strip_suffix("|>")?;
            Some((code.to_owned(), *id))
        })
        .collect();
    languages.sort_by_key(|(_, id)| *id);
    Ok(SpecialTokens {
        end: find(&["<|endoftext|>"])?,
        start,
        previous: find(&["<|startofprev|>"])?,
        transcribe,
        no_speech: find(&["<|nospeech|>", "<|nocaptions|>"])?,
        no_timestamps,
        timestamp_begin: no_timestamps + 1,
        languages,
    })
}

/// The printable stand-ins of byte-level vocabularies: bytes that print stand for themselves, the
/// other 68 for the characters from U+0100 on.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut next = 0x100_u32;
    (0..=u8::MAX)
        .filter_map(|byte| {
            let prints = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let stand_in = if prints {
                char::from(byte)
            } else {
                next += 1;
                char::from_u32(next - 1)?
            };
            Some((stand_in, byte))
        })
        .collect()
}

/// Cuts a text as the vocabulary's training did: contractions, words, numbers and marks with the
/// space before them, and runs of spaces without their last one.
fn split_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (word, after) = rest.split_at(word_length(rest, first).min(rest.len()));
        words.push(word);
        rest = after;
    }
    words
}

fn word_length(rest: &str, first: char) -> usize {
    for contraction in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
        if rest.starts_with(contraction) {
            return contraction.len();
        }
    }
    let mut body = rest.chars();
    let mut begin = 0;
    if first == ' ' {
        body.next();
        begin = 1;
    }
    let class = match body.next() {
        Some(c) if !c.is_whitespace() => Class::of(c),
        // A run of white space; the last space belongs to the word behind it.
        _ => {
            let run: usize = rest.chars().take_while(|c| c.is_whitespace()).map(char::len_utf8).sum();
            let last = rest.get(..run).and_then(|run| run.chars().next_back());
            let last = last.map_or(0, char::len_utf8);
            return if run < rest.len() && run > last { run - last } else { run };
        }
    };
    let tail = rest.get(begin..).unwrap_or_default();
    let length: usize =
        tail.chars().take_while(|c| !c.is_whitespace() && Class::of(*c) == class).map(char::len_utf8).sum();
    begin + length
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Mark,
}

impl Class {
    fn of(c: char) -> Self {
        if c.is_alphabetic() {
            Self::Letter
        } else if c.is_numeric() {
            Self::Number
        } else {
            Self::Mark
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_as_in_training() {
        check("Hello world, it's 10 o'clock!", "Hello| world|,| it|'s| 10| o|'|clock|!");
        check("a   b", "a|  | b");
        check("a \n", "a| \n");
        check("a\nb", "a|\n|b");
        check("  x", " | x");
        check("we'll they're", "we|'ll| they|'re");
        check("", "");
        check("äöü 東京", "äöü| 東京");
    }

    #[test]
    fn merges_follow_the_rank() {
        let tokenizer = tokenizer(&["ab", "bc", "abc"]);
        // `ab` (256) comes before `bc` (257), and then `abc`.
        assert_eq!(tokenizer.encode("abc"), [258]);
        assert_eq!(tokenizer.encode("bcab"), [257, 256]);
        assert_eq!(tokenizer.encode("xbc"), [u32::from(b'x'), 257]);
        assert_eq!(tokenizer.decode(&[258, 257]), "abcbc");
    }

    #[test]
    fn special_tokens_have_no_text() {
        let tokenizer = tokenizer(&[]);
        let special = tokenizer.special();
        assert_eq!(special.languages, [("en".to_owned(), 258), ("de".to_owned(), 259)]);
        assert_eq!(special.timestamp_begin, 265);
        assert_eq!(tokenizer.decode(&[special.start, u32::from(b'a'), 270, 999]), "a");
    }

    #[test]
    fn broken_characters_are_replaced() {
        assert_eq!(tokenizer(&[]).decode(&[0xE2, 0x82]), "\u{FFFD}");
        assert_eq!(tokenizer(&[]).decode(&[0xE2, 0x82, 0xAC]), "€");
    }

    #[test]
    fn a_vocabulary_outside_the_model_is_refused() {
        let error = Tokenizer::from_file(&file(&[]), 200).err();
        assert_eq!(error.as_deref(), Some("no token `<|startoftranscript|>`"));
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(split_words(text).join("|"), expected);
    }

    fn tokenizer(merged: &[&str]) -> Tokenizer {
        Tokenizer::from_file(&file(merged), 300).unwrap()
    }

    /// Bytes, then the merged words, then special tokens from 256 + 1 (or behind the words) on.
    fn file(merged: &[&str]) -> File {
        let mut vocab: HashMap<String, u32> =
            byte_alphabet().into_iter().map(|(c, byte)| (c.to_string(), byte.into())).collect();
        for (id, word) in (256..).zip(merged) {
            vocab.insert((*word).to_owned(), id);
        }
        let first = 256 + merged.len() as u32;
        let names = [
            "<|endoftext|>",
            "<|startoftranscript|>",
            "<|en|>",
            "<|de|>",
            "<|translate|>",
            "<|transcribe|>",
            "<|startofprev|>",
            "<|nocaptions|>",
            "<|notimestamps|>",
        ];
        let added_tokens =
            (first..).zip(names).map(|(id, content)| AddedToken { id, content: content.to_owned() }).collect();
        File { added_tokens, model: Vocabulary { vocab } }
    }
}
