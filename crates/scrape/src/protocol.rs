//! Exposition formats as a scrape asks for them.
//!
//! - [`ScrapeProtocol`]: a format by its name in configuration files.
//! - [`NameValidation`], [`NameEscaping`]: which names are taken, and how targets spell the others.
//! - [`accept_header`]: what is asked for, in order of preference.
//!
//! Rule: what is asked for can be read.

use datamodel::exposition::{Format, PageFormat};
use http::HeaderValue;

/// A format that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// Protobuf, delimited.
    PrometheusProto,
    /// Prometheus text format 0.0.4.
    PrometheusText004,
    /// Prometheus text format 1.0.0: 0.0.4 with quoted names.
    PrometheusText100,
    /// OpenMetrics 0.0.1.
    OpenMetricsText001,
    /// OpenMetrics 1.0.0.
    OpenMetricsText100,
}

impl ScrapeProtocol {
    /// All of them, by their names in configuration files.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("PrometheusProto", Self::PrometheusProto),
        ("OpenMetricsText1.0.0", Self::OpenMetricsText100),
        ("OpenMetricsText0.0.1", Self::OpenMetricsText001),
        ("PrometheusText1.0.0", Self::PrometheusText100),
        ("PrometheusText0.0.4", Self::PrometheusText004),
    ];

    /// What is asked for where nothing else is configured. Native histograms come by protobuf only: where they are
    /// scraped, it is asked for before these.
    pub const DEFAULT: [Self; 4] =
        [Self::OpenMetricsText100, Self::OpenMetricsText001, Self::PrometheusText100, Self::PrometheusText004];

    const fn media_type(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::PrometheusText004 => "text/plain;version=0.0.4",
            Self::PrometheusText100 => "text/plain;version=1.0.0",
            Self::OpenMetricsText001 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText100 => "application/openmetrics-text;version=1.0.0",
        }
    }

    /// What reads it.
    #[must_use]
    pub const fn format(self) -> PageFormat {
        match self {
            Self::PrometheusProto => PageFormat::Protobuf,
            Self::PrometheusText004 | Self::PrometheusText100 => PageFormat::Text(Format::PrometheusText004),
            Self::OpenMetricsText001 | Self::OpenMetricsText100 => PageFormat::Text(Format::OpenMetrics100),
        }
    }
}

/// Which names of metrics and labels are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameValidation {
    /// Any UTF-8.
    #[default]
    Utf8,
    /// Letters, digits, underscores, and colons in names of metrics.
    Legacy,
}

/// How a target should spell names that are not of the old form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameEscaping {
    /// As they are.
    #[default]
    AllowUtf8,
    /// With underscores for what is not allowed.
    Underscores,
    /// With `_dot_` for dots, and underscores for the rest.
    Dots,
    /// With `U__` and the code points.
    Values,
}

impl NameEscaping {
    /// All of them, by their names in configuration files and headers.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("allow-utf-8", Self::AllowUtf8),
        ("underscores", Self::Underscores),
        ("dots", Self::Dots),
        ("values", Self::Values),
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// The `Accept` header of a scrape, weighted as upstream does: 0.6 for the first, 0.1 less for each that
/// follows, and anything at all as a last resort.
pub(crate) fn accept_header(protocols: &[ScrapeProtocol], escaping: NameEscaping) -> HeaderValue {
    let mut weight = ScrapeProtocol::NAMES.len() + 1;
    let mut parts = Vec::with_capacity(protocols.len() + 1);
    for protocol in protocols {
        let versioned = matches!(
            protocol,
            ScrapeProtocol::PrometheusProto | ScrapeProtocol::PrometheusText100 | ScrapeProtocol::OpenMetricsText100
        );
        let escaping = if versioned { format!(";escaping={}", escaping.as_str()) } else { String::new() };
        parts.push(format!("{}{escaping};q=0.{weight}", protocol.media_type()));
        weight = weight.saturating_sub(1);
    }
    parts.push(format!("*/*;q=0.{weight}"));
    // Made of the texts above only, all of them fit for a header.
    HeaderValue::from_str(&parts.join(",")).unwrap_or_else(|_invalid| HeaderValue::from_static("*/*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_asked_for_in_their_order() {
        let header = accept_header(&ScrapeProtocol::DEFAULT, NameEscaping::AllowUtf8);
        assert_eq!(
            header.to_str().unwrap(),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        let header = accept_header(&[ScrapeProtocol::PrometheusProto], NameEscaping::Dots);
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        assert_eq!(header.to_str().unwrap(), format!("{protobuf};escaping=dots;q=0.6,*/*;q=0.5"));
        let header = accept_header(&[ScrapeProtocol::PrometheusText004], NameEscaping::Dots);
        assert_eq!(header.to_str().unwrap(), "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
    }
}
