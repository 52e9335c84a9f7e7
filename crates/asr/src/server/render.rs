//! Transcripts in the five formats of OpenAI's API.
//!
//! - [`render`]: a transcript as the body and its content type.
//!
//! Times are given in seconds to the millisecond; `usage` counts whole seconds begun, and `seek` is a
//! segment's start in the model's frames of 10 ms.
//!
//! Rule: a text cannot break its frame: line breaks and arrows in it are replaced in subtitles.

use serde::Serialize;

use super::form::ResponseFormat;
use super::languages;
use crate::{Segment, Transcript, Word};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A body and its content type.
pub(crate) fn render(transcript: &Transcript, format: ResponseFormat, with: Parts) -> (String, &'static str) {
    match format {
        ResponseFormat::Json => {
            let usage = Usage::of(transcript);
            (json(&Json { text: &transcript.text, usage }), JSON)
        }
        ResponseFormat::VerboseJson => (json(&VerboseJson::of(transcript, with)), JSON),
        ResponseFormat::Text => (format!("{}\n", transcript.text), TEXT),
        ResponseFormat::Srt => (srt(transcript), TEXT),
        ResponseFormat::Vtt => (vtt(transcript), "text/vtt; charset=utf-8"),
    }
}

/// Which lists `verbose_json` has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) words: bool,
    pub(crate) segments: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    text: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Usage {
    r#type: &'static str,
    seconds: u64,
}

impl Usage {
    fn of(transcript: &Transcript) -> Self {
        Self { r#type: "duration", seconds: whole(transcript.duration_seconds.ceil()) }
    }
}

#[derive(Serialize)]
struct VerboseJson<'a> {
    task: &'static str,
    language: &'a str,
    duration: f64,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<VerboseSegment<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<VerboseWord<'a>>>,
    usage: Usage,
}

impl<'a> VerboseJson<'a> {
    fn of(transcript: &'a Transcript, with: Parts) -> Self {
        Self {
            task: "transcribe",
            language: languages::name(&transcript.language),
            duration: to_ms(transcript.duration_seconds),
            text: &transcript.text,
            segments: with.segments.then(|| transcript.segments.iter().map(VerboseSegment::of).collect()),
            words: with.words.then(|| transcript.words.iter().map(VerboseWord::of).collect()),
            usage: Usage::of(transcript),
        }
    }
}

#[derive(Serialize)]
struct VerboseSegment<'a> {
    id: usize,
    seek: u64,
    start: f64,
    end: f64,
    text: &'a str,
    tokens: &'a [u32],
    temperature: f32,
    avg_logprob: f64,
    compression_ratio: f64,
    no_speech_prob: f64,
}

impl<'a> VerboseSegment<'a> {
    fn of(segment: &'a Segment) -> Self {
        Self {
            id: segment.id,
            seek: whole(segment.start_seconds * 100.0),
            start: to_ms(segment.start_seconds),
            end: to_ms(segment.end_seconds),
            text: &segment.text,
            tokens: &segment.tokens,
            temperature: segment.temperature,
            avg_logprob: segment.avg_logprob,
            compression_ratio: segment.compression_ratio,
            no_speech_prob: segment.no_speech_prob,
        }
    }
}

#[derive(Serialize)]
struct VerboseWord<'a> {
    word: &'a str,
    start: f64,
    end: f64,
}

impl<'a> VerboseWord<'a> {
    fn of(word: &'a Word) -> Self {
        Self { word: &word.word, start: to_ms(word.start_seconds), end: to_ms(word.end_seconds) }
    }
}

fn json(value: &impl Serialize) -> String {
    // Structs of numbers and texts: there is nothing that serde_json could refuse.
    serde_json::to_string(value).unwrap_or_default()
}

/// Without its fraction; zero where negative or no number.
#[expect(clippy::cast_sign_loss, reason = "the cast saturates at zero, as it should")]
fn whole(value: f64) -> u64 {
    value as u64
}

fn to_ms(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn srt(transcript: &Transcript) -> String {
    let mut text = String::new();
    for (index, segment) in transcript.segments.iter().enumerate() {
        let (start, end) = (Time(segment.start_seconds, ','), Time(segment.end_seconds, ','));
        text.push_str(&format!("{}\n{start} --> {end}\n{}\n\n", index + 1, one_line(&segment.text)));
    }
    text
}

fn vtt(transcript: &Transcript) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for segment in &transcript.segments {
        let (start, end) = (Time(segment.start_seconds, '.'), Time(segment.end_seconds, '.'));
        let line = one_line(&segment.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.push_str(&format!("{start} --> {end}\n{line}\n\n"));
    }
    text
}

fn one_line(text: &str) -> String {
    text.trim().replace("-->", "->").replace(['\r', '\n'], " ")
}

/// Seconds as `00:00:01,250`, with this sign before the milliseconds.
struct Time(f64, char);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = whole((self.0 * 1000.0).round());
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}{}{:03}", self.1, ms % 1000)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn json_has_text_and_usage() {
        check(
            ResponseFormat::Json,
            &expect![[r#"{"text":"Hello there. Second <b> & one.","usage":{"type":"duration","seconds":4}}"#]],
        );
    }

    #[test]
    fn text_is_the_text_and_a_line_break() {
        check(
            ResponseFormat::Text,
            &expect![[r#"
                Hello there. Second <b> & one.
            "#]],
        );
    }

    #[test]
    fn verbose_json_has_segments_and_words() {
        check(
            ResponseFormat::VerboseJson,
            &expect![[
                r#"{"task":"transcribe","language":"english","duration":3.75,"text":"Hello there. Second <b> & one.","segments":[{"id":0,"seek":0,"start":0.0,"end":1.25,"text":" Hello there.","tokens":[1,2],"temperature":0.0,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.125},{"id":1,"seek":125,"start":1.25,"end":3700.0,"text":" Second <b> &\n--> one.","tokens":[1,2],"temperature":0.0,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.125}],"words":[{"word":"Hello","start":0.1,"end":0.4}],"usage":{"type":"duration","seconds":4}}"#
            ]],
        );
    }

    #[test]
    fn subtitles_cannot_be_broken_by_their_text() {
        check(
            ResponseFormat::Srt,
            &expect![[r#"
                1
                00:00:00,000 --> 00:00:01,250
                Hello there.

                2
                00:00:01,250 --> 01:01:40,000
                Second <b> & -> one.

            "#]],
        );
        check(
            ResponseFormat::Vtt,
            &expect![[r#"
                WEBVTT

                00:00:00.000 --> 00:00:01.250
                Hello there.

                00:00:01.250 --> 01:01:40.000
                Second &lt;b&gt; &amp; -&gt; one.

            "#]],
        );
    }

    #[track_caller]
    fn check(format: ResponseFormat, expected: &Expect) {
        let segment = |id, start_seconds, end_seconds, text: &str| Segment {
            id,
            start_seconds,
            end_seconds,
            text: text.to_owned(),
            tokens: vec![1, 2],
            avg_logprob: -0.25,
            compression_ratio: 1.5,
            no_speech_prob: 0.125,
            temperature: 0.0,
        };
        let transcript = Transcript {
            text: "Hello there. Second <b> & one.".to_owned(),
            language: "en".to_owned(),
            duration_seconds: 3.75,
            segments: vec![segment(0, 0.0, 1.25, " Hello there."), segment(1, 1.25, 3700.0, " Second <b> &\n--> one.")],
            words: vec![Word { word: "Hello".to_owned(), start_seconds: 0.1, end_seconds: 0.4 }],
        };
        expected.assert_eq(&render(&transcript, format, Parts { words: true, segments: true }).0);
    }
}
