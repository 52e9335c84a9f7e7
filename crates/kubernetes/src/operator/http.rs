//! Credentials, TLS and proxies: what Prometheus calls `<http_config>`.
//!
//! The operator mounts what Secrets hold and names the files; here the texts stand in the configuration itself.
//!
//! Rule: one credential at most; a monitor's own goes before that of its scrape class.

use serde_json::{Map, Value, json};

use super::error::{Problem, Rejection};
use super::generate::Context;
use super::job::Fields;
use super::objects::{Authorization, HttpConfig, KeySelector, OAuth2, Proxy, ScrapeClass, Tls};

const TLS_VERSIONS: &str = "`TLS10`, `TLS11`, `TLS12`, `TLS13`";

/// Reads what an object in a namespace says about HTTP.
pub(super) struct HttpWriter<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) namespace: &'a str,
    pub(super) class: Option<&'a ScrapeClass>,
}

impl HttpWriter<'_> {
    /// Everything of `<http_config>`.
    pub(super) fn write(&self, fields: &mut Fields, http: &HttpConfig, path: &str) -> Result<(), Rejection> {
        let version = self.context.version;
        if version.has(2, 26) {
            fields.some("follow_redirects", http.follow_redirects);
        }
        if version.has(2, 35) {
            fields.some("enable_http2", http.enable_http2);
        }
        self.proxy(fields, &http.proxy, path)?;
        self.credentials(fields, http, path)?;
        let class = self.class.and_then(|class| class.tls_config.as_ref());
        if let Some(tls) = self.tls(http.tls_config.as_ref(), class, &format!("{path}.tlsConfig"))? {
            fields.put("tls_config", tls);
        }
        Ok(())
    }

    fn credentials(&self, fields: &mut Fields, http: &HttpConfig, path: &str) -> Result<(), Rejection> {
        let bearer = http.bearer_token_secret.as_ref().filter(|selector| !selector.name.is_empty());
        let given = [
            ("`basicAuth`", http.basic_auth.is_some()),
            ("`authorization`", http.authorization.is_some()),
            ("`bearerTokenSecret`", bearer.is_some()),
            ("`bearerTokenFile`", !http.bearer_token_file.is_empty()),
            ("`oauth2`", http.oauth2.is_some()),
        ];
        let named: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
        if named.len() > 1 {
            return Err(Rejection::new(path, Problem::ManyCredentials(named.join(", "))));
        }
        let secret = |selector: &KeySelector, field: &str| {
            self.context.assets.secret(self.namespace, selector, &format!("{path}.{field}"))
        };
        if let Some(basic) = &http.basic_auth {
            let username = secret(&basic.username, "basicAuth.username")?;
            let password = secret(&basic.password, "basicAuth.password")?;
            fields.put("basic_auth", json!({"username": username, "password": password}));
        }
        if let Some(selector) = bearer {
            fields.put("bearer_token", secret(selector, "bearerTokenSecret")?);
        }
        fields.text("bearer_token_file", &http.bearer_token_file);
        if let Some(oauth2) = http.oauth2.as_ref().filter(|_| self.context.version.has(2, 27)) {
            fields.put("oauth2", self.oauth2(oauth2, &format!("{path}.oauth2"))?);
        }
        let of_class = self.class.and_then(|class| class.authorization.as_ref()).filter(|_| named.is_empty());
        if let Some(authorization) =
            http.authorization.as_ref().or(of_class).filter(|_| self.context.version.has(2, 26))
        {
            fields.put("authorization", self.authorization(authorization, &format!("{path}.authorization"))?);
        }
        Ok(())
    }

    fn authorization(&self, authorization: &Authorization, path: &str) -> Result<Value, Rejection> {
        let mut fields = Fields::default();
        let scheme = authorization.kind.trim();
        fields.put("type", if scheme.is_empty() { "Bearer" } else { scheme });
        if let Some(selector) = &authorization.credentials {
            let path = format!("{path}.credentials");
            fields.put("credentials", self.context.assets.secret(self.namespace, selector, &path)?);
        }
        fields.text("credentials_file", &authorization.credentials_file);
        Ok(fields.into())
    }

    fn oauth2(&self, oauth2: &OAuth2, path: &str) -> Result<Value, Rejection> {
        let assets = self.context.assets;
        let mut fields = Fields::default();
        let client_id = assets.either(self.namespace, &oauth2.client_id, &format!("{path}.clientId"))?;
        fields.some("client_id", client_id);
        let secret = assets.secret(self.namespace, &oauth2.client_secret, &format!("{path}.clientSecret"))?;
        fields.put("client_secret", secret);
        fields.put("token_url", oauth2.token_url.as_str());
        if !oauth2.scopes.is_empty() {
            fields.put("scopes", json!(oauth2.scopes));
        }
        if !oauth2.endpoint_params.is_empty() {
            fields.put("endpoint_params", json!(oauth2.endpoint_params));
        }
        if self.context.version.has(2, 43) {
            self.proxy(&mut fields, &oauth2.proxy, path)?;
        }
        if let Some(tls) = self.tls(oauth2.tls_config.as_ref(), None, &format!("{path}.tlsConfig"))? {
            fields.put("tls_config", tls);
        }
        Ok(fields.into())
    }

    /// What stands between us and a server.
    pub(super) fn proxy(&self, fields: &mut Fields, proxy: &Proxy, path: &str) -> Result<(), Rejection> {
        fields.some("proxy_url", proxy.proxy_url.clone());
        if !self.context.version.has(2, 43) {
            return Ok(());
        }
        fields.some("no_proxy", proxy.no_proxy.clone());
        fields.some("proxy_from_environment", proxy.proxy_from_environment);
        let mut headers = Map::new();
        for (name, selectors) in &proxy.proxy_connect_header {
            let path = format!("{path}.proxyConnectHeader[{name}]");
            let value = |selector| self.context.assets.secret(self.namespace, selector, &path);
            let values: Vec<String> = selectors.iter().map(value).collect::<Result<_, _>>()?;
            headers.insert(name.clone(), json!(values));
        }
        if !headers.is_empty() {
            fields.put("proxy_connect_header", Value::Object(headers));
        }
        Ok(())
    }

    /// How a server is checked: field by field the own one, else that of the class.
    fn tls(&self, own: Option<&Tls>, class: Option<&Tls>, path: &str) -> Result<Option<Value>, Rejection> {
        let absent = Tls::default();
        let (is_absent, own, class) = (own.is_none() && class.is_none(), own.unwrap_or(&absent), class);
        if is_absent {
            return Ok(None);
        }
        let class = class.unwrap_or(&absent);
        let mut fields = Fields::default();
        fields.some("insecure_skip_verify", own.insecure_skip_verify.or(class.insecure_skip_verify));
        let assets = self.context.assets;
        let of = |tls: &Tls| -> Result<[(Option<String>, String); 3], Rejection> {
            let key = |selector| assets.secret(self.namespace, selector, &format!("{path}.keySecret"));
            Ok([
                (assets.either(self.namespace, &tls.ca, &format!("{path}.ca"))?, tls.ca_file.clone()),
                (assets.either(self.namespace, &tls.cert, &format!("{path}.cert"))?, tls.cert_file.clone()),
                (tls.key_secret.as_ref().map(key).transpose()?, tls.key_file.clone()),
            ])
        };
        let names = [("ca", "ca_file"), ("cert", "cert_file"), ("key", "key_file")];
        for ((inline, file), (own, of_class)) in names.into_iter().zip(of(own)?.into_iter().zip(of(class)?)) {
            let (text, of_file) = if own.0.is_some() || !own.1.is_empty() { own } else { of_class };
            match text {
                Some(text) => fields.put(inline, text),
                None => fields.text(file, &of_file),
            }
        }
        let has = |keys: [&str; 2]| keys.iter().any(|key| fields.has(key));
        if has(["cert", "cert_file"]) != has(["key", "key_file"]) {
            return Err(Rejection::new(path, Problem::HalfIdentity));
        }
        let server_name = if own.server_name.is_empty() { &class.server_name } else { &own.server_name };
        fields.text("server_name", server_name);
        let (min, max) = (own.min_version.as_ref(), own.max_version.as_ref());
        let (min, max) = (min.or(class.min_version.as_ref()), max.or(class.max_version.as_ref()));
        for (key, value, since) in [("min_version", min, 35), ("max_version", max, 41)] {
            if value.is_some_and(|version| !matches!(version.as_str(), "TLS10" | "TLS11" | "TLS12" | "TLS13")) {
                let found = value.cloned().unwrap_or_default();
                return Err(Rejection::new(path, Problem::Choice { expected: TLS_VERSIONS, found }));
            }
            if self.context.version.has(2, since) {
                fields.some(key, value.cloned());
            }
        }
        Ok(Some(fields.into()))
    }
}
