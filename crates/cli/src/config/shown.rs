//! A configuration file as it may be shown: without its secrets.
//!
//! Rule: a value below a key that holds secrets is never shown, whatever it looks like; neither is the
//! password in a URL.

use yaml::{Kind, Node, Scalar, Style};

/// Keys whose values are secret.
const SECRET_KEYS: [&str; 12] = [
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "client_certificate_key",
    "access_key",
    "secret_key",
    "secrets",
    "secret",
    "key",
    "token",
    "api_key",
];

/// What stands where a secret was: upstream's text.
const SECRET: &str = "<secret>";

/// The document as YAML in block style, comments and secrets left out; empty where it cannot be parsed.
pub(super) fn without_secrets(name: &str, text: &str) -> String {
    let Ok(document) = yaml::parse(name, text) else { return String::new() };
    let mut into = String::new();
    match &document.root().kind {
        Kind::Scalar(scalar) if scalar.is_null() => {}
        _ => write(&mut into, document.root(), 0, false),
    }
    into
}

fn indent(into: &mut String, depth: usize) {
    into.extend(std::iter::repeat_n("  ", depth));
}

/// Writes a node; the cursor stands where its first character belongs.
fn write(into: &mut String, node: &Node, depth: usize, is_secret: bool) {
    match &node.kind {
        Kind::Scalar(scalar) => {
            into.push_str(&shown(scalar, is_secret));
            into.push('\n');
        }
        Kind::Sequence(items) if items.is_empty() => into.push_str("[]\n"),
        Kind::Mapping(entries) if entries.is_empty() => into.push_str("{}\n"),
        Kind::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(into, depth);
                }
                into.push_str("- ");
                write(into, item, depth + 1, is_secret);
            }
        }
        Kind::Mapping(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    indent(into, depth);
                }
                into.push_str(&text(&entry.key.text));
                into.push(':');
                let is_secret = is_secret || SECRET_KEYS.contains(&&*entry.key.text);
                let is_inline = match &entry.value.kind {
                    Kind::Scalar(_) => true,
                    Kind::Sequence(items) => items.is_empty(),
                    Kind::Mapping(entries) => entries.is_empty(),
                };
                if is_inline {
                    into.push(' ');
                    write(into, &entry.value, depth, is_secret);
                } else {
                    // A list stands below its key without further indentation, a mapping with it.
                    let depth = depth + usize::from(matches!(entry.value.kind, Kind::Mapping(_)));
                    into.push('\n');
                    indent(into, depth);
                    write(into, &entry.value, depth, is_secret);
                }
            }
        }
    }
}

fn shown(scalar: &Scalar, is_secret: bool) -> String {
    if is_secret && !scalar.text.is_empty() {
        return SECRET.to_owned();
    }
    if scalar.style == Style::Plain {
        return without_password(&scalar.text);
    }
    text(&without_password(&scalar.text))
}

/// `https://user:password@host` with the password replaced.
fn without_password(text: &str) -> String {
    let replaced = text.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = authority.rsplit_once('@')?;
        let (name, _password) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:{SECRET}@{host}{path}"))
    });
    replaced.unwrap_or_else(|| text.to_owned())
}

/// A text as a YAML scalar: plain where that cannot be misread, else in double quotes, which JSON's are.
fn text(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if begins_well && text.chars().all(is_plain) && !words.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_the_rest_means_the_same() {
        let given = "global: {scrape_interval: 15s}\nscrape_configs:\n- job_name: 'a: b' # why\n  basic_auth:\n    \
                     username: u\n    password: p4ss\n  static_configs: [{targets: [\"x:1\", 'y:2'], labels: {}}]\n  \
                     proxy_url: http://me:p4ss@proxy:80/x\n  authorization: {credentials: |\n    p4ss\n    }\n";
        let given = given.replace("{credentials: |\n    p4ss\n    }", "{credentials: p4ss}");
        let shown = without_secrets("f", &given);
        assert!(!shown.contains("p4ss"), "{shown}");
        assert!(
            shown.contains("    password: <secret>\n") && shown.contains("http://me:<secret>@proxy:80/x"),
            "{shown}"
        );
        let again = without_secrets("f", &shown.replace(SECRET, "p4ss"));
        assert_eq!(again, shown);
        assert!(shown.contains("- job_name: \"a: b\"\n  basic_auth:\n    username: u\n"), "{shown}");
    }

    #[test]
    fn broken_text_is_not_shown() {
        assert_eq!(without_secrets("f", "a: [password"), "");
        assert_eq!(without_secrets("f", ""), "");
    }
}
