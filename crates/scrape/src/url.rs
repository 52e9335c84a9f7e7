//! The URL of a target, from its labels.
//!
//! Rule: what comes from labels is escaped, never trusted to be a URL already.

use std::fmt;
use std::fmt::Write as _;

use http::Uri;
use http_client::{Endpoint, Scheme};

use crate::error::ScrapeError;

/// Where a target is scraped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetUrl {
    https: bool,
    /// `host:port` as the label says it; the port may be absent.
    authority: String,
    /// Escaped path and query.
    path_and_query: String,
}

impl TargetUrl {
    /// Builds the URL; `params` are pairs of name and value, in order.
    ///
    /// # Errors
    ///
    /// The authority cannot stand in a URL.
    pub fn new<'a>(
        scheme: Scheme,
        authority: &str,
        path: &str,
        params: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ScrapeError> {
        let valid = !authority.is_empty()
            && authority.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\\"<>%".contains(&byte));
        if !valid {
            return Err(ScrapeError::Address(authority.to_owned()));
        }
        let mut path_and_query = String::new();
        if !path.starts_with('/') {
            path_and_query.push('/');
        }
        escape(&mut path_and_query, path, b"/$&+,:;=@-_.~!*'()%");
        for (index, (name, value)) in params.into_iter().enumerate() {
            path_and_query.push(if index == 0 { '?' } else { '&' });
            escape(&mut path_and_query, name, b"-_.~");
            path_and_query.push('=');
            escape(&mut path_and_query, value, b"-_.~");
        }
        Ok(Self { https: scheme == Scheme::Https, authority: authority.to_owned(), path_and_query })
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// `host` or `host:port`, as in the `Host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What stands in the request line.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The URL that is asked.
    ///
    /// # Errors
    ///
    /// The address has no host, or its port is no number.
    pub fn uri(&self) -> Result<Uri, ScrapeError> {
        let uri: Option<Uri> = self.to_string().parse().ok();
        let uri = uri.filter(|uri| Endpoint::of(uri).is_ok());
        uri.ok_or_else(|| ScrapeError::Address(self.authority.clone()))
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { Scheme::Https } else { Scheme::Http };
        write!(f, "{}://{}{}", scheme.as_str(), self.authority, self.path_and_query)
    }
}

fn escape(into: &mut String, text: &str, plain: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_escaped() {
        let check = |authority: &str, path: &str, params: &[(&str, &str)], expected: &str| {
            let url = TargetUrl::new(Scheme::Http, authority, path, params.iter().copied()).unwrap();
            assert_eq!(url.to_string(), expected);
        };
        check("a:1", "/metrics", &[], "http://a:1/metrics");
        check("a", "federate", &[("match[]", "{x=\"y z\"}")], "http://a/federate?match%5B%5D=%7Bx%3D%22y%20z%22%7D");
        check("[::1]:9", "/m?x#y z", &[("a", "1"), ("b", "é")], "http://[::1]:9/m%3Fx%23y%20z?a=1&b=%C3%A9");
    }

    #[test]
    fn addresses_split_into_host_and_port() {
        let check = |authority: &str, expected: Option<(&str, u16)>| {
            let url = TargetUrl::new(Scheme::Http, authority, "/", []);
            let endpoint = url.ok().and_then(|url| url.uri().ok()).map(|uri| Endpoint::of(&uri).unwrap());
            assert_eq!(endpoint.as_ref().map(|found| (found.host.as_str(), found.port)), expected, "{authority}");
        };
        check("a:1", Some(("a", 1)));
        check("a", Some(("a", 80)));
        check("[::1]:9", Some(("::1", 9)));
        check("[::1]", Some(("::1", 80)));
        check("::1", None);
        check("a:b", None);
        check("a:99999", None);
        check(":1", None);
        check("", None);
        check("a/b", None);
        check("u@a", None);
        check("a b", None);
        check("a\r\nX: y", None);
    }
}
