//! The multipart form of `POST /v1/audio/transcriptions`, read as a stream with every part bounded.
//!
//! - [`Form`]: the checked request; [`read`]: from the body to it.
//! - [`ResponseFormat`]: how the client wants its answer.
//!
//! Fields are those of OpenAI's clients. Known ones that this server cannot serve (`stream=true`,
//! `include[]`, speakers) are refused by name; unknown ones are refused as OpenAI refuses them, so that
//! a misspelt field never passes unnoticed.
//!
//! Rule: nothing of a body is kept that is not on the upload account.

use std::fmt;

use axum::body::BodyDataStream;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::admission::Reservation;
use super::error::{ApiError, RejectReason, shortened};
use super::languages;
use crate::{AudioInput, ModelInfo, TranscribeError, TranscribeOptions};

/// Longest text field. The longest that makes sense is a prompt of 223 tokens.
const MAX_FIELD_BYTES: u64 = 16 * 1024;

/// Boundaries, headers and text fields beside the file.
pub(super) const MAX_FORM_OVERHEAD_BYTES: u64 = 256 * 1024;

/// The API knows 14 fields, one of which may be repeated.
const MAX_FIELDS: usize = 64;

/// No file system has longer names.
const MAX_FILE_NAME_BYTES: usize = 255;

/// How the client wants its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ResponseFormat {
    #[default]
    Json,
    Text,
    VerboseJson,
    Srt,
    Vtt,
}

/// A request as the server can serve it.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) audio: AudioInput,
    pub(crate) options: TranscribeOptions,
    pub(crate) format: ResponseFormat,
    /// `verbose_json` with segments (its default).
    pub(crate) segments: bool,
}

/// Why there is no [`Form`].
#[derive(Debug)]
pub(crate) enum FormError {
    /// The client is told.
    Rejected(RejectReason, ApiError),
    /// The client has gone.
    HungUp,
}

impl From<ApiError> for FormError {
    fn from(error: ApiError) -> Self {
        Self::Rejected(RejectReason::InvalidRequest, error)
    }
}

/// What the loaded model answers to.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    pub(crate) model: &'a ModelInfo,
    pub(crate) aliases: &'a [String],
    pub(crate) max_upload_bytes: u64,
}

impl Served<'_> {
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        name == self.model.id || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Reads a form and checks it.
pub(crate) async fn read(
    body: &mut BodyDataStream,
    boundary: String,
    served: &Served<'_>,
    upload: &Reservation,
) -> Result<Form, FormError> {
    let metered = body.map(|frame| {
        let bytes = frame.map_err(|source| UploadStopped::Read { source })?;
        if upload.grow(bytes.len() as u64) { Ok(bytes) } else { Err(UploadStopped::Memory) }
    });
    let limits = SizeLimit::new()
        .whole_stream(served.max_upload_bytes.saturating_add(MAX_FORM_OVERHEAD_BYTES))
        .per_field(MAX_FIELD_BYTES)
        .for_field("file", served.max_upload_bytes);
    let constraints = Constraints::new().size_limit(limits);
    let mut multipart = Multipart::with_constraints(metered, boundary, constraints);
    let mut raw = RawForm::default();
    let failed = |error| multipart_error(&error, served.max_upload_bytes);
    for _ in 0..MAX_FIELDS {
        match multipart.next_field().await.map_err(failed)? {
            None => return raw.check(served),
            Some(field) => raw.take(field, served.max_upload_bytes).await?,
        }
    }
    Err(ApiError::malformed(format!("the form has more than {MAX_FIELDS} fields")).into())
}

/// Why the body's stream ended early.
#[derive(Debug)]
enum UploadStopped {
    Read { source: axum::Error },
    Memory,
}

impl fmt::Display for UploadStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read { .. } => "cannot read the request body",
            Self::Memory => "no memory for the request body",
        })
    }
}

impl std::error::Error for UploadStopped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source } => Some(source),
            Self::Memory => None,
        }
    }
}

fn multipart_error(error: &multer::Error, max_upload_bytes: u64) -> FormError {
    match error {
        multer::Error::StreamReadFailed(source) => match source.downcast_ref() {
            Some(UploadStopped::Memory) => FormError::Rejected(RejectReason::UploadMemory, ApiError::upload_memory()),
            Some(UploadStopped::Read { .. }) | None => FormError::HungUp,
        },
        multer::Error::StreamSizeExceeded { .. } => too_large(max_upload_bytes),
        multer::Error::FieldSizeExceeded { field_name, limit } => match field_name.as_deref() {
            Some("file") => too_large(max_upload_bytes),
            name => {
                let message = format!("the field is longer than {limit} bytes");
                ApiError::invalid(shortened(name.unwrap_or_default()).into_owned(), "value_too_long", message).into()
            }
        },
        other => ApiError::malformed(format!("cannot read the form: {other}")).into(),
    }
}

fn too_large(max_upload_bytes: u64) -> FormError {
    FormError::Rejected(RejectReason::TooLarge, ApiError::too_large(max_upload_bytes))
}

/// The fields as they came.
#[derive(Debug, Default)]
struct RawForm {
    file: Option<(Bytes, Option<String>)>,
    model: Option<String>,
    language: Option<String>,
    prompt: Option<String>,
    response_format: Option<String>,
    temperature: Option<String>,
    stream: Option<String>,
    chunking_strategy: Option<String>,
    granularities: Vec<String>,
}

/// Fields of OpenAI's API which only other models than Whisper serve.
const UNSUPPORTED: [&str; 5] =
    ["include[]", "include", "known_speaker_names[]", "known_speaker_references[]", "known_speaker_names"];

impl RawForm {
    async fn take(&mut self, field: Field<'_>, max_upload_bytes: u64) -> Result<(), FormError> {
        let Some(name) = field.name().map(str::to_owned) else {
            return Err(ApiError::malformed("a part of the form has no name".to_owned()).into());
        };
        let slot = match name.as_str() {
            "file" => return self.take_file(field, max_upload_bytes).await,
            "timestamp_granularities[]" | "timestamp_granularities" => {
                let value = text(field, &name, max_upload_bytes).await?;
                self.granularities.push(value);
                return Ok(());
            }
            "model" => &mut self.model,
            "language" => &mut self.language,
            "prompt" => &mut self.prompt,
            "response_format" => &mut self.response_format,
            "temperature" => &mut self.temperature,
            "stream" => &mut self.stream,
            "chunking_strategy" => &mut self.chunking_strategy,
            _ => {
                let shown = shortened(&name).into_owned();
                let (code, what) = if UNSUPPORTED.contains(&name.as_str()) {
                    ("unsupported_parameter", "is not supported by this server")
                } else {
                    ("unknown_parameter", "is unknown")
                };
                let message = format!("parameter `{shown}` {what}");
                return Err(ApiError::invalid(shown, code, message).into());
            }
        };
        if slot.is_some() {
            return Err(given_twice(name));
        }
        *slot = Some(text(field, &name, max_upload_bytes).await?);
        Ok(())
    }

    async fn take_file(&mut self, mut field: Field<'_>, max_upload_bytes: u64) -> Result<(), FormError> {
        if self.file.is_some() {
            return Err(given_twice("file".to_owned()));
        }
        let short = |name: &&str| name.len() <= MAX_FILE_NAME_BYTES;
        let name = field.file_name().filter(short).map(str::to_owned);
        let mut bytes = BytesMut::new();
        let failed = |error| multipart_error(&error, max_upload_bytes);
        while let Some(chunk) = field.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
        }
        self.file = Some((bytes.freeze(), name));
        Ok(())
    }

    fn check(self, served: &Served<'_>) -> Result<Form, FormError> {
        let missing = |name: &'static str| {
            ApiError::invalid(name, "missing_required_parameter", format!("you must provide a `{name}` parameter"))
        };
        let (encoded, file_name) = self.file.ok_or_else(|| missing("file"))?;
        let model = self.model.ok_or_else(|| missing("model"))?;
        if !served.answers_to(&model) {
            return Err(FormError::Rejected(RejectReason::UnknownModel, ApiError::unknown_model(&model)));
        }
        if encoded.is_empty() {
            return Err(ApiError::transcribe(&TranscribeError::Empty).into());
        }
        refuse_streaming(self.stream.as_deref())?;
        if let Some(strategy) = self.chunking_strategy.filter(|strategy| strategy != "auto") {
            return Err(
                unsupported("chunking_strategy", &strategy, "this server cuts by itself, as `auto` says").into()
            );
        }
        let format = response_format(self.response_format.as_deref())?;
        let (words, segments) = granularities(&self.granularities, format)?;
        let subtitles = matches!(format, ResponseFormat::Srt | ResponseFormat::Vtt);
        let options = TranscribeOptions {
            language: language(self.language.as_deref(), served.model)?,
            prompt: self.prompt.filter(|prompt| !prompt.trim().is_empty()),
            temperature: temperature(self.temperature.as_deref())?,
            word_timestamps: words,
            segment_timestamps: segments || subtitles,
            ..TranscribeOptions::default()
        };
        Ok(Form { audio: AudioInput { encoded, file_name }, options, format, segments })
    }
}

async fn text(field: Field<'_>, name: &str, max_upload_bytes: u64) -> Result<String, FormError> {
    let bytes = field.bytes().await.map_err(|error| multipart_error(&error, max_upload_bytes))?;
    String::from_utf8(bytes.into()).map_err(|_not_utf8| {
        let message = "the value is not UTF-8".to_owned();
        ApiError::invalid(shortened(name).into_owned(), "invalid_value", message).into()
    })
}

fn given_twice(name: String) -> FormError {
    let message = format!("parameter `{name}` is given twice");
    ApiError::invalid(name, "duplicate_parameter", message).into()
}

fn unsupported(name: &'static str, value: &str, why: &str) -> ApiError {
    let message = format!("`{name}={}` is not supported: {why}", shortened(value));
    ApiError::invalid(name, "unsupported_value", message)
}

fn invalid_value(name: &'static str, value: &str, expected: &str) -> ApiError {
    let message = format!("invalid `{name}`: `{}` (expected {expected})", shortened(value));
    ApiError::invalid(name, "invalid_value", message)
}

fn refuse_streaming(stream: Option<&str>) -> Result<(), ApiError> {
    match stream.map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0" | "") => Ok(()),
        Some("true" | "1") => Err(unsupported("stream", "true", "the transcript comes in one piece")),
        Some(other) => Err(invalid_value("stream", other, "`true` or `false`")),
    }
}

fn response_format(value: Option<&str>) -> Result<ResponseFormat, ApiError> {
    Ok(match value {
        None | Some("json") => ResponseFormat::Json,
        Some("text") => ResponseFormat::Text,
        Some("verbose_json") => ResponseFormat::VerboseJson,
        Some("srt") => ResponseFormat::Srt,
        Some("vtt") => ResponseFormat::Vtt,
        Some("diarized_json") => {
            return Err(unsupported("response_format", "diarized_json", "the model does not tell speakers apart"));
        }
        Some(other) => {
            return Err(invalid_value("response_format", other, "`json`, `text`, `srt`, `verbose_json` or `vtt`"));
        }
    })
}

/// Whether words, and whether segments, are asked for.
fn granularities(given: &[String], format: ResponseFormat) -> Result<(bool, bool), ApiError> {
    const NAME: &str = "timestamp_granularities[]";
    let verbose = format == ResponseFormat::VerboseJson;
    if given.is_empty() {
        return Ok((false, verbose));
    }
    if let Some(other) = given.iter().find(|value| !matches!(value.as_str(), "word" | "segment")) {
        return Err(invalid_value(NAME, other, "`word` or `segment`"));
    }
    if !verbose {
        let message = format!("`{NAME}` needs `response_format=verbose_json`");
        return Err(ApiError::invalid(NAME, "invalid_value", message));
    }
    let asked = |name: &str| given.iter().any(|value| value == name);
    Ok((asked("word"), asked("segment")))
}

fn temperature(value: Option<&str>) -> Result<f32, ApiError> {
    let Some(value) = value else { return Ok(0.0) };
    let parsed = value.trim().parse().ok().filter(|temperature| (0.0..=1.0).contains(temperature));
    parsed.ok_or_else(|| invalid_value("temperature", value, "a number from 0 to 1"))
}

fn language(value: Option<&str>, model: &ModelInfo) -> Result<Option<String>, ApiError> {
    let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else { return Ok(None) };
    let lower = value.to_lowercase();
    let code = languages::code(&lower).unwrap_or(&lower);
    if model.languages.contains(code) {
        return Ok(Some(code.to_owned()));
    }
    let language = shortened(value).into_owned();
    Err(ApiError::transcribe(&TranscribeError::UnsupportedLanguage { language }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;
    use crate::Languages;
    use crate::server::admission::UploadBudget;

    const PIECES: [&str; 12] = [
        "--xyz\r\n",
        "--xyz--\r\n",
        "\r\n",
        "\r\n\r\n",
        "content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n",
        "content-disposition: form-data; name=\"model\"\r\n\r\ntiny.en\r\n",
        "content-disposition: form-data; name=\"stream\"\r\n\r\nfalse\r\n",
        "content-disposition: form-data; name=\"\u{e9}\u{0}\"\r\n",
        "content-disposition: form-data\r\n",
        "content-type: audio/wav; charset=utf-8\r\n",
        "content-length: 99999999999999999999\r\n",
        "x",
    ];

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => proptest::sample::select(PIECES.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..700),
        ]
    }

    proptest! {
        #[test]
        fn any_body_is_a_form_or_an_error_and_within_its_bounds(pieces in proptest::collection::vec(piece(), 0..30)) {
            let model = ModelInfo {
                id: "tiny.en".to_owned(),
                device: "cpu".to_owned(),
                load_seconds: 0.0,
                languages: Languages::English,
            };
            let served = Served { model: &model, aliases: &[], max_upload_bytes: 500 };
            let budget = UploadBudget::new(5000);
            let upload = budget.open();
            let mut body = Body::from(pieces.concat()).into_data_stream();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let form = runtime.block_on(read(&mut body, "xyz".to_owned(), &served, &upload));
            match form {
                Ok(form) => prop_assert!((1..=500).contains(&form.audio.encoded.len())),
                Err(FormError::Rejected(_, error)) => prop_assert!(error.status.is_client_error()),
                Err(FormError::HungUp) => prop_assert!(false, "the whole body was there"),
            }
        }
    }
}
