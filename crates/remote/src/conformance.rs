//! The published cases of prometheus-adapter's behaviour that concern its client, run against this crate.
//!
//! The cases are data outside of the repository; `ADAPTER_CASES` names another file of the same form. The other
//! kinds are `metrics-api`'s.
//!
//! Rule: no count may fall.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::{Value, json};

use crate::client::{Client, ClientError, ClientOptions, has_document};
use crate::{AdapterFlags, parse_headers};

const DEFAULT_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance/adapter/cases.json");

/// How many cases of each kind of the default file pass.
const COVERED: [(&str, usize); 4] =
    [("header_flag", 3), ("prometheus_auth", 3), ("prometheus_http_status", 8), ("prometheus_tls", 3)];

#[test]
fn published_cases_about_the_client_hold() {
    let path = std::env::var("ADAPTER_CASES").unwrap_or_else(|_unset| DEFAULT_CASES.to_owned());
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("adapter cases are absent: {path}");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let file: Value = serde_json::from_str(&text).unwrap();
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let kind = case["kind"].as_str().unwrap();
        let (input, expect) = (&case["input"], &case["expect"]);
        let result = match kind {
            "header_flag" => header_flag(input, expect),
            "prometheus_auth" => prometheus_auth(folder.path(), input, expect),
            "prometheus_http_status" => http_status(input, expect),
            "prometheus_tls" => prometheus_tls(folder.path(), input, expect),
            _ => continue,
        };
        match result {
            Ok(()) => *passed.entry(kind).or_default() += 1,
            Err(reason) => failures.push(format!("{}: {reason}", case["id"])),
        }
    }
    println!("adapter cases about the client: passed: {passed:?}");
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    for (kind, least) in COVERED {
        let count = passed.get(kind).copied().unwrap_or(0);
        assert!(path != DEFAULT_CASES || count >= least, "{kind}: {count} cases pass, {least} did");
    }
}

fn same(found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found}, expected {expected}")) }
}

fn header_flag(input: &Value, expect: &Value) -> Result<(), String> {
    let arguments: Vec<String> = serde_json::from_value(input["args"].clone()).unwrap();
    let headers = match parse_headers(&arguments) {
        Ok(headers) => headers,
        Err(error) => return if expect["headers"].is_null() { Ok(()) } else { Err(error.to_string()) },
    };
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        // Go spells names with capitals; on the wire both mean the same.
        let mut starts_word = true;
        let spell = |c: char| {
            let spelled = if starts_word { c.to_ascii_uppercase() } else { c };
            starts_word = c == '-';
            spelled
        };
        let spelled: String = name.as_str().chars().map(spell).collect();
        found.entry(spelled).or_default().push(value.to_str().unwrap().to_owned());
    }
    same(&json!(found), &expect["headers"])
}

/// Good and broken files by their names in the cases.
fn files(folder: &Path) {
    let authority = crate::client::testing::Authority::new();
    std::fs::write(folder.join("ca-valid"), authority.pem()).unwrap();
    authority.identity("client", &folder.join("cert-valid"), &folder.join("key-valid"));
    for kind in ["ca", "cert", "key"] {
        std::fs::write(folder.join(format!("{kind}-broken")), "-----BEGIN X-----\nnonsense\n").unwrap();
    }
    let kubeconfig = "\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://prometheus:8080', certificate-authority: ca-valid}}]
users: [{name: u, user: {client-certificate: cert-valid, client-key: key-valid}}]
";
    std::fs::write(folder.join("kubeconfig-valid"), kubeconfig).unwrap();
    std::fs::write(folder.join("kubeconfig-broken"), kubeconfig.replace("current-context: c", "current-context: x"))
        .unwrap();
}

/// The file that a case names by its state; none for an empty one, one that is not there for an unknown one.
fn file(folder: &Path, kind: &str, state: &Value) -> Option<PathBuf> {
    state.as_str().filter(|state| !state.is_empty()).map(|state| folder.join(format!("{kind}-{state}")))
}

fn client(flags: &AdapterFlags) -> Result<ClientOptions, String> {
    let options = flags.options().map_err(|error| error.to_string())?;
    let client = Client::new(options.clone(), http_client::ClientOptions::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(client.check()).map_err(|error| error.to_string())?;
    Ok(options)
}

fn prometheus_auth(folder: &Path, input: &Value, expect: &Value) -> Result<(), String> {
    let flags = AdapterFlags {
        url: "https://localhost".to_owned(),
        auth_in_cluster: input["in_cluster"] == true,
        auth_config: file(folder, "kubeconfig", &input["kubeconfig"]),
        ..AdapterFlags::default()
    };
    // Authorities of the system are none of the flags'.
    let outcome = if flags.auth_config.is_some() { client(&flags) } else { flags.options().map_err(|e| e.to_string()) };
    same(&json!(outcome.is_ok()), &expect["ok"]).map_err(|reason| format!("{reason} ({outcome:?})"))
}

fn prometheus_tls(folder: &Path, input: &Value, expect: &Value) -> Result<(), String> {
    let flags = AdapterFlags {
        url: "https://localhost".to_owned(),
        ca_file: file(folder, "ca", &input["ca"]),
        client_cert_file: file(folder, "cert", &input["cert"]),
        client_key_file: file(folder, "key", &input["key"]),
        ..AdapterFlags::default()
    };
    let outcome = client(&flags);
    same(&json!(outcome.is_ok()), &expect["ok"]).map_err(|reason| format!("{reason} ({outcome:?})"))?;
    match (&outcome, expect["client_cert"].as_bool()) {
        (Ok(options), Some(expected)) => same(&json!(options.http.tls.identity.is_some()), &json!(expected)),
        _ => Ok(()),
    }
}

fn http_status(input: &Value, expect: &Value) -> Result<(), String> {
    let status = StatusCode::from_u16(u16::try_from(input["code"].as_u64().unwrap()).unwrap()).unwrap();
    if has_document(status) {
        return same(&json!("decode"), &expect["treatment"]);
    }
    same(&json!("bad_response"), &expect["treatment"])?;
    same(&json!(ClientError::Status(status).to_string()), &expect["message"])
}
