//! Commands that ask a running server, and the protection of one.
//!
//! Rule: what a command prints and how it ends is looked at as a script would.

use std::path::Path;
use std::process::Stdio;

use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PAGE: &str = "# TYPE asr_active_requests gauge\nasr_active_requests{queue=\"a\"} VISITS\n";

/// Runs a command with a text on stdin; gives its exit code, stdout and stderr.
pub(super) async fn run(words: &[&str], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(e2e::process::binary().unwrap());
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).await.unwrap();
    drop(input);
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn query_prints_tables_json_charts_and_says_when_there_is_nothing() {
    let target = Target::start(PAGE).await.unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs:\n- {{job_name: asr, static_configs: [{{targets: ['{}'], labels: {{pod: w-1}}}}]}}\n",
        target.address()
    );
    let server = Server::start(&config, &[]).await.unwrap();
    server.until("asr_active_requests > 5", |result| first_value(result).is_some()).await.unwrap();
    let url = format!("--server={}", server.web.base());
    let ask = async |words: &[&str]| run(&[&["query"], words, &[&url]].concat(), "").await;

    let (code, out, _) = ask(&["instant", "count by (pod) (up)"]).await;
    assert_eq!((code, out.as_str()), (0, "{pod=\"w-1\"}  1\n"));
    let (code, out, _) = ask(&["instant", "1 + 1", "-o", "json"]).await;
    let tree: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &tree["result"][0]["value"]), (0, &Value::from("2")), "{out}");
    let (code, out, _) = ask(&["instant", "nothing"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    let (code, _, error) = ask(&["instant", "sum("]).await;
    assert!(code == 2 && error.contains("bad_data") && error.contains("unclosed left parenthesis"), "{error}");

    let (code, out, _) = ask(&["range", "asr_active_requests", "--start=-1m", "--step=1s"]).await;
    assert!(
        code == 0 && out.starts_with("SERIES") && out.contains("asr_active_requests{") && out.contains('█'),
        "{out}"
    );
    let (code, out, _) = ask(&["range", "asr_active_requests", "--start=-1m", "-o", "svg"]).await;
    assert!(code == 0 && out.starts_with("<svg") && out.contains("</svg>"), "{out}");
    let (_, out, _) = ask(&["range", "asr_active_requests", "--start=-1m", "-o", "json"]).await;
    let tree: Value = serde_json::from_str(&out).unwrap();
    assert!(!tree["result"][0]["values"].as_array().unwrap().is_empty(), "{out}");

    let (code, out, _) = ask(&["series", "up"]).await;
    assert!(code == 0 && out.starts_with("up{instance="), "{out}");
    let (code, out, _) = ask(&["labels", "pod", "--match", "up"]).await;
    assert_eq!((code, out.as_str()), (0, "w-1\n"));
    let (code, out, _) = ask(&["labels"]).await;
    assert!(code == 0 && out.lines().any(|name| name == "queue"), "{out}");

    let rules = "groups: [{name: g, rules: [{alert: A, expr: 'asr_active_requests > 1'}, \
                 {alert: B, expr: 'asr_activ_requests > 1'}]}]";
    let names = format!("--exposed-by={}/api/v1/label/__name__/values", server.web.base());
    let words = ["check", "rules", "--lint=none,unexposed-metric", "--lint-fatal", &names];
    let (code, _, talk) = run(&words, rules).await;
    assert!(
        code == 3
            && talk.contains("alert `B`: no target exposes `asr_activ_requests` (did you mean `asr_active_requests`?)"),
        "{talk}"
    );
    assert!(talk.contains("1 finding"), "{talk}");

    let (code, out, _) = run(&["check", "ready", &url], "").await;
    assert!(code == 0 && out.contains("200 OK"), "{out}");
    // Waited for: one that is ending may still take the connection.
    let Server { mut process, .. } = server;
    process.signal("KILL").await.unwrap();
    process.wait(SOON).await.unwrap();
    let (code, out, _) = run(&["check", "healthy", &url], "").await;
    assert!(code == 1 && out.contains("cannot connect"), "{out}");
}

#[tokio::test]
async fn pages_of_metrics_are_checked() {
    let (code, out, _) = run(&["check", "metrics"], "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n").await;
    assert_eq!((code, out.as_str()), (0, ""));
    let (code, out, _) = run(&["check", "metrics"], "# TYPE requests counter\nrequests 1\n").await;
    assert_eq!((code, out.as_str()), (3, "requests: no help text\nrequests: counter without the suffix `_total`\n"));
    let (code, out, _) = run(&["check", "metrics"], "a{b=\"} 1\n").await;
    assert!(code == 1 && !out.is_empty(), "{out}");
}

/// Files for a listener with TLS: an authority and a certificate of it for 127.0.0.1.
fn certificate(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    for (name, text) in [("ca.pem", authority.pem()), ("s.pem", certificate.pem()), ("s.key", key.serialize_pem())] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test]
async fn protected_server_speaks_tls_to_those_who_know_the_password() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    // The password is `wonderland`.
    let web = "tls_server_config: {cert_file: s.pem, key_file: s.key}\n\
               basic_auth_users: {alice: $2b$05$CwTycUXWue0Thq9StjUM0uNmmyiwUxcXQJWX6ubS/v.tyJyf..swe}\n";
    let client = "basic_auth: {username: alice, password: wonderland}\ntls_config: {ca_file: ca.pem}\n";
    for (name, text) in [("web.yml", web), ("client.yml", client), ("prometheus.yml", "")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (web, client) = (place("web.yml"), place("client.yml"));
    let (code, out, _) = run(&["check", "web-config", &web], "").await;
    assert!(code == 0 && out.contains("fine (TLS, 1 users)"), "{out}");
    let flag = format!("--web.config.file={web}");
    let server = Server::start_in(folder, &[&flag]).await.unwrap();
    assert!(server.web.base().starts_with("https://"), "{}", server.web.base());
    let url = format!("--server={}", server.web.base());
    let config = format!("--http.config.file={client}");
    let (code, out, _) = run(&["check", "ready", &url, &config], "").await;
    assert!(code == 0 && out.contains("200 OK"), "{out}");
    let (code, out, _) = run(&["query", "instant", "1 + 1", &url, &config], "").await;
    assert_eq!((code, out.as_str()), (0, "2\n"));
    // Without the authority the certificate proves nothing; without the password there is no answer.
    let (code, out, _) = run(&["check", "ready", &url], "").await;
    assert!(code == 1 && out.contains("TLS"), "{out}");
    std::fs::write(&client, "tls_config: {ca_file: ca.pem}\n").unwrap();
    let (code, out, _) = run(&["check", "ready", &url, &config], "").await;
    assert!(code == 1 && out.contains("401"), "{out}");
}
