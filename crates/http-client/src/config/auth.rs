//! Who the client says it is: `basic_auth`, `authorization`, `bearer_token`, `oauth2`.
//!
//! Rule: at most one way for a client.

use std::path::{Path, PathBuf};

use http::Uri;
use yaml::decoders::{list, map, string};
use yaml::{Fields, Node, Report};

use super::{ProxyConfig, SecretSource, TlsConfig, at_most_one, proxy, secret, text, tls};

/// One way to say who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthConfig {
    /// User name and password.
    Basic(BasicAuth),
    /// A fixed `Authorization` header.
    Authorization(Authorization),
    /// A token that a server gives for an identity.
    OAuth2(Box<OAuth2Config>),
}

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user name; empty where none is set.
    pub username: Option<SecretSource>,
    /// The password; empty where none is set.
    pub password: Option<SecretSource>,
}

/// An `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The scheme: `Bearer`, unless it is set.
    pub scheme: String,
    /// What follows it; without it no header is sent.
    pub credentials: Option<SecretSource>,
}

/// The OAuth 2.0 grant `client_credentials`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Config {
    /// The identity.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Option<SecretSource>,
    /// What the token should allow.
    pub scopes: Vec<String>,
    /// Who gives the token.
    pub token_url: Uri,
    /// More parameters of the request for a token.
    pub endpoint_params: Vec<(String, String)>,
    /// How the server of tokens is checked.
    pub tls: TlsConfig,
    /// What stands between client and the server of tokens.
    pub proxy: ProxyConfig,
}

impl AuthConfig {
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let (secrets, mut files) = match self {
            Self::Basic(basic) => ([basic.username.as_ref(), basic.password.as_ref()], Vec::new()),
            Self::Authorization(authorization) => ([authorization.credentials.as_ref(), None], Vec::new()),
            Self::OAuth2(oauth2) => ([oauth2.client_secret.as_ref(), None], oauth2.tls.files()),
        };
        files.extend(secrets.into_iter().flatten().filter_map(SecretSource::file));
        files
    }
}

pub(super) fn auth(fields: &mut Fields<'_, '_>, directory: &Path) -> Option<AuthConfig> {
    at_most_one(fields, &["basic_auth", "authorization", "bearer_token", "bearer_token_file", "oauth2"]);
    let basic = fields.optional("basic_auth", |node, report| basic_auth(node, report, directory));
    let authorization = fields.optional("authorization", |node, report| authorization(node, report, directory));
    let bearer = text(fields, "bearer_token").map(|token| SecretSource::Inline(super::Secret::new(token)));
    let bearer = bearer.or(super::path(fields, "bearer_token_file", directory).map(SecretSource::File));
    let bearer = bearer.map(|token| Authorization { scheme: "Bearer".to_owned(), credentials: Some(token) });
    let oauth2 = fields.optional("oauth2", |node, report| oauth2(node, report, directory));
    let authorization = authorization.or(bearer).map(AuthConfig::Authorization);
    basic.map(AuthConfig::Basic).or(authorization).or(oauth2.map(|oauth2| AuthConfig::OAuth2(Box::new(oauth2))))
}

fn basic_auth(node: &Node, report: &mut Report, directory: &Path) -> Option<BasicAuth> {
    yaml::mapping(node, report, |fields| {
        let username = secret(fields, ["username", "username_file", "username_ref"], directory);
        let password = secret(fields, ["password", "password_file", "password_ref"], directory);
        Some(BasicAuth { username, password })
    })
}

fn authorization(node: &Node, report: &mut Report, directory: &Path) -> Option<Authorization> {
    yaml::mapping(node, report, |fields| {
        let scheme = text(fields, "type").map_or_else(|| "Bearer".to_owned(), |scheme| scheme.trim().to_owned());
        if scheme.eq_ignore_ascii_case("basic") {
            fields.error("type", "`authorization` cannot have the type `basic`: use `basic_auth`");
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !scheme.bytes().all(valid) {
            fields.error("type", format!("not a valid authentication scheme: `{scheme}`"));
        }
        let credentials = secret(fields, ["credentials", "credentials_file", "credentials_ref"], directory);
        Some(Authorization { scheme, credentials })
    })
}

fn oauth2(node: &Node, report: &mut Report, directory: &Path) -> Option<OAuth2Config> {
    yaml::mapping(node, report, |fields| {
        let client_id = fields.required("client_id", string);
        if text(fields, "grant_type").is_some_and(|grant| grant != "client_credentials") {
            fields.error("grant_type", "not supported: only the grant `client_credentials` is");
        }
        for key in [
            "client_certificate_key",
            "client_certificate_key_file",
            "client_certificate_key_ref",
            "client_certificate_key_id",
            "signature_algorithm",
            "iss",
            "audience",
            "claims",
        ] {
            fields.unsupported(key, "it belongs to the grant `jwt-bearer`; only `client_credentials` is served");
        }
        let client_secret = secret(fields, ["client_secret", "client_secret_file", "client_secret_ref"], directory);
        let scopes = fields.optional("scopes", list(string)).unwrap_or_default();
        let token_url = fields.required("token_url", super::http_url);
        let endpoint_params = fields.optional("endpoint_params", map(string)).unwrap_or_default();
        let tls = fields.optional("tls_config", |node, report| tls::tls_config(node, report, directory));
        let proxy = proxy::proxy(fields);
        let tls = tls.unwrap_or_default();
        let (client_id, token_url) = (client_id?, token_url?);
        Some(OAuth2Config { client_id, client_secret, scopes, token_url, endpoint_params, tls, proxy })
    })
}
