//! The head of an answer, and where its body ends (RFC 9112, section 6). Bytes in, facts out: no I/O.
//!
//! - [`read_head`]: a head, once it is there as a whole.
//! - [`Framing`]: what tells the end of the body, from head and request.
//! - [`chunk_size`]: the line before a chunk.
//!
//! Rule: where two headers disagree about the end of a body, the answer is refused, or its connection is not used
//! again: nobody can put an answer of his own behind another's.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Response, StatusCode, Version};

use crate::error::ExchangeError;

/// Headers of an answer; those of real servers have some ten.
const MAX_HEADERS: usize = 100;

/// What tells the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// Each chunk says how long it is.
    Chunked,
    /// The end of the connection.
    Close,
}

/// A head that came as a whole.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) response: Response<()>,
    /// Bytes that it has.
    pub(crate) len: usize,
}

/// Reads a head; none while it is not there as a whole.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<Head>, ExchangeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let len = match parsed.parse(bytes).map_err(ExchangeError::Head)? {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => return Ok(None),
    };
    let mut response = Response::new(());
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default());
    *response.status_mut() =
        status.map_err(|_invalid| ExchangeError::Framing("status is no number of three digits"))?;
    *response.version_mut() = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let pair = name.ok().zip(value.ok()).ok_or(ExchangeError::Framing("header is none"))?;
        response.headers_mut().append(pair.0, pair.1);
    }
    Ok(Some(Head { response, len }))
}

impl Framing {
    /// How the body of an answer ends, and whether the connection can be used again after it.
    pub(crate) fn of(method: &Method, response: &Response<()>) -> Result<(Self, bool), ExchangeError> {
        let headers = response.headers();
        let is_old = response.version() == Version::HTTP_10;
        let keeps = if is_old { has_token(headers, "keep-alive") } else { !has_token(headers, "close") };
        let status = response.status();
        if method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok((Self::Length(0), keeps));
        }
        let length = content_length(headers)?;
        if headers.contains_key(TRANSFER_ENCODING) {
            let mut codings = tokens(headers, &TRANSFER_ENCODING);
            let is_chunked = codings.next_back().is_some_and(|last| last.eq_ignore_ascii_case("chunked"));
            if codings.next().is_some() {
                return Err(ExchangeError::Framing("transfer coding that was not asked for"));
            }
            let framing = if is_chunked { Self::Chunked } else { Self::Close };
            return Ok((framing, keeps && is_chunked && length.is_none() && !is_old));
        }
        Ok(length.map_or((Self::Close, false), |length| (Self::Length(length), keeps)))
    }
}

/// The one length that the headers name.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ExchangeError> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for text in value.to_str().unwrap_or("-").split(',') {
            let text = text.trim();
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = text.parse::<u64>().ok().filter(|_| is_number);
            let length = length.ok_or(ExchangeError::Framing("`Content-Length` is no number"))?;
            if found.is_some_and(|other| other != length) {
                return Err(ExchangeError::Framing("two values of `Content-Length`"));
            }
            found = Some(length);
        }
    }
    Ok(found)
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, wanted: &str) -> bool {
    tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// The bytes of the chunk that this line begins; what stands behind a semicolon means nothing to us.
pub(crate) fn chunk_size(line: &[u8]) -> Result<u64, ExchangeError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    size.ok_or(ExchangeError::Framing("size of a chunk is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_body_is_told_by_its_head() {
        check(&Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Length(3), true)));
        check(&Method::GET, "HTTP/1.1 200\r\nContent-Length: 3, 3\r\n\r\n", Ok((Framing::Length(3), true)));
        check(
            &Method::GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: Close\r\n\r\n",
            Ok((Framing::Length(3), false)),
        );
        check(&Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok((Framing::Chunked, true)));
        check(&Method::GET, "HTTP/1.1 200 OK\r\n\r\n", Ok((Framing::Close, false)));
        check(&Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Length(0), true)));
        check(&Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", Ok((Framing::Length(0), true)));
        check(&Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Length(3), false)));
        let kept = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n";
        check(&Method::GET, kept, Ok((Framing::Length(3), true)));
    }

    #[test]
    fn heads_that_disagree_are_refused_or_end_their_connection() {
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&Method::GET, both, Ok((Framing::Chunked, false)));
        check(&Method::GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Ok((Framing::Chunked, false)));
        let two = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n";
        check(&Method::GET, two, Err("two values of `Content-Length`"));
        for length in ["", "x", "+3", "-1", "3 4", "99999999999999999999"] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            check(&Method::GET, &head, Err("`Content-Length` is no number"));
        }
        let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        check(&Method::GET, coded, Err("transfer coding that was not asked for"));
    }

    #[test]
    fn sizes_of_chunks_are_hexadecimal() {
        for (line, size) in [("0", 0), ("1F", 31), ("a;name=\"x\"", 10), (" 10 ", 16)] {
            assert_eq!(chunk_size(line.as_bytes()).unwrap(), size, "{line}");
        }
        for line in ["", "x", "-1", "+1", "0x1", "1 2", "11111111111111111"] {
            assert!(chunk_size(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[track_caller]
    fn check(method: &Method, head: &str, expected: Result<(Framing, bool), &str>) {
        let head = read_head(head.as_bytes()).unwrap().unwrap();
        let framing = Framing::of(method, &head.response).map_err(|error| error.to_string());
        assert_eq!(framing, expected.map_err(str::to_owned));
    }
}
