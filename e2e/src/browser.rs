//! A page in a real browser: Chromium without a window, driven over the `DevTools` protocol.
//!
//! - [`find`]: the program. [`Browser`]: it with one open page, to look at, to type into, to take a picture of.
//! - [`Browser::heard`]: what the page wrote to the console and whom it asked, since the last call.
//!
//! The protocol goes over two pipes (`--remote-debugging-pipe`): messages of JSON, each ended by a zero byte.
//!
//! Rule: a page is judged by what it has become, never by how long that took; times are given, not checked.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::server::SOON;

/// How long an answer of the browser may take on a busy machine: its start is in the first one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a page is asked whether it shows what is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The program, if it is there.
///
/// # Errors
///
/// It is not there, and this is CI.
pub fn find() -> Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = { places }.find(|file| file.is_file());
    ensure!(found.is_some() || std::env::var_os("CI").is_none(), "no chromium in PATH; `make tools` gets it");
    Ok(found)
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Width of the screen in CSS pixels.
    pub width: u32,
    /// Height of the screen in CSS pixels.
    pub height: u32,
    /// Whether the reader prefers dark pages.
    pub is_dark: bool,
}

/// What a page did beside showing something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What stands in the console: what scripts write, exceptions, failed and blocked requests.
    pub console: Vec<String>,
    /// The URLs that were asked for.
    pub asked: Vec<String>,
}

/// A running browser with one page; it ends with the test.
#[derive(Debug)]
pub struct Browser {
    _process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _profile: TempDir,
    events: VecDeque<Value>,
    session: Option<String>,
    last_id: u64,
}

impl Browser {
    /// Starts the program with an empty profile and opens an empty page.
    ///
    /// # Errors
    ///
    /// It does not start, or does not speak the protocol.
    pub async fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        // The pipes of the protocol are the descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]).arg(program);
        command.args(["--remote-debugging-pipe", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        command.args(["--disable-sync", "--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let commands = process.stdin.take().context("stdin is not piped")?;
        let answers = BufReader::new(process.stdout.take().context("stdout is not piped")?);
        let (events, session) = (VecDeque::new(), None);
        let mut browser = Self { _process: process, commands, answers, _profile: profile, events, session, last_id: 0 };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let target = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target).await?;
        browser.session = Some(attached["sessionId"].as_str().context("no session")?.to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    /// Looks at pages in another way from now on.
    ///
    /// # Errors
    ///
    /// The browser refuses.
    pub async fn look(&mut self, view: View) -> Result<()> {
        let size = json!({"width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = if view.is_dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await?;
        Ok(())
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Errors
    ///
    /// It cannot be loaded.
    pub async fn open(&mut self, url: &str) -> Result<()> {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let opened = self.call("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = opened["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.loaded().await.with_context(|| url.to_owned())
    }

    /// Waits for the end of a load that something started.
    ///
    /// # Errors
    ///
    /// It does not come.
    pub async fn loaded(&mut self) -> Result<()> {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["method"] == "Page.loadEventFired") {
                self.events.remove(at);
                return Ok(());
            }
            let event = self.next().await?;
            self.events.push_back(event);
        }
    }

    /// The value of an expression of JavaScript; a promise is waited for.
    ///
    /// # Errors
    ///
    /// It throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Asks an expression until it is true.
    ///
    /// # Errors
    ///
    /// It is not in time, or throws; the page's text is in the error.
    pub async fn until(&mut self, expression: &str) -> Result<()> {
        let waiting = async {
            while self.evaluate(expression).await? != json!(true) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Ok(())
        };
        match timeout(SOON, waiting).await {
            Ok(done) => done,
            Err(_elapsed) => bail!("never true: {expression}; the page:\n{}", self.text().await?),
        }
    }

    /// The text that a reader sees.
    ///
    /// # Errors
    ///
    /// The page is gone.
    pub async fn text(&mut self) -> Result<String> {
        Ok(self.evaluate("document.body.innerText").await?.as_str().unwrap_or_default().to_owned())
    }

    /// The page's document as it is now.
    ///
    /// # Errors
    ///
    /// The page is gone.
    pub async fn document(&mut self) -> Result<String> {
        Ok(self.evaluate("document.documentElement.outerHTML").await?.as_str().unwrap_or_default().to_owned())
    }

    /// Types text where the focus is.
    ///
    /// # Errors
    ///
    /// The page is gone.
    pub async fn type_text(&mut self, text: &str) -> Result<()> {
        for letter in text.chars() {
            let event = json!({"type": "char", "text": letter.to_string()});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Presses and releases a key by its name: `Tab`, `ArrowDown`, `Escape`, `Enter`.
    ///
    /// # Errors
    ///
    /// The page is gone.
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => bail!("no such key: {key}"),
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// A picture of what is seen, as PNG in base64.
    ///
    /// # Errors
    ///
    /// The page is gone.
    pub async fn picture(&mut self) -> Result<String> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        Ok(answer["data"].as_str().context("no picture")?.to_owned())
    }

    /// What the page did since the last call.
    ///
    /// # Errors
    ///
    /// The page is gone.
    pub async fn heard(&mut self) -> Result<Heard> {
        // Its answer comes after all that happened before it.
        self.evaluate("0").await?;
        let mut heard = Heard::default();
        for event in self.events.drain(..) {
            let parameters = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.consoleAPICalled" => heard.console.push(parameters["args"].to_string()),
                "Runtime.exceptionThrown" => heard.console.push(parameters["exceptionDetails"].to_string()),
                "Log.entryAdded" => heard.console.push(parameters["entry"]["text"].to_string()),
                "Network.requestWillBeSent" => {
                    heard.asked.push(parameters["request"]["url"].as_str().unwrap_or_default().to_owned());
                }
                _ => {}
            }
        }
        Ok(heard)
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).await.context("the browser is gone")?;
        loop {
            let message = self.next().await.with_context(|| format!("the answer to {method}"))?;
            if message["id"] != json!(id) {
                self.events.push_back(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(message["result"].clone());
        }
    }

    async fn next(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        timeout(ANSWER_TIMEOUT, self.answers.read_until(0, &mut bytes)).await.context("the browser is silent")??;
        ensure!(bytes.pop() == Some(0), "the browser has ended");
        Ok(serde_json::from_slice(&bytes)?)
    }
}
