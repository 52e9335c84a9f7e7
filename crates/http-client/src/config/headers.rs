//! `http_headers`: headers of each request, beside those that the client sets.
//!
//! Rule: a header that the client sets itself is refused.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::HeaderName;
use yaml::decoders::{list, string};
use yaml::{Fields, Node, Report};

use super::{Secret, SecretSource};

/// Headers that the client sets, or that belong to the connection.
const RESERVED: [&str; 15] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
];

/// One header with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderConfig {
    /// The name.
    pub name: HeaderName,
    /// The values, each sent in a line of its own.
    pub values: Vec<SecretSource>,
}

impl HeaderConfig {
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.values.iter().filter_map(SecretSource::file)
    }
}

pub(super) fn headers(fields: &mut Fields<'_, '_>, directory: &Path) -> Vec<HeaderConfig> {
    fields
        .optional("http_headers", |node, report| {
            let Some(entries) = node.as_mapping() else {
                report.expected(node, "a mapping");
                return None;
            };
            let header = |entry: &yaml::Entry, report: &mut Report| {
                let name = name(&entry.key.text).map_err(|reason| report.error_at(entry.key.position, reason)).ok();
                let values = values(&entry.value, report, directory);
                Some(HeaderConfig { name: name?, values: values? })
            };
            let headers: Vec<Option<HeaderConfig>> = entries
                .iter()
                .map(|entry| report.within_key(&entry.key.text, |report| header(entry, report)))
                .collect();
            headers.into_iter().collect()
        })
        .unwrap_or_default()
}

/// The name of a header that may be set.
pub(super) fn name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_str(text).map_err(|_invalid| format!("not a valid header name: `{text}`"))?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("x-amz-") {
        return Err(format!("header is set by the client itself: `{name}`"));
    }
    Ok(name)
}

fn values(node: &Node, report: &mut Report, directory: &Path) -> Option<Vec<SecretSource>> {
    yaml::mapping(node, report, |fields| {
        let inline = |text: String| SecretSource::Inline(Secret::new(text));
        let plain = fields.optional("values", list(string)).unwrap_or_default();
        let secrets = fields.optional("secrets", list(string)).unwrap_or_default();
        let files = fields.optional("files", list(string)).unwrap_or_default();
        let files = files.into_iter().map(|path| SecretSource::File(directory.join(path)));
        Some(plain.into_iter().chain(secrets).map(inline).chain(files).collect())
    })
}
