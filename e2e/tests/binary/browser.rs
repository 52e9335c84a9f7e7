//! The pages in a real browser: Chromium without a window.
//!
//! Rule: a page shows what its API says, writes nothing to the console, and asks nobody but its server. Without
//! Chromium nothing runs, which is said in one line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use e2e::client::encode;
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

const PAGE: &str = "# HELP asr_active_requests Current active requests\n# TYPE asr_active_requests gauge\n\
                    asr_active_requests{queue=\"a\"} 7\n";

const RULES: &str = "groups: [{name: queue, rules: [{record: 'asr:active:sum', expr: sum(asr_active_requests)},\
                     {alert: HighQueueDepth, expr: asr_active_requests > 5, labels: {severity: warning}}]}]";

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = { places }.find(|file| file.is_file());
    if found.is_none() {
        println!("not run: no chromium in PATH; `apt-get install chromium` gets it");
    }
    found
}

/// Whom a browser was asked to ask beside this machine: it takes this for its proxy.
struct Outside {
    address: std::net::SocketAddr,
    hosts: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Outside {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, hosts) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (mut task, heard) = (JoinSet::new(), Arc::clone(&hosts));
        task.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let count = stream.read(&mut head).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned();
                heard.lock().unwrap().push(line);
            }
        });
        Self { address, hosts, _task: task }
    }

    /// What was asked for, without what the browser tells its maker by itself.
    fn asked(&self) -> Vec<String> {
        let own =
            [".google.com", "update.googleapis.com", "-autofill.googleapis.com", "optimizationguide-pa", "gvt1.com"];
        let hosts = self.hosts.lock().unwrap();
        hosts.iter().filter(|line| !line.is_empty() && !own.iter().any(|own| line.contains(own))).cloned().collect()
    }
}

/// Opens a page, and gives what it has become and what was written to the console.
async fn open(chromium: &Path, profile: &Path, outside: &Outside, url: &str, more: &[&str]) -> (String, Vec<String>) {
    let mut command = Command::new(chromium);
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-default-apps"]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("--proxy-server=http://{}", outside.address)).args(more).arg(url);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(SOON * 2, command.output()).await.unwrap().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let console = log.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

#[tokio::test]
async fn pages_show_what_they_should_and_ask_nobody_else() {
    let Some(chromium) = chromium() else { return };
    let target = Target::start(PAGE).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\nrule_files: [rules.yml]\n\
         scrape_configs:\n- job_name: lightning-asr\n  static_configs: [{{targets: ['{}', 'gone.example:1']}}]\n\
         \x20 relabel_configs: [{{source_labels: [__address__], regex: gone.*, action: drop}}]\n\
         - {{job_name: refused, static_configs: [{{targets: ['127.0.0.1:1']}}]}}\n",
        target.address()
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let server = Server::start_in(folder, &[]).await.unwrap();
    server.until("ALERTS{alertstate=\"firing\"}", |result| first_value(result).is_some()).await.unwrap();
    server.until("up == 0", |result| first_value(result).is_some()).await.unwrap();

    let (profile, outside) = (tempfile::tempdir().unwrap(), Outside::start().await);
    let query = format!("/query?g0.expr={}&g0.tab=", encode("sum by (job) (asr_active_requests)"));
    let wrong = format!("/query?g0.expr={}&g0.tab=1", encode("sum(asr_active_requests"));
    let pages: [(&str, &[&str]); 9] = [
        (&format!("{query}1"), &["{job=", "lightning-asr", ">7<", "Execute"]),
        (&format!("{query}0"), &["<svg", "lightning-asr", "<path"]),
        (&wrong, &["unclosed left parenthesis"]),
        ("/targets", &["lightning-asr", "1 / 1 up", "refused", "DOWN", "nothing listens on this port"]),
        ("/service-discovery", &["__address__", "gone.example:1", "Dropped", "regex: gone.*"]),
        ("/rules", &["asr:active:sum", "HighQueueDepth", "queue"]),
        ("/alerts", &["HighQueueDepth", "firing", "severity"]),
        ("/status", &["Runtime", "Build Information"]),
        ("/tsdb-status", &["Series in the head", "asr_active_requests", "What to cut"]),
    ];
    for (path, texts) in pages {
        // In the light on a wide screen, in the dark on a narrow one.
        let dark = ["--window-size=400,800", "--blink-settings=preferredColorScheme=0"];
        for more in [&["--window-size=1200,900"][..], &dark] {
            let url = format!("{}{path}", server.web.base());
            let (page, console) = open(&chromium, profile.path(), &outside, &url, more).await;
            for text in texts {
                assert!(page.contains(text), "no `{text}` in {path}:\n{page}");
            }
            assert!(console.is_empty(), "{path}: {console:?}");
        }
    }
    assert_eq!(outside.asked(), Vec::<String>::new());

    // What is looked for would be found.
    let bad = "data:text/html,<script>console.error(1)</script><img src=http://elsewhere.example/x.png>";
    let (_, console) = open(&chromium, profile.path(), &outside, bad, &[]).await;
    assert_eq!(console.len(), 1, "{console:?}");
    let asked = outside.asked();
    assert!(asked.iter().any(|line| line.contains("elsewhere.example")), "{asked:?}");
}
