//! Who is believed, and who is not.

use datamodel::Timestamp;
use datamodel::time::ManualClock;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::testing::{Identity, TestAuthority};

/// Two authorities: one of clients, one of front proxies.
struct Rig {
    clients: TestAuthority,
    proxies: TestAuthority,
    authenticator: AnyOf,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clients, proxies) = (TestAuthority::new(), TestAuthority::new());
        let watched = |name: &str, authority: &TestAuthority| {
            let path = folder.path().join(name);
            std::fs::write(&path, authority.pem()).unwrap();
            Watched::open(vec![path], |texts| Authority::from_pem(&texts[0])).unwrap()
        };
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_700_000_000_000)));
        let names = vec!["front-proxy-client".to_owned()];
        let proxy = FrontProxy::new(watched("proxies", &proxies), names, HeaderNames::default(), Arc::clone(&clock));
        let client = ClientCertificates::new(watched("clients", &clients), clock);
        let authenticator = AnyOf::new(vec![Arc::new(proxy), Arc::new(client)]);
        Self { clients, proxies, authenticator, _folder: folder }
    }

    /// The user, as `name[groups]extra`, or the refusal.
    async fn ask(&self, chain: &[&Identity], headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let certificates: Vec<Vec<u8>> = chain.iter().map(|identity| identity.der.clone()).collect();
        let credentials = Credentials { headers: &map, peer: None, certificates: &certificates };
        match self.authenticator.authenticate(credentials).await {
            Ok(user) => format!("{}[{}]{:?}", user.name, user.groups.join(","), user.extra),
            Err(error) => format!("refused: {error}"),
        }
    }
}

const IDENTITY: &[(&str, &str)] = &[("x-remote-user", "hpa"), ("x-remote-group", "system:masters")];

#[tokio::test]
async fn front_proxy_speaks_for_others() {
    let rig = Rig::new();
    let proxy = rig.proxies.client("front-proxy-client", &[]);
    assert_eq!(rig.ask(&[&proxy], IDENTITY).await, "hpa[system:masters]{}");
    let headers = [
        ("x-remote-user", "u"),
        ("x-remote-group", "a"),
        ("x-remote-group", "b"),
        ("x-remote-extra-scopes", "s1"),
        ("x-remote-extra-scopes", "s2"),
        ("x-remote-extra-authentication.kubernetes.io%2fnode-name", "n"),
    ];
    let extra = r#"{"authentication.kubernetes.io/node-name": ["n"], "scopes": ["s1", "s2"]}"#;
    assert_eq!(rig.ask(&[&proxy], &headers).await, format!("u[a,b]{extra}"));
}

#[tokio::test]
async fn client_certificate_names_its_owner() {
    let rig = Rig::new();
    let client = rig.clients.client("alice", &["team"]);
    assert_eq!(rig.ask(&[&client], &[]).await, "alice[team,system:authenticated]{}");
    // Headers say nothing behind it, not even under the name of the front proxy.
    assert_eq!(rig.ask(&[&client], IDENTITY).await, "alice[team,system:authenticated]{}");
    let namesake = rig.clients.client("front-proxy-client", &[]);
    assert_eq!(rig.ask(&[&namesake], IDENTITY).await, "front-proxy-client[system:authenticated]{}");
}

#[tokio::test]
async fn everyone_else_is_refused_with_the_reason() {
    let rig = Rig::new();
    let foreign = TestAuthority::new();
    let check = async |chain: &[&Identity], headers: &[(&'static str, &'static str)], reason: &str| {
        let answer = rig.ask(chain, headers).await;
        assert!(answer.starts_with("refused: ") && answer.contains(reason), "{answer}");
    };
    check(&[], &[], "none was given").await;
    check(&[], IDENTITY, "none was given").await;
    check(&[&foreign.client("alice", &[])], IDENTITY, "invalid peer certificate: ").await;
    check(&[&foreign.client("front-proxy-client", &[])], IDENTITY, "invalid peer certificate: ").await;
    check(&[&rig.clients.expired("alice")], &[], "certificate expired").await;
    check(&[&rig.proxies.expired("front-proxy-client")], IDENTITY, "certificate expired").await;
    check(&[&rig.clients.server()], &[], "client certificate: ").await;
    check(&[&rig.proxies.client("other-proxy", &[])], IDENTITY, "`other-proxy` is not one of the allowed names").await;
    let proxy = rig.proxies.client("front-proxy-client", &[]);
    check(&[&proxy], &[], "no header names the user").await;
    check(&[&proxy], &[("x-remote-user", "")], "no header names the user").await;
    let twice = [("x-remote-user", "a"), ("x-remote-user", "b")];
    check(&[&proxy], &twice, "the header `x-remote-user` comes more than once").await;
    check(&[&rig.clients.client("", &[])], &[], "its subject has no common name").await;
    // The first certificate is the asker's; others only lead to the authority.
    check(&[&foreign.client("alice", &[]), &rig.clients.client("alice", &[])], &[], "invalid peer certificate: ").await;
    let many = vec![&proxy; 11];
    check(&many, IDENTITY, "more than 10 certificates").await;
}

#[test]
fn authority_needs_a_certificate() {
    for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nnonsense"] {
        let error = Authority::from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("no certificate of an authority in the file: "), "{text}: {error}");
    }
}
