//! kube-apiserver asks for others, and names them in headers.
//!
//! Rule: without a certificate of its authority and of an allowed name, a header says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamodel::Clock;
use http::HeaderMap;
use metrics_api::{AuthError, Authenticator, BoxFuture, Credentials, User};

use super::authority::Authority;
use super::subject::Subject;
use crate::watched::Watched;

/// Groups and further values that a request may name; kube-apiserver names some ten.
const MAX_VALUES: usize = 1_000;

/// Which headers name the asker, each list in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderNames {
    /// `--requestheader-username-headers`
    pub user: Vec<String>,
    /// `--requestheader-uid-headers`
    pub uid: Vec<String>,
    /// `--requestheader-group-headers`
    pub group: Vec<String>,
    /// `--requestheader-extra-headers-prefix`
    pub extra_prefix: Vec<String>,
}

impl Default for HeaderNames {
    /// As upstream's flags.
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            user: one("x-remote-user"),
            uid: Vec::new(),
            group: one("x-remote-group"),
            extra_prefix: one("x-remote-extra-"),
        }
    }
}

/// Believes the headers of a front proxy.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    authority: Watched<Authority>,
    allowed_names: Vec<String>,
    headers: HeaderNames,
    clock: Arc<dyn Clock>,
}

impl FrontProxy {
    /// Trusts certificates of an authority with one of these common names; with any where none is given.
    #[must_use]
    pub fn new(
        authority: Watched<Authority>,
        allowed_names: Vec<String>,
        headers: HeaderNames,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { authority, allowed_names, headers, clock }
    }

    fn user(&self, credentials: &Credentials<'_>) -> Result<User, AuthError> {
        let refused = |reason: String| AuthError::Unauthenticated(format!("front proxy: {reason}"));
        let authority = self.authority.get();
        authority.check(credentials.certificates, self.clock.now()).map_err(|error| refused(error.to_string()))?;
        if !self.allowed_names.is_empty() {
            let subject = Subject::of(credentials.certificates);
            let subject = subject.ok_or_else(|| refused("the subject of its certificate cannot be read".to_owned()))?;
            if !self.allowed_names.contains(&subject.common_name) {
                return Err(refused(format!("`{}` is not one of the allowed names", subject.common_name)));
            }
        }
        let headers = credentials.headers;
        let name = single(headers, &self.headers.user).map_err(&refused)?;
        let name = name.ok_or_else(|| refused("no header names the user".to_owned()))?;
        let uid = single(headers, &self.headers.uid).map_err(&refused)?.unwrap_or_default();
        let groups: Vec<String> = self.headers.group.iter().flat_map(|header| values(headers, header)).collect();
        let extra = self.extra(headers);
        if groups.len() + extra.values().map(Vec::len).sum::<usize>() > MAX_VALUES {
            return Err(refused(format!("more than {MAX_VALUES} groups and further values")));
        }
        Ok(User { name, uid, groups, extra })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra = BTreeMap::new();
        for name in headers.keys() {
            // Names of headers are in small letters here.
            let key = self.headers.extra_prefix.iter().find_map(|prefix| {
                name.as_str().strip_prefix(prefix.to_ascii_lowercase().as_str()).filter(|key| !key.is_empty())
            });
            if let Some(key) = key {
                extra.insert(unescaped(key), values(headers, name.as_str()));
            }
        }
        extra
    }
}

impl Authenticator for FrontProxy {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        Box::pin(std::future::ready(self.user(&credentials)))
    }
}

/// The value of the first of the headers that is there; a header that comes twice is no answer.
fn single(headers: &HeaderMap, names: &[String]) -> Result<Option<String>, String> {
    for name in names {
        match values(headers, name).as_slice() {
            [] => {}
            [one] if one.is_empty() => {}
            [one] => return Ok(Some(one.clone())),
            _ => return Err(format!("the header `{name}` comes more than once")),
        }
    }
    Ok(None)
}

/// The values of a header; what is no text is left out.
fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
}

/// A key with its percent-encoding undone; as it stands where that is malformed.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match value {
            Some(value) => bytes.push(value),
            None => return key.to_owned(),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_not_utf8| key.to_owned())
}
