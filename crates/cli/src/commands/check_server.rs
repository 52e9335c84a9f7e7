//! `crescendo check healthy|ready|web-config`: a running server, and the file that protects one.
//!
//! Rule: a server that does not answer is not fine; it is no error of the check.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use http_client::HttpClient;

use super::Outcome;
use super::query::Target;
use crate::printer::{Printer, chain};

/// What stands below the options in the help.
pub(super) const HEALTHY_HELP: &str = "Example:\n  crescendo check healthy --server http://127.0.0.1:9090";
/// What stands below the options in the help.
pub(super) const READY_HELP: &str = "Example:\n  crescendo check ready --server http://127.0.0.1:9090";
/// What stands below the options in the help.
pub(super) const WEB_CONFIG_HELP: &str = "Example:\n  crescendo check web-config web.yml";

/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Arguments of `check web-config`.
#[derive(Debug, Args)]
pub struct WebConfigArgs {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Asks `/-/healthy` or `/-/ready`.
pub(super) async fn ask(target: &Target, what: &str, printer: Printer) -> Result<Outcome> {
    let url = format!("{}/-/{what}", target.url()?);
    let request = http::Request::builder().uri(&url).body(bytes::Bytes::new());
    let request = request.with_context(|| format!("not a URL: `{url}`"))?;
    let client = HttpClient::new(target.http()?, http_client::ClientOptions::default());
    let answer = match tokio::time::timeout(target.timeout(), client.send(request, MAX_ANSWER_BYTES)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            printer.data(&format!("{url}: {}", chain(&error)))?;
            return Ok(Outcome::NotFine);
        }
        Err(_elapsed) => {
            printer.data(&format!("{url}: no answer within {:?}", target.timeout()))?;
            return Ok(Outcome::NotFine);
        }
    };
    let text = String::from_utf8_lossy(answer.body());
    let line: String = text.trim().chars().take(200).collect();
    printer.data(&format!("{url}: {}: {line}", answer.status()))?;
    Ok(if answer.status().is_success() { Outcome::Fine } else { Outcome::NotFine })
}

/// Reads files as `--web.config.file` does.
pub(super) fn check_web_config(args: &WebConfigArgs, printer: Printer) -> Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for path in &args.files {
        match web::WebConfig::load(path) {
            Ok(config) => {
                let tls = if config.tls.is_some() { "TLS" } else { "no TLS" };
                printer.data(&format!("{}: fine ({tls}, {} users)", path.display(), config.users.len()))?;
            }
            Err(error) => {
                outcome = Outcome::NotFine;
                printer.data(&chain(&error))?;
            }
        }
    }
    Ok(outcome)
}
