//! The base URL of an API.
//!
//! Rule: what is appended is escaped, so that a name cannot become another path.

use std::fmt;
use std::fmt::Write as _;

/// Why a text is no base URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL `{url}`: {reason}")]
pub struct UrlError {
    /// The text, without a password in it.
    pub url: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// Where an API lies: scheme, address, and the path before `/api/v1`.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    pub(crate) is_https: bool,
    /// Host and port, as in the `Host` header.
    pub(crate) authority: String,
    /// Without a slash at its end.
    pub(crate) path: String,
    /// Name and password, where the URL has them.
    pub(crate) user: Option<(String, String)>,
}

impl BaseUrl {
    /// Reads `http://` and `https://` URLs; a missing scheme is an error, not a guess.
    ///
    /// # Errors
    ///
    /// Another scheme, no host, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
        let invalid = |reason| UrlError { url: shown.clone(), reason };
        let (is_https, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(invalid("expected http:// or https://")),
        };
        if rest.contains(['?', '#']) {
            return Err(invalid("a query is not supported"));
        }
        let (address, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, authority) = match address.rsplit_once('@') {
            Some((user, authority)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((unescape(name), unescape(password))), authority)
            }
            None => (None, address),
        };
        let printable = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>".contains(&byte));
        if !printable(authority) || !printable(path) {
            return Err(invalid("it has a character that must be escaped"));
        }
        let host = host(authority).ok_or_else(|| invalid("the port is no number"))?;
        if host.is_empty() {
            return Err(invalid("it has no host"));
        }
        Ok(Self { is_https, authority: authority.to_owned(), path: path.trim_end_matches('/').to_owned(), user })
    }
}

impl fmt::Display for BaseUrl {
    /// Without name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_https { "https" } else { "http" }, self.authority, self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host of `host`, `host:port`, `[address]:port`; none where the port is no number.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    match port {
        None | Some("") => Some(host),
        Some(port) => port.parse::<u16>().ok().map(|_port| host),
    }
}

/// Appends a part of a path or a query, escaped.
pub(crate) fn escape(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            _ = write!(into, "%{byte:02X}");
        }
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let mut ahead = rest.clone();
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                bytes.push((high * 16 + low) as u8);
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let check = |text: &str, authority: &str, path: &str| {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!((url.authority.as_str(), url.path.as_str()), (authority, path), "{text}");
        };
        check("http://a", "a", "");
        check("https://a/", "a", "");
        check("http://a:9090/prom/", "a:9090", "/prom");
        check("http://[::1]:9090", "[::1]:9090", "");
        let url = BaseUrl::parse("https://u%40x:p%3Aq@a:1/x").unwrap();
        assert_eq!(url.user, Some(("u@x".to_owned(), "p:q".to_owned())));
        assert_eq!(url.to_string(), "https://a:1/x");
    }

    #[test]
    fn what_is_no_base_url_is_refused_without_its_password() {
        let check = |text: &str, expected: &str| {
            assert_eq!(BaseUrl::parse(text).unwrap_err().to_string(), expected);
        };
        check("a:9090", "invalid URL `a:9090`: expected http:// or https://");
        check("ftp://a", "invalid URL `ftp://a`: expected http:// or https://");
        check("http://", "invalid URL `http://`: it has no host");
        check("http://a:b", "invalid URL `http://a:b`: the port is no number");
        check("http://a?x=1", "invalid URL `http://a?x=1`: a query is not supported");
        check("http://u:secret@a b", "invalid URL `…@a b`: it has a character that must be escaped");
    }
}
