use std::path::Path;

use yaml::decode;

use super::*;

fn read(text: &str) -> HttpClientConfig {
    let decoder = |node: &Node, report: &mut Report| {
        yaml::mapping(node, report, |fields| Some(http_client_config(fields, Path::new("/etc"))))
    };
    decode("f", text, decoder).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn nothing_said_means_the_defaults() {
    assert_eq!(read(""), HttpClientConfig::default());
    assert_eq!(read("{follow_redirects: true, enable_http2: false, http_headers: }"), HttpClientConfig::default());
}

#[test]
fn files_lead_from_the_directory_of_the_configuration() {
    let config = read(
        "basic_auth: {username: u, password_file: pw}\n\
         tls_config: {ca_file: tls/ca.pem, cert: c, key_file: /keys/k.pem, server_name: n, min_version: TLS13}\n\
         http_headers: {X-Tenant: {values: [a], secrets: [b], files: [tenant]}}\n",
    );
    assert_eq!(config.files(), ["/etc/tls/ca.pem", "/keys/k.pem", "/etc/pw", "/etc/tenant"].map(PathBuf::from));
    assert_eq!(config.tls.min_version, Some(TlsVersion::Tls13));
    assert_eq!(config.headers[0].values.len(), 3);
}

#[test]
fn bearer_token_is_an_authorization() {
    let expected = Some(AuthConfig::Authorization(Authorization {
        scheme: "Bearer".to_owned(),
        credentials: Some(SecretSource::Inline(Secret::new("t"))),
    }));
    assert_eq!(read("bearer_token: t").auth, expected);
    assert_eq!(read("authorization: {credentials: t}").auth, expected);
}

#[test]
fn secrets_are_not_printed() {
    let config = read(
        "oauth2: {client_id: i, client_secret: hidden, token_url: 'https://t/', scopes: [a], endpoint_params: {b: c}}\n\
         proxy_url: http://user:hidden@proxy\nhttp_headers: {X-A: {secrets: [hidden]}}\n\
         tls_config: {cert: hidden, key: hidden}\nproxy_connect_header: {X-B: [hidden]}\n",
    );
    let printed = format!("{config:?}");
    assert!(!printed.contains("hidden"), "{printed}");
    assert!(printed.contains("<secret>"), "{printed}");
}

#[test]
fn proxies_are_urls() {
    let parse = |text: &str| text.parse::<ProxyUrl>();
    let proxy = parse("http://us%40er:p%3Aw@proxy.example:3128").unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port, proxy.scheme), ("proxy.example", 3128, ProxyScheme::Http));
    assert_eq!(proxy.credentials, Some(("us@er".to_owned(), Secret::new("p:w"))));
    let proxy = parse("https://[::1]").unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port, proxy.credentials), ("::1", 443, None));
    assert_eq!(parse("proxy:8080").unwrap().port, 8080);
    assert_eq!(parse("socks5://proxy:1080"), Err(ProxyUrlError::Scheme("socks5".to_owned())));
    assert_eq!(parse("http://"), Err(ProxyUrlError::Invalid));
}
